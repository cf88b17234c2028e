//! Policies that do less, or more, than they look like: each says so on itself. And mesh-wide settings that contradict the process.

use std::sync::Arc;

use weft_api::authorization_policy::{Action, AuthorizationPolicy};
use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::meta::{Kind, Object};

use super::Subject;
use super::policies::no_workload;
use crate::snapshot::authorization::dry_run;
use crate::snapshot::{Inputs, MeshSnapshot};

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let inputs: &Inputs = &snapshot.inputs;
    for object in inputs.authorization_policies.values() {
        policy(snapshot, object, found);
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

/// What an AuthorizationPolicy does not do although it looks as if it did.
fn policy(snapshot: &MeshSnapshot, object: &Arc<Object<AuthorizationPolicy>>, found: &mut Vec<Diagnostic>) {
    let kind = Kind::AuthorizationPolicy;
    let spec = &object.spec;
    if let Some(selector) = &spec.selector {
        if !snapshot.authorization.is_root(&object.meta.namespace) {
            no_workload(snapshot, kind, object, "spec.selector", selector, found);
        } else if !snapshot.workloads.any_selected(None, selector) {
            found.push(about(kind, object, "selector").finding(
                Severity::Warning,
                code::NO_WORKLOAD,
                "no workload of the mesh has these labels",
                "correct the labels, or remove the object",
            ));
        }
    }
    let subject = |field: &str| about(kind, object, field);
    match dry_run(object) {
        Ok(true) => {
            let message =
                "restricts nothing: it is only tried out (istio.io/dry-run), which access logs and statistics tell of";
            return found.push(subject("rules").finding(Severity::Info, code::UNSUPPORTED_FIELD, message, ""));
        }
        Ok(false) => {}
        Err(word) => found.push(subject("rules").finding(
            Severity::Warning,
            code::SCHEMA_WARNING,
            format!("the annotation istio.io/dry-run is {word:?}, so the policy is enforced"),
            "use \"true\" or \"false\"",
        )),
    }
    match &spec.action {
        Action::Custom { provider } => custom(snapshot, provider, subject("provider"), found),
        Action::Audit => {
            let message = "restricts nothing; what it selects is noted in the metadata of requests";
            found.push(subject("rules").finding(Severity::Info, code::UNSUPPORTED_FIELD, message, ""));
        }
        Action::Allow if spec.rules.iter().any(|rule| rule.matches_all()) => {
            let message = "restricts nothing: one of its rules allows everything";
            found.push(subject("rules").finding(Severity::Info, code::UNSUPPORTED_FIELD, message, ""));
        }
        Action::Allow | Action::Deny => {}
    }
}

/// Whom a policy of action CUSTOM asks, and whether that can be asked.
fn custom(snapshot: &MeshSnapshot, provider: &str, subject: Subject, found: &mut Vec<Diagnostic>) {
    let providers = &snapshot.settings.providers;
    let Some(known) = snapshot.settings.provider(provider) else {
        let names: Vec<&str> = providers.iter().map(|known| known.name.as_str()).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        found.push(subject.finding(
            Severity::Error,
            code::REFERENCE_NOT_FOUND,
            format!("the mesh configuration has no provider {provider:?} that decides about requests, so what the rules select is refused"),
            format!("add it to extensionProviders with envoyExtAuthzGrpc or envoyExtAuthzHttp; there are: {known}"),
        ));
        return;
    };
    let host = known.host.as_str();
    let mut services = snapshot.services.of_host(host);
    if !services.any(|service| service.ports.iter().any(|port| port.port == known.port)) {
        found.push(subject.finding(
            Severity::Error,
            code::REFERENCE_NOT_FOUND,
            format!(
                "asks {host}:{}, which is no port of a service of the mesh, so what the rules select is refused",
                known.port
            ),
            "correct service and port of the provider, or register the service",
        ));
    }
}

fn about<T>(kind: Kind, object: &Arc<Object<T>>, field: &str) -> Subject {
    Subject::new(kind, object, format!("spec.{field}"), object.place_of_field(field))
}
