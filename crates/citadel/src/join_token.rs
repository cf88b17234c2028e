//! Join tokens: what a local workload proves its identity by, signed with a key that only the machine's owner can read.
//!
//! `base64url(claims) . base64url(HMAC-SHA256(claims))`; the claims are compact JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use weft_base::identity::SpiffeId;

/// Bytes of a signing key.
pub const KEY_BYTES: usize = 32;

/// The audience of every token, as of Istio's service-account tokens.
const AUDIENCE: &str = "istio-ca";

/// Longest token in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    sub: String,
    aud: String,
    exp: u64,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a join token.
    #[error("join token is malformed")]
    Malformed,
    /// Somebody else signed it, or it was changed.
    #[error("join token has a wrong signature; was it made for another mesh?")]
    Signature,
    /// It is for something else.
    #[error("join token is for audience {0:?}, not for {AUDIENCE:?}")]
    Audience(String),
    /// It is over.
    #[error("join token expired {0} s ago; make a new one with `weft-citadel token`")]
    Expired(u64),
    /// Its subject is not an identity.
    #[error(transparent)]
    Identity(#[from] weft_base::identity::IdentityError),
}

/// Makes a token for an identity that is good until `expires`.
pub fn issue(key: &[u8; KEY_BYTES], id: &SpiffeId, expires: SystemTime) -> String {
    let claims = Claims {
        sub: id.to_string(),
        aud: AUDIENCE.to_owned(),
        exp: seconds(expires),
    };
    let claims = serde_json::json!({"sub": claims.sub, "aud": claims.aud, "exp": claims.exp}).to_string();
    let claims = URL_SAFE_NO_PAD.encode(claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), claims.as_bytes());
    format!("{claims}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The identity of a token. The signature is checked before anything else is read.
pub fn verify(key: &[u8; KEY_BYTES], token: &str, now: SystemTime) -> Result<SpiffeId, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let (claims, tag) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| TokenError::Malformed)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, claims.as_bytes(), &tag).map_err(|_| TokenError::Signature)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Malformed)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?;
    if claims.aud != AUDIENCE {
        return Err(TokenError::Audience(claims.aud));
    }
    let now = seconds(now);
    if claims.exp <= now {
        return Err(TokenError::Expired(now - claims.exp));
    }
    Ok(claims.sub.parse()?)
}

/// When a token made now with a lifetime is over.
pub fn expiry(now: SystemTime, lifetime: Duration) -> SystemTime {
    now + lifetime
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_current_tokens_are_accepted() {
        let key = [7; KEY_BYTES];
        let id: SpiffeId = "spiffe://cluster.local/ns/a/sa/b".parse().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let token = issue(&key, &id, now + Duration::from_secs(10));
        assert_eq!(verify(&key, &token, now), Ok(id));
        assert_eq!(verify(&[8; KEY_BYTES], &token, now), Err(TokenError::Signature));
        assert_eq!(
            verify(&key, &token, now + Duration::from_secs(10)),
            Err(TokenError::Expired(0))
        );
        let (claims, tag) = token.split_once('.').unwrap();
        assert_eq!(
            verify(&key, &format!("{claims}x.{tag}"), now),
            Err(TokenError::Signature)
        );
        for garbage in ["", ".", "a.b", "no dot", &"x".repeat(5000)] {
            let error = verify(&key, garbage, now).unwrap_err();
            assert!(
                matches!(error, TokenError::Malformed | TokenError::Signature),
                "{garbage}: {error}"
            );
        }
    }

    #[test]
    fn other_audiences_and_subjects_are_refused() {
        let key = [7; KEY_BYTES];
        let signed = |claims: serde_json::Value| {
            let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), claims.as_bytes());
            format!("{claims}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let sub = "spiffe://cluster.local/ns/a/sa/b";
        let check = |claims, expected: &str| {
            let error = verify(&key, &signed(claims), UNIX_EPOCH).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(serde_json::json!({"sub": sub, "aud": "other", "exp": 9}), "audience");
        check(
            serde_json::json!({"sub": "root", "aud": AUDIENCE, "exp": 9}),
            "spiffe://",
        );
        check(
            serde_json::json!({"sub": sub, "aud": AUDIENCE, "exp": 9, "more": 1}),
            "malformed",
        );
    }
}
