//! Other meshes of the cluster: Istio, or one of ours in another namespace.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use weft_mesh::admission::Configurations;

use super::{Finding, Mark, OWNED, Wish};
use crate::cluster::KINDS;

const CATEGORY: &str = "other meshes";

/// Where Istio's root certificate goes first, and its name there, which is that of ours.
const ISTIO_ROOT: (&str, &str) = ("istio-system", "istio-ca-root-cert");

/// Webhook configurations have no namespace: those of a mesh elsewhere would be taken from it.
pub(super) async fn elsewhere(client: &Client, wish: Wish<'_>) -> anyhow::Result<Vec<Finding>> {
    let names = Configurations::of_revision(wish.revision);
    for (kind, name) in [
        ("MutatingWebhookConfiguration", &names.injector),
        ("ValidatingWebhookConfiguration", &names.validator),
    ] {
        let Some(kind) = KINDS.iter().find(|known| known.kind == kind) else {
            continue;
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let Some(found) = api.get_opt(name).await? else {
            continue;
        };
        let hooks = found.data["webhooks"].as_array();
        let mut namespaces = hooks
            .into_iter()
            .flatten()
            .filter_map(|hook| hook.pointer("/clientConfig/service/namespace")?.as_str());
        if let Some(namespace) = namespaces.find(|namespace| *namespace != wish.namespace) {
            let text = format!(
                "revision {} of the mesh is in namespace {namespace}, not in {}",
                wish.revision, wish.namespace
            );
            let hint = format!("meshctl uninstall takes it away; --set namespace={namespace} goes on with it");
            return Ok(vec![Finding::new("namespace", Mark::Bad, text, hint)]);
        }
    }
    Ok(Vec::new())
}

/// Another mesh that would inject the same pods.
pub(crate) async fn injectors(client: &Client, wish: Wish<'_>) -> anyhow::Result<Vec<Finding>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let others = api.list(&ListParams::default().labels("app=sidecar-injector")).await?;
    let (key, value) = OWNED[0];
    let foreign = others
        .items
        .iter()
        .filter(|found| found.labels().get(key).map(String::as_str) != Some(value));
    let hint = match wish.revision {
        "default" => {
            "remove it before you label namespaces: both inject where istio-injection=enabled says so".to_owned()
        }
        revision => format!("label namespaces with istio.io/rev={revision}, so that no pod is injected twice"),
    };
    let finding = |found: &MutatingWebhookConfiguration| {
        let text = format!("another injector is there: {}", found.name_any());
        Finding::new(CATEGORY, Mark::Doubtful, text, hint.clone())
    };
    Ok(foreign.map(finding).collect())
}

/// Istio writes its root into every namespace under the name that citadel uses.
pub(super) async fn roots(client: &Client) -> anyhow::Result<Vec<Finding>> {
    let (namespace, name) = ISTIO_ROOT;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await?;
    let is_ours = |map: &ConfigMap| {
        let manager = map.labels().get("app.kubernetes.io/managed-by");
        manager.map(String::as_str) == Some("weft-citadel")
    };
    if found.as_ref().is_none_or(is_ours) {
        return Ok(Vec::new());
    }
    let text = format!("ConfigMap {namespace}/{name} is not of this mesh: istiod writes {name} too");
    let hint = format!("remove Istio first, and what it left: kubectl delete configmap -n {namespace} {name}");
    Ok(vec![Finding::new(CATEGORY, Mark::Bad, text, hint)])
}
