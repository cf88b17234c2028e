//! What keeps a pod from being ready, in words.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::Selector;

/// Sentences about pods of a Deployment of ours that are not ready, or why it makes none; nothing where all is well, or
/// cannot be read.
pub(crate) async fn trouble(client: &Client, namespace: &str, deployment: &Deployment) -> Vec<String> {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    let of_pods = match selector {
        Some(selector) => trouble_of(client, namespace, selector).await,
        None => Vec::new(),
    };
    if of_pods.is_empty() {
        let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
        return stuck(conditions.map_or(&[][..], Vec::as_slice)).into_iter().collect();
    }
    of_pods
}

/// Sentences about the pods of a selector that are not ready.
pub(crate) async fn trouble_of(client: &Client, namespace: &str, selector: &LabelSelector) -> Vec<String> {
    let Ok(selector) = Selector::try_from(selector.clone()) else {
        return Vec::new();
    };
    // An empty one would mean all pods.
    if selector.selects_all() {
        return Vec::new();
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels(&selector.to_string())).await;
    listed.iter().flat_map(|list| &list.items).filter_map(why).collect()
}

/// Why a Deployment makes no pods, or no more: a quota or an admission webhook for example.
pub(crate) fn stuck(conditions: &[DeploymentCondition]) -> Option<String> {
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
            let conditions: Vec<DeploymentCondition> = serde_json::from_value(conditions).unwrap();
            assert_eq!(stuck(&conditions).as_deref(), expected);
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
