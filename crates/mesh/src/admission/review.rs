//! `AdmissionReview` of `admission.k8s.io/v1`: the question of the API server and the answer to it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest warning that the API server shows whole (Kubernetes, "Response": 256 bytes each, 4096 together).
const WARNING_BYTES_MAX: usize = 256;

/// Most warnings of one answer.
const WARNINGS_MAX: usize = 16;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Clone, Debug, Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    object: Option<Value>,
}

/// What is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

// === impl Review ===

impl Review {
    /// Reads a body; the error says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let review: Self =
            serde_json::from_slice(body).map_err(|error| format!("this is not an AdmissionReview: {error}\n"))?;
        if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
            let (version, kind) = (&review.api_version, &review.kind);
            return Err(format!(
                "{version} {kind} is not understood; send admission.k8s.io/v1 AdmissionReview\n"
            ));
        }
        Ok(review)
    }

    /// The object that is to be stored.
    pub fn object(&self) -> Option<&Value> {
        self.request.object.as_ref().filter(|object| object.is_object())
    }

    /// Namespace of the object; empty where it has none.
    pub fn namespace(&self) -> &str {
        &self.request.namespace
    }

    /// What goes away is always let go.
    pub fn is_deletion(&self) -> bool {
        self.request.operation == "DELETE"
    }

    /// The review that goes back.
    pub fn answered(&self, answer: Answer) -> Value {
        let mut response = json!(answer);
        response["uid"] = Value::String(self.request.uid.clone());
        json!({"apiVersion": self.api_version, "kind": self.kind, "response": response})
    }
}

// === impl Answer ===

impl Answer {
    /// The object may be stored.
    pub fn allowed() -> Self {
        Self {
            allowed: true,
            ..Self::default()
        }
    }

    /// It may not, for this reason.
    pub fn refused(message: String) -> Self {
        Self {
            status: Some(Status {
                // For 422 kubectl shows the causes of the status and not its message.
                code: 400,
                reason: "BadRequest",
                message,
            }),
            ..Self::default()
        }
    }

    /// It may be stored with these operations done, a JSON patch.
    pub fn patched(operations: &[u8], warnings: Vec<String>) -> Self {
        Self {
            allowed: true,
            patch_type: Some("JSONPatch"),
            patch: Some(STANDARD.encode(operations)),
            ..Self::default()
        }
        .with_warnings(warnings)
    }

    /// The same with warnings, cut to what the API server shows.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self.warnings.truncate(WARNINGS_MAX);
        for warning in &mut self.warnings {
            let end = warning.floor_char_boundary(WARNING_BYTES_MAX);
            warning.truncate(end);
        }
        self
    }

    /// Whether the object may be stored.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Why it may not.
    pub fn message(&self) -> &str {
        self.status.as_ref().map_or("", |status| &status.message)
    }

    /// What is said although it may.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
