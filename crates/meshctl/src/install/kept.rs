//! The values that an installation was given, read back from the cluster.

use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::render::{OWNED, VALUES};
use crate::exit::Failure;

/// The values from which an upgrade to a revision goes on. Nothing where no installation kept any.
pub(super) async fn values(client: &Client, revision: &str) -> anyhow::Result<Option<Value>> {
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let api: Api<ConfigMap> = Api::all(client.clone());
    let maps = api.list(&ListParams::default().labels(&selector)).await;
    let maps = maps.context(
        "cannot list configmaps, where the values of the installation are; --reset-values does without them",
    )?;
    let Some((map, text)) = choose(&maps.items, revision) else {
        return Ok(None);
    };
    let kept = serde_saphyr::from_str(text).map_err(|error| {
        let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
        Failure::bad_data(format!(
            "{VALUES} of ConfigMap {namespace}/{name} is no YAML (--reset-values does without it): {error}"
        ))
    })?;
    Ok(Some(kept))
}

/// What the installed revision kept; where it is new, what the default one kept, or the only one there is.
fn choose<'a>(maps: &'a [ConfigMap], revision: &str) -> Option<(&'a ConfigMap, &'a str)> {
    let revision_of = |map: &'a ConfigMap| Some((map, map.labels().get("istio.io/rev")?.as_str()));
    let installed: Vec<_> = maps.iter().filter_map(revision_of).collect();
    let of = |revision: &str| installed.iter().find(|(_, of)| *of == revision);
    let only = match installed.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let (map, _) = of(revision).or_else(|| of("default")).or(only)?;
    Some((map, map.data.as_ref()?.get(VALUES)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Revisions that are installed, and whether each kept its values; the one that is upgraded; what is gone on from.
    type Row<'a> = (&'a [(&'a str, bool)], &'a str, Option<&'a str>);

    #[test]
    fn an_upgrade_goes_on_from_its_own_revision_or_from_the_one_that_is_meant() {
        let map = |revision: &str, kept: bool| -> ConfigMap {
            let key = if kept { VALUES } else { "injector.yaml" };
            let data = json!({key: format!("of: {revision}")});
            serde_json::from_value(json!({"metadata": {"labels": {"istio.io/rev": revision}}, "data": data})).unwrap()
        };
        let rows: &[Row<'_>] = &[
            (&[], "default", None),
            (&[("default", true)], "default", Some("of: default")),
            (&[("a", true), ("default", true)], "a", Some("of: a")),
            (&[("a", true), ("default", true)], "b", Some("of: default")),
            (&[("a", true)], "b", Some("of: a")),
            (&[("a", true), ("b", true)], "c", None),
            // Installed before values were kept.
            (&[("default", false)], "default", None),
            (&[("default", false), ("a", true)], "default", None),
        ];
        for (installed, revision, expected) in rows {
            let maps: Vec<ConfigMap> = installed.iter().map(|(revision, kept)| map(revision, *kept)).collect();
            let chosen = choose(&maps, revision).map(|(_, text)| text);
            assert_eq!(chosen, *expected, "{installed:?} {revision}");
        }
    }
}
