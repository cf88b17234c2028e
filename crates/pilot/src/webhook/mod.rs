//! Admission webhooks on port 15017: `/inject` gives pods their proxy, `/validate` refuses broken objects, `/ready` says that both answer.
//!
//! The API server waits for every answer, so bodies, connections and times are bounded.

mod bundle;
mod server;
mod start;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use weft_mesh::admission::{Answer, Review, validate};
use weft_mesh::inject::{Outcome, Scope, Settings, inject, patch};
use weft_mesh::snapshot::MeshSnapshot;

pub use self::bundle::keep as keep_bundle;
pub use self::server::{serve, server_config};
pub use self::start::start;

/// Largest body: the API server's own limit of an object is 3 MiB, and a review may hold the object twice.
const BODY_BYTES_MAX: usize = 7 << 20;

/// Longest time to decide. The configurations give the API server 10 s.
const DECISION_TIMEOUT: Duration = Duration::from_secs(8);

/// Validations at once: each looks at the whole mesh.
const VALIDATIONS_MAX: usize = 4;

/// What the webhooks decide by.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// How pods are injected.
    pub settings: Arc<Settings>,
    /// The mesh that objects are checked against.
    pub snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    validations: Arc<Semaphore>,
}

// === impl Webhooks ===

impl Webhooks {
    /// Webhooks by these settings and this mesh.
    pub fn new(settings: Settings, snapshots: watch::Receiver<Arc<MeshSnapshot>>) -> Self {
        Self {
            settings: Arc::new(settings),
            snapshots,
            validations: Arc::new(Semaphore::new(VALIDATIONS_MAX)),
        }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/inject", post(inject_plainly))
            .route("/inject/{*variables}", post(inject_with))
            .route("/validate", post(check))
            .route("/ready", get(async || "ready\n"))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }
}

async fn inject_plainly(State(hooks): State<Webhooks>, body: Bytes) -> Response {
    answer(&body, |review| inject_review(review, &hooks.settings))
}

/// `/inject/cluster/east/net/n1` changes settings for pods of one cluster, as with Istio.
async fn inject_with(State(hooks): State<Webhooks>, Path(variables): Path<String>, body: Bytes) -> Response {
    match with_variables(&hooks.settings, &variables) {
        Ok(settings) => answer(&body, |review| inject_review(review, &settings)),
        Err(reason) => (StatusCode::NOT_FOUND, reason).into_response(),
    }
}

async fn check(State(hooks): State<Webhooks>, body: Bytes) -> Response {
    let decided = tokio::time::timeout(DECISION_TIMEOUT, async {
        let turn = hooks.validations.clone().acquire_owned().await;
        let mesh = hooks.snapshots.borrow().clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            answer(&body, |review| {
                validate(review.object().cloned().unwrap_or_default(), &mesh)
            })
        })
        .await
    });
    match decided.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many objects wait for validation\n",
        )
            .into_response(),
    }
}

fn answer(body: &[u8], decide: impl FnOnce(&Review) -> Answer) -> Response {
    match Review::parse(body) {
        Ok(review) => {
            let answer = if review.is_deletion() {
                Answer::allowed()
            } else {
                decide(&review)
            };
            Json(review.answered(answer)).into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
    }
}

/// Injects the pod of a review.
fn inject_review(review: &Review, settings: &Settings) -> Answer {
    let Some(pod) = review.object() else {
        return Answer::refused("the review has no object".to_owned());
    };
    let namespace = review.namespace();
    match inject(pod, namespace, Scope::Selected, settings) {
        Ok(Outcome::Skipped(why)) => {
            tracing::debug!(namespace, why, "pod is not injected");
            Answer::allowed()
        }
        Ok(Outcome::Injected {
            pod: injected,
            warnings,
        }) => {
            tracing::info!(namespace, pod = name(pod), "pod injected");
            match serde_json::to_vec(&patch(pod, &injected)) {
                Ok(operations) => Answer::patched(&operations, warnings),
                Err(error) => Answer::refused(format!("cannot write the patch: {error}")),
            }
        }
        Err(refusal) => {
            tracing::warn!(namespace, pod = name(pod), %refusal, "pod refused");
            Answer::refused(refusal.to_string())
        }
    }
}

fn name(pod: &Value) -> &str {
    let meta = &pod["metadata"];
    meta["name"]
        .as_str()
        .or_else(|| meta["generateName"].as_str())
        .unwrap_or_default()
}

/// Settings changed by the pairs of a path.
fn with_variables(settings: &Settings, path: &str) -> Result<Settings, String> {
    let mut settings = settings.clone();
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    for pair in words.chunks(2) {
        match pair {
            ["cluster", id] => settings.cluster_id = (*id).to_owned(),
            ["net", network] => settings.network = (*network).to_owned(),
            _ => return Err(format!("/inject/{path}: use pairs of cluster/NAME and net/NAME\n")),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_change_settings() {
        let settings = Settings::default();
        let changed = with_variables(&settings, "cluster/east/net/n1").unwrap();
        assert_eq!((changed.cluster_id.as_str(), changed.network.as_str()), ("east", "n1"));
        assert!(with_variables(&settings, "cluster").is_err());
        assert!(with_variables(&settings, "image/evil").is_err());
    }
}
