//! What a pod belongs to: the workload that made it, and its name and version in metrics.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::names;

/// Name and kind of the workload that a pod is a replica of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) api_version: String,
}

/// The workload of a pod. A ReplicaSet stands for its Deployment and a Job for its CronJob where their names say so.
pub(super) fn workload(pod: &Pod) -> Workload {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    match owners.iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) => owned_by(pod, owner),
        None => Workload {
            name: own_name(pod),
            kind: "Pod".to_owned(),
            api_version: "v1".to_owned(),
        },
    }
}

fn owned_by(pod: &Pod, owner: &OwnerReference) -> Workload {
    let workload = |name: &str, kind: &str, api_version: &str| Workload {
        name: name.to_owned(),
        kind: kind.to_owned(),
        api_version: api_version.to_owned(),
    };
    if owner.kind == "ReplicaSet" {
        let hash = label(pod, "pod-template-hash");
        if let Some(name) = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-')) {
            return workload(name, "Deployment", "apps/v1");
        }
    }
    if owner.kind == "Job"
        && let Some((name, stamp)) = owner.name.rsplit_once('-')
        && (8..=10).contains(&stamp.len())
        && stamp.bytes().all(|b| b.is_ascii_digit())
    {
        return workload(name, "CronJob", &owner.api_version);
    }
    workload(&owner.name, &owner.kind, &owner.api_version)
}

/// The pod's name, or what a generated name starts with.
fn own_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let generated = || meta.generate_name.as_deref().map(|name| name.trim_end_matches('-'));
    let name = meta.name.as_deref().filter(|name| !name.is_empty());
    name.or_else(generated).unwrap_or_default().to_owned()
}

/// Name of the workload in metrics (istio.io, "Canonical service").
pub(super) fn canonical_name(pod: &Pod, workload: &Workload) -> String {
    let labelled = [names::CANONICAL_NAME, "app.kubernetes.io/name", "app"];
    let label = labelled.into_iter().find_map(|key| label(pod, key));
    label.unwrap_or(&workload.name).to_owned()
}

/// Version of the workload in metrics.
pub(super) fn canonical_revision(pod: &Pod) -> String {
    let labelled = [names::CANONICAL_REVISION, "app.kubernetes.io/version", "version"];
    let label = labelled.into_iter().find_map(|key| label(pod, key));
    label.unwrap_or("latest").to_owned()
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    let value = pod.metadata.labels.as_ref()?.get(key)?;
    (!value.is_empty()).then_some(value.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(metadata: Value, expected: (&str, &str)) {
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        let found = workload(&pod);
        assert_eq!((found.name.as_str(), found.kind.as_str()), expected);
    }

    fn owner(kind: &str, name: &str) -> Value {
        json!([{"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "1", "controller": true}])
    }

    #[test]
    fn owners_are_followed_by_name() {
        let hash = json!({"pod-template-hash": "5d59d67564"});
        check(
            json!({"ownerReferences": owner("ReplicaSet", "web-5d59d67564"), "labels": hash}),
            ("web", "Deployment"),
        );
        check(
            json!({"ownerReferences": owner("ReplicaSet", "web")}),
            ("web", "ReplicaSet"),
        );
        check(
            json!({"ownerReferences": owner("Job", "backup-1611111111")}),
            ("backup", "CronJob"),
        );
        check(
            json!({"ownerReferences": owner("Job", "backup-once")}),
            ("backup-once", "Job"),
        );
        check(
            json!({"ownerReferences": owner("StatefulSet", "db")}),
            ("db", "StatefulSet"),
        );
        check(json!({"name": "solo"}), ("solo", "Pod"));
        check(json!({"generateName": "solo-"}), ("solo", "Pod"));
    }
}
