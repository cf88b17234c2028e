//! Whose token is it: service-account tokens, checked by the API server (TokenReview).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::identity::{IdentityError, SpiffeId, TrustDomain};

/// Audience of tokens for the mesh (Istio's).
pub const AUDIENCE: &str = "istio-ca";

/// Longest wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reviews at once; callers wait beyond it.
const REVIEWS_MAX: usize = 64;

/// Largest token in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// The API server does not know it, or it is over.
    #[error("the Kubernetes API server does not accept the token: {0}")]
    Refused(String),
    /// It is for something else.
    #[error("the token is not for audience {AUDIENCE:?}; project it with that audience")]
    Audience,
    /// It is not that of a service account.
    #[error("the token is of user {0:?}, not of a service account")]
    NotServiceAccount(String),
    /// The account makes no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The API server cannot be asked.
    #[error("cannot ask the Kubernetes API server about the token: {0}")]
    Unavailable(String),
}

/// Asks the API server about tokens. Clones share one limit.
#[derive(Clone)]
pub struct TokenReviewer {
    api: Api<TokenReview>,
    trust_domain: TrustDomain,
    permits: Arc<Semaphore>,
}

// === impl TokenReviewer ===

impl std::fmt::Debug for TokenReviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReviewer").finish_non_exhaustive()
    }
}

impl TokenReviewer {
    /// A reviewer of tokens whose identities are of `trust_domain`.
    pub fn new(client: Client, trust_domain: TrustDomain) -> Self {
        Self {
            api: Api::all(client),
            trust_domain,
            permits: Arc::new(Semaphore::new(REVIEWS_MAX)),
        }
    }

    /// The identity of a token's service account.
    pub async fn review(&self, token: &str) -> Result<SpiffeId, ReviewError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(ReviewError::Refused(format!("{} bytes are not a token", token.len())));
        }
        let unavailable = |reason: &dyn std::fmt::Display| ReviewError::Unavailable(reason.to_string());
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let ask = async {
            let _permit = self.permits.acquire().await.map_err(|error| unavailable(&error))?;
            let answer = self.api.create(&PostParams::default(), &review).await;
            answer.map_err(|error| unavailable(&error))
        };
        let answer = tokio::time::timeout(TIMEOUT, ask).await;
        let answer = answer.map_err(|_| unavailable(&"no answer in time"))??;
        let (namespace, account) = account(answer.status.unwrap_or_default())?;
        Ok(SpiffeId::new(self.trust_domain.clone(), &namespace, &account)?)
    }
}

/// Namespace and name of the account that the server found.
fn account(status: TokenReviewStatus) -> Result<(String, String), ReviewError> {
    if status.authenticated != Some(true) {
        return Err(ReviewError::Refused(
            status.error.unwrap_or_else(|| "not authenticated".to_owned()),
        ));
    }
    // A server that knows nothing of audiences answers without any: it did not check ours.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(ReviewError::Audience);
    }
    let name = status.user.and_then(|user| user.username).unwrap_or_default();
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        ["system", "serviceaccount", namespace, account] if !namespace.is_empty() && !account.is_empty() => {
            Ok(((*namespace).to_owned(), (*account).to_owned()))
        }
        _ => Err(ReviewError::NotServiceAccount(name)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    #[test]
    fn only_tokens_of_service_accounts_for_the_mesh_are_accepted() {
        let status = |authenticated, audiences: &[&str], username: &str| TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(username.to_owned()),
                ..UserInfo::default()
            }),
            error: None,
        };
        let good = "system:serviceaccount:shop:cart";
        assert_eq!(
            account(status(true, &[AUDIENCE], good)),
            Ok(("shop".to_owned(), "cart".to_owned()))
        );
        for (status, part) in [
            (status(false, &[AUDIENCE], good), "does not accept"),
            (status(true, &["https://kubernetes.default.svc"], good), "audience"),
            (status(true, &[], good), "audience"),
            (status(true, &[AUDIENCE], "admin"), "not of a service account"),
            (
                status(true, &[AUDIENCE], "system:serviceaccount:a"),
                "not of a service account",
            ),
            (
                status(true, &[AUDIENCE], "system:serviceaccount::b"),
                "not of a service account",
            ),
            (
                status(true, &[AUDIENCE], "system:serviceaccount:a:b:c"),
                "not of a service account",
            ),
            (TokenReviewStatus::default(), "does not accept"),
        ] {
            let error = account(status).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
