//! Objects to the API server by server-side apply, part by part, each waited for before the next.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::render::{OWNED, Part, identify};
use crate::cluster::{api_of, trouble};
use crate::exit::Failure;
use crate::output;

/// Name under which the fields are owned.
const FIELD_MANAGER: &str = "meshctl";

/// Pause between two looks at a Deployment.
const INTERVAL: Duration = Duration::from_millis(250);

/// Applies all parts. Doing it again changes nothing.
pub(super) async fn all(client: &Client, parts: &[Part], timeout: Duration, skip_wait: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    for part in parts {
        let started = Instant::now();
        for object in &part.objects {
            one(client, object)
                .await
                .with_context(|| format!("cannot apply {}", identify(object)))?;
        }
        if !skip_wait {
            for object in part.objects.iter().filter(|object| object["kind"] == "Deployment") {
                wait(client, object, deadline).await?;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        output::say(&format!(
            "\u{221a} {}: {} objects, {seconds:.1} s",
            part.name,
            part.objects.len()
        ));
    }
    Ok(())
}

async fn one(client: &Client, object: &Value) -> anyhow::Result<()> {
    let api = api_of(client, object)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if object["kind"] == "CustomResourceDefinition" && is_foreign(&api, name).await? {
        output::say(&format!("\u{203c} {name} was not made by meshctl and is used as it is"));
        return Ok(());
    }
    // A namespace that is not owned stays when the mesh is purged, with all that others have in it.
    if object["kind"] == "Namespace" && is_foreign(&api, name).await? {
        return Ok(());
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// Something that others brought, Istio's definitions for example, with objects behind it.
async fn is_foreign(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<bool> {
    let Some(found) = api.get_opt(name).await? else {
        return Ok(false);
    };
    let labels = found.metadata.labels.unwrap_or_default();
    Ok(OWNED
        .iter()
        .any(|(key, value)| labels.get(*key).map(String::as_str) != Some(*value)))
}

/// Waits until all replicas of a Deployment are of the new version and ready.
async fn wait(client: &Client, object: &Value, deadline: Instant) -> anyhow::Result<()> {
    let meta = &object["metadata"];
    let text = |field: &str| meta[field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    loop {
        let found = api.get(name).await?;
        if is_ready(&found) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let selector = format!("app={name}");
            let reasons = trouble(client, namespace, &found).await.join("; ");
            let message = format!(
                "{} is not ready: {reasons}; see kubectl describe pod -n {namespace} -l {selector}",
                identify(object)
            );
            return Err(Failure::timed_out(message).into());
        }
        sleep(INTERVAL).await;
    }
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
}
