//! The definitions of Istio's kinds as part of an installation.

use serde_json::Value;

pub(super) fn objects() -> Vec<Value> {
    weft_api::crd::definitions()
}
