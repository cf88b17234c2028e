//! Who calls: by a token, or by a certificate of the mesh.

use std::time::SystemTime;

use weft_base::identity::{SpiffeId, TrustDomain};
use weft_base::kubernetes::token::{ReviewError, TokenReviewer};

use crate::join_token::{self, KEY_BYTES, TokenError};

/// Who checks tokens.
#[derive(Clone, Debug)]
pub(crate) enum Tokens {
    /// Join tokens, signed with this key.
    Join([u8; KEY_BYTES]),
    /// Tokens of service accounts, checked by the Kubernetes API server.
    ServiceAccounts(Box<TokenReviewer>),
}

/// Why a caller is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// Neither a token nor a certificate.
    #[error("no credentials: send `authorization: Bearer <token>` or a client certificate of the mesh")]
    None,
    /// The join token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The service-account token is not accepted.
    #[error(transparent)]
    Review(#[from] ReviewError),
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

// === impl Tokens ===

impl Tokens {
    /// Whose token it is.
    pub(crate) async fn identity(&self, token: &str, now: SystemTime) -> Result<SpiffeId, AuthError> {
        match self {
            Self::Join(key) => Ok(join_token::verify(key, token, now)?),
            Self::ServiceAccounts(reviewer) => Ok(reviewer.review(token).await?),
        }
    }
}

// === impl AuthError ===

impl AuthError {
    /// Whether a token with this fault may be passed over where a certificate proves the caller: it is over, or nobody can
    /// check it now. Whoever has the certificate could leave the token out as well.
    fn is_lapse(&self) -> bool {
        matches!(
            self,
            Self::Token(TokenError::Expired(_)) | Self::Review(ReviewError::Refused(_) | ReviewError::Unavailable(_))
        )
    }

    /// Whether the caller may be right, and asking again later makes sense.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Review(ReviewError::Unavailable(_)))
    }
}

/// The caller's identity, from what its token said, if it sent one, and its certificate. With a valid certificate an expired
/// token is not needed: that is how a certificate is renewed.
pub(crate) fn authenticate(
    trust_domain: &TrustDomain,
    token: Option<Result<SpiffeId, AuthError>>,
    certificate: Option<&SpiffeId>,
) -> Result<SpiffeId, AuthError> {
    let id = match (token, certificate) {
        (None, None) => return Err(AuthError::None),
        (Some(Ok(token)), None) => token,
        (None, Some(certificate)) => certificate.clone(),
        (Some(Err(error)), Some(certificate)) if error.is_lapse() => certificate.clone(),
        (Some(Ok(token)), Some(certificate)) if token == *certificate => token,
        (Some(Ok(token)), Some(certificate)) => {
            return Err(AuthError::Conflict {
                token,
                certificate: certificate.clone(),
            });
        }
        (Some(Err(error)), _) => return Err(error),
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
        let token = token.map(|token| Ok(join_token::verify(&KEY, &token, now)?));
        let got = authenticate(&TrustDomain::default(), token, certificate.as_ref());
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

    #[test]
    fn a_server_that_cannot_be_asked_ends_nobody_with_a_certificate() {
        let failed = |error: ReviewError| Some(Err(AuthError::Review(error)));
        let unavailable = || failed(ReviewError::Unavailable("down".to_owned()));
        let domain = TrustDomain::default();
        assert_eq!(authenticate(&domain, unavailable(), Some(&id("x"))), Ok(id("x")));
        assert!(authenticate(&domain, unavailable(), None).unwrap_err().is_temporary());
        assert!(authenticate(&domain, failed(ReviewError::Audience), Some(&id("x"))).is_err());
    }
}
