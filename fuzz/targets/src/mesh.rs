//! What users and workloads hand to the control plane: objects, requests for certificates, tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_api::parse::{self, Parsed};
use weft_citadel::join_token::{KEY_BYTES, issue, verify};
use weft_mesh::snapshot::{Inputs, MeshSettings, build};

use super::text;

/// What was read becomes a mesh, and a mesh becomes findings.
fn settle(parsed: &Parsed) {
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    let settings = Arc::new(MeshSettings::default());
    let snapshot = build(inputs.clone(), &settings, 1, None);
    let again = build(inputs, &settings, 2, Some(&snapshot));
    let findings = snapshot.all_diagnostics().count();
    assert_eq!(
        findings,
        again.all_diagnostics().count(),
        "built upon itself it finds something else"
    );
}

pub(crate) fn istio_yaml(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    settle(&parse::parse("file", text));
}

pub(crate) fn istio_json(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        settle(&parse::parse_json(&value));
    }
}

pub(crate) fn duration(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        weft_api::duration::parse(text);
    }
}

pub(crate) fn csr(bytes: &[u8]) {
    if let Some(pem) = text(bytes) {
        // Either is right.
        let _ = weft_citadel::csr::public_key(pem);
    }
}

/// Only what was issued is taken.
pub(crate) fn join_token(bytes: &[u8]) {
    let key = [7; KEY_BYTES];
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    if let Some(token) = text(bytes)
        && let Ok(id) = verify(&key, token, now)
    {
        // The only token that a seed holds that is right expires at this second.
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000);
        assert_eq!(issue(&key, &id, expires), token, "a token that was never issued");
    }
}
