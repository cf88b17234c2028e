//! What keeps a pod from being ready, in words.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// Sentences about pods of a Deployment of ours that are not ready, or why it makes none; nothing where all is well, or
/// cannot be read.
pub(crate) async fn trouble(client: &Client, namespace: &str, deployment: &Deployment) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let selector = format!("app={}", deployment.name_any());
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    let of_pods: Vec<String> = listed.iter().flat_map(|list| &list.items).filter_map(why).collect();
    if of_pods.is_empty() {
        return stuck(deployment).into_iter().collect();
    }
    of_pods
}

/// Why a Deployment makes no pods, or no more: a quota or an admission webhook for example.
fn stuck(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let says = |kind: &str, status: &str| {
        let mut found = conditions.iter();
        let found = found.find(|condition| condition.type_ == kind && condition.status == status)?;
        found.message.clone()
    };
    says("ReplicaFailure", "True").or_else(|| says("Progressing", "False"))
}

/// Whether a pod takes traffic.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Why one pod is not ready.
fn why(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if is_ready(pod) {
        return None;
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    if let Some(text) = containers.filter_map(of_container).next() {
        return Some(format!("pod {name}, {text}"));
    }
    let unschedulable = conditions
        .iter()
        .find(|condition| condition.status == "False" && condition.message.is_some());
    let message = unschedulable.and_then(|condition| condition.message.as_deref());
    Some(format!("pod {name}: {}", message.unwrap_or("not ready")))
}

fn of_container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let name = &status.name;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        if reason == "PodInitializing" || reason == "ContainerCreating" {
            return None;
        }
        let message = waiting.message.as_deref().unwrap_or_default();
        return Some(format!("container {name}: {reason} {message}").trim_end().to_owned());
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(format!("container {name} ended with exit code {}", ended.exit_code))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deployments_without_pods_say_why() {
        #[track_caller]
        fn check(conditions: serde_json::Value, expected: Option<&str>) {
            let deployment = json!({"status": {"conditions": conditions}});
            let found = stuck(&serde_json::from_value(deployment).unwrap());
            assert_eq!(found.as_deref(), expected);
        }
        let failure = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"});
        let late = json!({"type": "Progressing", "status": "False", "message": "timed out"});
        let well = json!({"type": "Progressing", "status": "True", "message": "has progressed"});
        check(json!([late, failure]), Some("exceeded quota"));
        check(json!([late]), Some("timed out"));
        check(json!([well]), None);
        check(json!([]), None);
    }
}
