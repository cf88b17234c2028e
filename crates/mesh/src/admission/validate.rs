//! Validation of one object: by itself, and against the mesh that it would become part of.
//!
//! What it refers to and does not exist is no matter here: objects are applied in any order, and the other one may be the next line of
//! the same file; the object's status and `meshctl check` say what is still missing later. A conflict with what exists is an error in any
//! order. Objects of the Gateway API may be others', so they are never refused.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::kind::{Admission, Group};

use super::review::Answer;
use crate::snapshot::{MeshSnapshot, build};

/// Findings about what is missing, which may still come.
const MAY_STILL_COME: [&str; 8] = [
    code::REFERENCE_NOT_FOUND,
    code::GATEWAY_CREDENTIAL,
    code::GATEWAY_PORT,
    code::HOST_NOT_IN_GATEWAY,
    code::NO_WORKLOAD,
    code::PORT_UNMATCHED,
    code::SUBSET_SELECTS_NOTHING,
    code::UNKNOWN_DESTINATION_RULE_HOST,
];

/// Decides about an object as JSON.
pub fn validate(mut object: Value, mesh: &MeshSnapshot) -> Answer {
    // What the API server and others wrote is none of the user's business.
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.shift_remove("managedFields");
    }
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let is_shared = Group::named(group).is_some_and(|group| group.admission() == Admission::Warned);
    let parsed = weft_api::parse::parse("", &object.to_string());
    let mut findings = parsed.diagnostics;
    let mut parts = Vec::new();
    if parsed.broken.is_empty() && !parsed.broken_unnamed && !parsed.resources.is_empty() {
        // Of an object that can be used an error costs a part of it.
        parts = std::mem::take(&mut findings);
        let mut inputs = mesh.inputs.clone();
        let mut names = BTreeSet::new();
        for resource in &parsed.resources {
            names.insert(resource.key().to_string());
            inputs.apply(resource);
        }
        let changed = build(inputs, &mesh.settings, mesh.generation, Some(mesh));
        // What it says about the object, and what the object does to others.
        let about = |finding: &&Diagnostic| names.contains(&finding.object) || !mesh.diagnostics.contains(*finding);
        for mut finding in changed.diagnostics.iter().filter(about).cloned() {
            if !names.contains(&finding.object) {
                finding.message = format!("{}: {}", finding.object, finding.message);
                finding.field.clear();
            }
            findings.push(finding);
        }
    }
    let told = |finding: &Diagnostic| {
        let settled = finding.severity != Severity::Info && !MAY_STILL_COME.contains(&&*finding.code);
        settled && (!is_shared || *finding.code == *code::UNHANDLED_KIND)
    };
    let (errors, others): (Vec<Diagnostic>, Vec<Diagnostic>) = (findings.into_iter())
        .filter(|finding| told(finding))
        .partition(|finding| finding.severity == Severity::Error && !is_shared);
    if errors.is_empty() {
        let warnings = parts.iter().filter(|finding| told(finding)).chain(&others);
        return Answer::allowed().with_warnings(warnings.map(sentence).collect());
    }
    Answer::refused(errors.iter().map(sentence).collect::<Vec<_>>().join("; "))
}

/// `field: what is wrong; what to do [code]`. The place is left out: the object came as JSON, whose lines are not the user's.
fn sentence(finding: &Diagnostic) -> String {
    let mut text = String::new();
    if !finding.field.is_empty() {
        text.push_str(&finding.field);
        text.push_str(": ");
    }
    text.push_str(&finding.message);
    if !finding.hint.is_empty() {
        text.push_str("; ");
        text.push_str(&finding.hint);
    }
    format!("{text} [{}]", finding.code)
}
