//! The certificate bundle in the webhook configurations: written when the mesh's root is known, written again when somebody changes it.

use std::fmt::Debug;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use weft_base::shutdown::Shutdown;
use weft_mesh::admission::{Configurations, VALIDATION};

/// Name under which the fields are owned.
const FIELD_MANAGER: &str = "weft-pilot";

/// How often what the watch may have missed is looked at again.
const RECHECK: Duration = Duration::from_secs(60);

/// Keeps the bundles of both configurations at `roots`, a PEM text, until `shutdown` starts.
pub fn keep(client: Client, names: &Configurations, roots: watch::Receiver<Option<String>>, shutdown: &Shutdown) {
    let injectors: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validators: Api<ValidatingWebhookConfiguration> = Api::all(client);
    let stop = shutdown.token();
    let keeping = keep_one(injectors, names.injector.clone(), roots.clone(), None);
    shutdown.spawn(async move { stop.run_until_cancelled(keeping).await });
    let stop = shutdown.token();
    // Until pilot can answer, a validator that fails would refuse everything, so the installer lets it be ignored. One whose objects
    // may be others' stays so.
    let keeping = keep_one(validators, names.validator.clone(), roots, Some((VALIDATION, "Fail")));
    shutdown.spawn(async move { stop.run_until_cancelled(keeping).await });
}

async fn keep_one<K>(
    api: Api<K>,
    name: String,
    mut roots: watch::Receiver<Option<String>>,
    policy: Option<(&'static str, &'static str)>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher::watcher(api.clone(), config).boxed();
    let mut current: Option<K> = None;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Apply(object) | Event::InitApply(object))) => current = Some(object),
                Some(Ok(Event::Delete(_))) => current = None,
                Some(Ok(Event::Init | Event::InitDone)) => continue,
                Some(Err(error)) => {
                    tracing::warn!(name, %error, "cannot watch the webhook configuration, trying again");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    continue;
                }
                None => return,
            },
            changed = roots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RECHECK) => {}
        }
        let bundle = roots.borrow_and_update().clone();
        if let (Some(object), Some(bundle)) = (&current, bundle)
            && let Err(error) = repair(&api, object, &bundle, policy).await
        {
            tracing::warn!(name, %error, "cannot write the certificate bundle of the webhook configuration");
        }
    }
}

/// Writes the bundle where it differs.
async fn repair<K>(api: &Api<K>, object: &K, roots: &str, policy: Option<(&str, &str)>) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let name = object.name_any();
    let Some(operations) = repairs(&serde_json::to_value(object)?, &STANDARD.encode(roots), policy) else {
        return Ok(());
    };
    let patch: Patch<()> = Patch::Json(serde_json::from_value(Value::Array(operations))?);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(&name, &params, &patch).await?;
    tracing::info!(name, "certificate bundle of the webhook configuration written");
    Ok(())
}

/// The JSON patch that sets the bundle of every webhook and the failure policy of the one that is named, bound to the version that was
/// looked at; nothing where all is well.
fn repairs(object: &Value, bundle: &str, policy: Option<(&str, &str)>) -> Option<Vec<Value>> {
    let mut operations = Vec::new();
    for (index, hook) in object["webhooks"].as_array()?.iter().enumerate() {
        if hook["clientConfig"]["caBundle"].as_str() != Some(bundle) {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": bundle}));
        }
        let differs = |(name, policy): &(&str, &str)| hook["name"] == *name && hook["failurePolicy"] != *policy;
        if let Some((_, policy)) = policy.filter(differs) {
            let path = format!("/webhooks/{index}/failurePolicy");
            operations.push(json!({"op": "add", "path": path, "value": policy}));
        }
    }
    if operations.is_empty() {
        return None;
    }
    // Webhooks are told apart by place, so the list must still be the one that was read.
    let version = &object["metadata"]["resourceVersion"];
    operations.insert(
        0,
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}),
    );
    Some(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let object = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [
                {"name": VALIDATION, "clientConfig": {"caBundle": "bmV3"}, "failurePolicy": "Fail"},
                {"name": VALIDATION, "clientConfig": {"caBundle": "b2xk"}, "failurePolicy": "Ignore"},
                {"name": "others", "clientConfig": {}, "failurePolicy": "Ignore"},
            ],
        });
        let operations = repairs(&object, "bmV3", Some((VALIDATION, "Fail"))).unwrap();
        let paths: Vec<&str> = operations
            .iter()
            .filter_map(|operation| operation["path"].as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/webhooks/1/clientConfig/caBundle",
                "/webhooks/1/failurePolicy",
                "/webhooks/2/clientConfig/caBundle",
            ]
        );
        let good = json!({"webhooks": [{"name": VALIDATION, "clientConfig": {"caBundle": "bmV3"}}]});
        assert_eq!(repairs(&good, "bmV3", None), None);
    }
}
