//! The webhook configurations of a revision: which pods are injected, which objects are validated.
//!
//! Selectors are Istio's, one webhook for each way of asking; exactly one of them can fit a pod.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use serde_json::{Value, json};
use weft_api::kind::{Admission, Group};
use weft_mesh::admission::{Configurations, VALIDATION};
use weft_mesh::inject::names::{INJECT, INJECTION, REVISION};

use super::object::typed;
use crate::install::values::Values;

/// Namespaces whose pods the cluster needs to heal itself.
const SPARED: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

pub(super) fn objects(values: &Values, service: &str) -> [Value; 2] {
    let names = Configurations::of_revision(&values.revision);
    [
        injector(values, service, &names.injector),
        validator(values, service, &names.validator),
    ]
}

fn is(key: &str, operator: &str, of: &[&str]) -> Value {
    let mut expression = json!({"key": key, "operator": operator});
    if !of.is_empty() {
        expression["values"] = json!(of);
    }
    expression
}

fn injector(values: &Values, service: &str, name: &str) -> Value {
    let revision = values.revision.as_str();
    let not_refused = is(INJECT, "NotIn", &["false"]);
    let mut hooks = vec![
        hook(
            values,
            service,
            "rev.namespace.sidecar-injector.weft.mesh",
            &[is(REVISION, "In", &[revision]), is(INJECTION, "DoesNotExist", &[])],
            std::slice::from_ref(&not_refused),
        ),
        hook(
            values,
            service,
            "rev.object.sidecar-injector.weft.mesh",
            &[is(REVISION, "DoesNotExist", &[]), is(INJECTION, "DoesNotExist", &[])],
            &[not_refused.clone(), is(REVISION, "In", &[revision])],
        ),
    ];
    if revision == "default" {
        hooks.push(hook(
            values,
            service,
            "namespace.sidecar-injector.weft.mesh",
            &[is(INJECTION, "In", &["enabled"])],
            &[not_refused],
        ));
        hooks.push(hook(
            values,
            service,
            "object.sidecar-injector.weft.mesh",
            &[is(INJECTION, "DoesNotExist", &[]), is(REVISION, "DoesNotExist", &[])],
            &[is(INJECT, "In", &["true"]), is(REVISION, "DoesNotExist", &[])],
        ));
    }
    typed::<MutatingWebhookConfiguration>(json!({
        "metadata": {"name": name, "labels": {"istio.io/rev": revision, "app": "sidecar-injector"}},
        "webhooks": hooks,
    }))
}

fn hook(values: &Values, service: &str, name: &str, namespaces: &[Value], pods: &[Value]) -> Value {
    let mut namespaces = namespaces.to_vec();
    namespaces.push(is("kubernetes.io/metadata.name", "NotIn", &SPARED));
    json!({
        "name": name,
        "clientConfig": client(values, service, "/inject"),
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
        "namespaceSelector": {"matchExpressions": namespaces},
        "objectSelector": {"matchExpressions": pods},
        // A pod that asked for the mesh must not start outside of it.
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1"],
    })
}

fn validator(values: &Values, service: &str, name: &str) -> Value {
    let revision = values.revision.as_str();
    let hook = |name: &str, groups: &[&str]| {
        json!({
            "name": name,
            "clientConfig": client(values, service, "/validate"),
            "rules": [{
                "apiGroups": groups,
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["*"],
                "scope": "Namespaced",
            }],
            // No selector of objects: pilot uses each, whatever its istio.io/rev, so that none may pass unread.
            // Of its own kinds pilot sets Fail once it can answer; until then objects must not be refused unread.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"],
        })
    };
    let groups = |admission: Admission| -> Vec<&'static str> {
        let of_admission = Group::all().into_iter().filter(|group| group.admission() == admission);
        of_admission.map(Group::name).collect()
    };
    let own = hook(VALIDATION, &groups(Admission::Refused));
    // These may be others' objects, whose users a mesh that is down must not stop: it warns and refuses nothing.
    let mut shared = hook("gateway-api.validation.weft.mesh", &groups(Admission::Warned));
    shared["timeoutSeconds"] = json!(3);
    typed::<ValidatingWebhookConfiguration>(json!({
        "metadata": {"name": name, "labels": {"istio.io/rev": revision, "app": "validator"}},
        "webhooks": [own, shared],
    }))
}

fn client(values: &Values, service: &str, path: &str) -> Value {
    json!({"service": {"name": service, "namespace": values.namespace, "path": path, "port": 443}})
}
