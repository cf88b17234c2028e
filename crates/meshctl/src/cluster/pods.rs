//! What keeps a pod from being ready, in words.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Client;
use kube::api::{Api, ListParams};

/// Sentences about pods of a selector that are not ready; nothing where all are, or where they cannot be read.
pub(crate) async fn trouble(client: &Client, namespace: &str, selector: &str) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match pods.list(&ListParams::default().labels(selector)).await {
        Ok(list) => list.items.iter().filter_map(why).collect(),
        Err(_) => Vec::new(),
    }
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
