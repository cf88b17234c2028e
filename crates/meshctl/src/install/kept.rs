//! The values that an installation was given, read back from the cluster.

use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::render::{OWNED, VALUES};
use crate::exit::Failure;

/// The values of the installed revision, or of the default one where that revision is new. Nothing where no installation kept any.
pub(super) async fn values(client: &Client, revision: &str) -> anyhow::Result<Option<Value>> {
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let api: Api<ConfigMap> = Api::all(client.clone());
    let maps = api.list(&ListParams::default().labels(&selector)).await;
    let maps = maps.context("cannot list configmaps, where the values of the installation are")?;
    let of = |revision: &str| {
        let mut maps = maps.items.iter();
        maps.find_map(|map| {
            let is_of = map.labels().get("istio.io/rev").is_some_and(|of| of == revision);
            let text = map.data.as_ref()?.get(VALUES)?;
            is_of.then_some((map.namespace().unwrap_or_default(), map.name_any(), text))
        })
    };
    let Some((namespace, name, text)) = of(revision).or_else(|| of("default")) else {
        return Ok(None);
    };
    let kept = serde_saphyr::from_str(text).map_err(|error| {
        Failure::bad_data(format!(
            "{VALUES} of ConfigMap {namespace}/{name} is no YAML (--reset-values does without it): {error}"
        ))
    })?;
    Ok(Some(kept))
}
