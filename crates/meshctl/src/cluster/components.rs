//! The Deployments of the mesh and how they are.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use weft_base::kubernetes::OWNED;

use super::pods::trouble;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Component {
    pub(crate) name: String,
    /// Whether it is a pilot, of any revision.
    #[serde(skip)]
    pub(crate) is_pilot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Replicas that are ready.
    pub(crate) ready: i32,
    /// Replicas that there should be.
    pub(crate) wanted: i32,
    /// Why pods are not ready; empty where all are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) trouble: Vec<String>,
}

// === impl Component ===

impl Component {
    /// Whether all replicas are ready.
    pub(crate) fn is_well(&self) -> bool {
        self.ready >= self.wanted
    }
}

/// All Deployments that meshctl installed in a namespace.
pub(crate) async fn components(client: &Client, namespace: &str) -> anyhow::Result<Vec<Component>> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let mut found = Vec::new();
    for deployment in api.list(&ListParams::default().labels(&selector)).await? {
        let labels = deployment.labels();
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = deployment.status.as_ref().and_then(|status| status.available_replicas);
        let mut component = Component {
            name: deployment.name_any(),
            is_pilot: labels.get("istio").is_some_and(|value| value == "pilot"),
            version: labels.get("app.kubernetes.io/version").cloned(),
            ready: ready.unwrap_or(0),
            wanted,
            trouble: Vec::new(),
        };
        if !component.is_well() {
            component.trouble = trouble(client, namespace, &deployment).await;
        }
        found.push(component);
    }
    Ok(found)
}
