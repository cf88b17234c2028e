//! Taking an installation away: everything that carries the labels of ownership, and what the control plane made itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};
use weft_base::kubernetes::is_status;

use super::render::{OWNED, Part};
use crate::cluster::{Installed, KINDS};
use crate::exit::Failure;
use crate::output;

/// Pause between two looks whether something has gone.
const INTERVAL: Duration = Duration::from_millis(250);

/// What citadel writes into every namespace.
const ROOTS: &str = "app.kubernetes.io/managed-by=weft-citadel";

/// Name of its root's Secret.
const ROOT: &str = "istio-ca-secret";

/// Removes what is there, returns how many objects that were. With a revision, only what belongs to it alone.
pub(super) async fn all(
    client: &Client,
    revision: Option<&str>,
    purge: bool,
    timeout: Duration,
) -> anyhow::Result<usize> {
    let mut selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    if let Some(revision) = revision {
        selector.push_str(&format!(",istio.io/rev={revision}"));
    }
    let mut removed = 0;
    let roots = if purge {
        namespaces(client, &selector).await?
    } else {
        BTreeSet::new()
    };
    let kinds = KINDS.iter().filter(|kind| purge || !kind.kept);
    for kind in kinds {
        if kind.kind == "Namespace" && revision.is_none() {
            removed += of_kind(client, &config_maps(), ROOTS, |_| true, timeout).await?;
        }
        removed += of_kind(client, kind, &selector, |_| true, timeout).await?;
    }
    for namespace in &roots {
        removed += root(client, namespace).await?;
    }
    Ok(removed)
}

/// Removes what an earlier installation of the revision had and this one does not have any more.
pub(super) async fn stale(client: &Client, parts: &[Part], revision: &str, timeout: Duration) -> anyhow::Result<()> {
    let objects = parts.iter().flat_map(|part| &part.objects);
    let rendered: BTreeSet<[String; 3]> = objects
        .map(|object| {
            let meta = &object["metadata"];
            [&object["kind"], &meta["namespace"], &meta["name"]]
                .map(|value| value.as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    // Leases are made by the control plane itself.
    for kind in KINDS.iter().filter(|kind| !kind.kept && kind.kind != "Lease") {
        let is_stale = |object: &DynamicObject| {
            // What all revisions share goes with the default one.
            let of = object.labels().get("istio.io/rev").map_or("default", String::as_str);
            let id = [
                kind.kind.to_owned(),
                object.namespace().unwrap_or_default(),
                object.name_any(),
            ];
            of == revision && !rendered.contains(&id)
        };
        of_kind(client, kind, &selector, is_stale, timeout).await?;
    }
    Ok(())
}

/// Where control planes are.
async fn namespaces(client: &Client, selector: &str) -> anyhow::Result<BTreeSet<String>> {
    let api: Api<Deployment> = Api::all(client.clone());
    let params = ListParams::default().labels(selector);
    let found = api.list(&params).await.context("cannot list deployments")?;
    Ok(found.items.iter().filter_map(ResourceExt::namespace).collect())
}

/// Removes the root that citadel made, which outlives its Deployment where the namespace is not ours.
async fn root(client: &Client, namespace: &str) -> anyhow::Result<usize> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.delete(ROOT, &DeleteParams::default()).await {
        Ok(_) => Ok(1),
        Err(error) if is_status(&error, 404) => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot remove Secret {namespace}/{ROOT}")),
    }
}

fn config_maps() -> Installed {
    *KINDS
        .iter()
        .find(|kind| kind.kind == "ConfigMap")
        .expect("ConfigMaps are installed")
}

/// Removes the wanted ones among the objects of one kind and waits until they are gone.
async fn of_kind(
    client: &Client,
    kind: &Installed,
    selector: &str,
    wanted: impl Fn(&DynamicObject) -> bool,
    timeout: Duration,
) -> anyhow::Result<usize> {
    let listed = list(client, kind, selector).await?;
    let mut going = Vec::new();
    for object in listed.into_iter().filter(wanted) {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.name_any();
        let params = DeleteParams {
            // Pods go before their Deployment counts as gone.
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Ok(_) => going.push((api, name)),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {} {name}", kind.kind)),
        }
    }
    let deadline = Instant::now() + timeout;
    for (api, name) in &going {
        while api.get_opt(name).await?.is_some() {
            if Instant::now() >= deadline {
                let message = format!(
                    "{} {name} is being removed but still there; something holds it, see its finalizers",
                    kind.kind
                );
                return Err(Failure::timed_out(message).into());
            }
            sleep(INTERVAL).await;
        }
    }
    if !going.is_empty() {
        output::say(&format!("\u{221a} {}: {} removed", kind.kind, going.len()));
    }
    Ok(going.len())
}

/// The objects of a kind; none where the server does not have it.
async fn list(client: &Client, kind: &Installed, selector: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    match api.list(&ListParams::default().labels(selector)).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", kind.plural)),
    }
}
