//! Who calls: by a join token, or by a certificate of the mesh.

use std::time::SystemTime;

use weft_base::identity::{SpiffeId, TrustDomain};

use crate::join_token::{self, KEY_BYTES, TokenError};

/// Why a caller is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Neither a token nor a certificate.
    #[error("no credentials: send `authorization: Bearer <join token>` or a client certificate of the mesh")]
    None,
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Token and certificate are of different callers.
    #[error("the token is for {token}, the client certificate for {certificate}")]
    Conflict {
        /// Identity of the token.
        token: SpiffeId,
        /// Identity of the certificate.
        certificate: SpiffeId,
    },
    /// The caller belongs to another mesh.
    #[error("{0} is not of trust domain {1}")]
    TrustDomain(SpiffeId, TrustDomain),
}

/// The caller's identity. With a valid certificate an expired token is not needed: that is how a certificate is renewed.
pub fn authenticate(
    key: &[u8; KEY_BYTES],
    trust_domain: &TrustDomain,
    token: Option<&str>,
    certificate: Option<&SpiffeId>,
    now: SystemTime,
) -> Result<SpiffeId, AuthError> {
    let by_token = token.map(|token| join_token::verify(key, token, now)).transpose();
    let id = match (by_token, certificate) {
        (Ok(None), None) => return Err(AuthError::None),
        (Ok(Some(token)), None) => token,
        (Ok(None) | Err(TokenError::Expired(_)), Some(certificate)) => certificate.clone(),
        (Ok(Some(token)), Some(certificate)) if token == *certificate => token,
        (Ok(Some(token)), Some(certificate)) => {
            return Err(AuthError::Conflict {
                token,
                certificate: certificate.clone(),
            });
        }
        (Err(error), _) => return Err(error.into()),
    };
    if id.trust_domain() != trust_domain {
        return Err(AuthError::TrustDomain(id, trust_domain.clone()));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: [u8; KEY_BYTES] = [3; KEY_BYTES];

    fn id(account: &str) -> SpiffeId {
        format!("spiffe://cluster.local/ns/a/sa/{account}").parse().unwrap()
    }

    fn check(token: Option<String>, certificate: Option<SpiffeId>, expected: Result<&str, &str>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let got = authenticate(
            &KEY,
            &TrustDomain::default(),
            token.as_deref(),
            certificate.as_ref(),
            now,
        );
        match (got, expected) {
            (Ok(got), Ok(account)) => assert_eq!(got, id(account)),
            (Err(got), Err(part)) => assert!(got.to_string().contains(part), "{got}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn either_proof_is_enough_and_both_must_agree() {
        let token = |account: &str, until: u64| {
            let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(until);
            Some(join_token::issue(&KEY, &id(account), expires))
        };
        check(token("x", 2_000), None, Ok("x"));
        check(None, Some(id("x")), Ok("x"));
        check(token("x", 2_000), Some(id("x")), Ok("x"));
        check(token("x", 500), Some(id("x")), Ok("x"));
        check(token("x", 500), None, Err("expired"));
        check(token("y", 2_000), Some(id("x")), Err("the client certificate for"));
        check(Some("forged.toke".to_owned()), Some(id("x")), Err("signature"));
        check(None, None, Err("no credentials"));
        let foreign = "spiffe://other/ns/a/sa/x".parse().unwrap();
        check(None, Some(foreign), Err("trust domain"));
    }
}
