//! Policies that are not enforced: each says on itself what it comes to. And mesh-wide settings that contradict the process.

use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::meta::{Kind, Object};

use super::Subject;
use crate::snapshot::authorization::{Effect, effect};
use crate::snapshot::{Inputs, MeshSnapshot};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let inputs: &Inputs = &snapshot.inputs;
    for object in inputs.authorization_policies.values() {
        let selects_all = object.spec.selector.is_none();
        let whom = if selects_all {
            "of its namespace"
        } else {
            "that it selects"
        };
        match effect(object) {
            Effect::Closed => {}
            Effect::ClosedForSafety => found.push(about(Kind::AuthorizationPolicy, object, "rules").finding(
                Severity::Error,
                code::UNSUPPORTED_FIELD,
                format!(
                    "its conditions are not enforced by this mesh yet, so every request to the workloads {whom} is refused"
                ),
                "remove the policy to let traffic through, and restrict access by other means",
            )),
            Effect::Nothing if object.spec.rules.is_empty() => {}
            Effect::Nothing => found.push(about(Kind::AuthorizationPolicy, object, "rules").finding(
                Severity::Info,
                code::UNSUPPORTED_FIELD,
                "restricts nothing",
                "",
            )),
        }
    }
    for object in inputs.mesh_configs.values() {
        let ours = &snapshot.settings.trust_domain;
        if let Some(theirs) = object.spec.trust_domain.as_ref().filter(|theirs| *theirs != ours) {
            let subject = Subject::new(Kind::ConfigMap, object, "data.mesh.trustDomain", object.place.clone());
            found.push(subject.finding(
                Severity::Error,
                code::UNSUPPORTED_FIELD,
                format!("is {theirs}, but the control plane runs with trust domain {ours}, which is used"),
                "start pilot, citadel and proxies with --trust-domain, or correct the setting",
            ));
        }
    }
    for object in inputs.request_authentications.values() {
        if object.spec.rules.is_empty() {
            continue;
        }
        found.push(about(Kind::RequestAuthentication, object, "jwtRules").finding(
            Severity::Error,
            code::UNSUPPORTED_FIELD,
            "tokens are not checked by this mesh yet, so every request with one is refused; those without one pass",
            "remove the object to let tokens through unchecked",
        ));
    }
}

fn about<T>(kind: Kind, object: &Arc<Object<T>>, field: &str) -> Subject {
    Subject::new(kind, object, format!("spec.{field}"), object.place_of_field(field))
}
