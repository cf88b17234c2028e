//! The kinds that are watched, and how a server is asked for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use weft_api::kind::{Kind, Watch};
use weft_api::meta::ObjectKey;

/// The kinds that a server has, each with the version in which it is read.
pub type Served = BTreeMap<Kind, String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchId {
    /// Kind of the objects.
    pub(super) kind: Kind,
    /// Only this object, by namespace and name; `None` for all of the cluster.
    pub(super) only: Option<(Arc<str>, Arc<str>)>,
}

/// All kinds that are watched throughout the cluster.
pub(super) fn watched() -> impl Iterator<Item = Kind> {
    Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.facts().watch == Watch::All)
}

// === impl WatchId ===

impl WatchId {
    /// A watch of a Secret of a gateway.
    pub(super) fn credential(namespace: &Arc<str>, name: &str) -> Self {
        Self {
            kind: Kind::Secret,
            only: Some((Arc::clone(namespace), name.into())),
        }
    }

    /// Whether discovery decides about the watch.
    pub(super) fn is_general(&self) -> bool {
        !self.is_credential()
    }

    /// Whether gateways decide about the watch.
    pub(super) fn is_credential(&self) -> bool {
        self.kind.facts().watch == Watch::NamedByGateways
    }
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some((namespace, name)) = &self.only {
            write!(f, "/{namespace}/{name}")?;
        }
        Ok(())
    }
}

/// The watches that a server with these kinds gets, each with its version.
pub(super) fn watches(served: &Served, root_namespace: &Arc<str>) -> BTreeMap<WatchId, String> {
    let everywhere = served.iter().map(|(kind, version)| {
        let id = WatchId {
            kind: *kind,
            only: None,
        };
        (id, version.clone())
    });
    let single = Kind::ALL.iter().filter_map(|kind| {
        let Watch::One(name) = kind.facts().watch else {
            return None;
        };
        let id = WatchId {
            kind: *kind,
            only: Some((Arc::clone(root_namespace), name.into())),
        };
        Some((id, preferred(*kind)))
    });
    everywhere.chain(single).collect()
}

/// The version of kinds of which a server is not asked.
pub(super) fn preferred(kind: Kind) -> String {
    kind.facts().versions.first().copied().unwrap_or_default().to_owned()
}

/// How the objects of a watch are asked for, and the field selector that narrows the watch.
pub(super) fn api(id: &WatchId, version: &str, client: Client) -> (Api<DynamicObject>, Option<String>) {
    let resource = resource(id.kind, version);
    match &id.only {
        Some((namespace, name)) => {
            let selector = format!("metadata.name={name}");
            (Api::namespaced_with(client, namespace, &resource), Some(selector))
        }
        None => {
            // Pods that ended for good are nobody's endpoint any more.
            let ended = "status.phase!=Succeeded,status.phase!=Failed";
            let selector = (id.kind == Kind::Pod).then(|| ended.to_owned());
            (Api::all_with(client, &resource), selector)
        }
    }
}

/// One object of a kind with namespaces.
pub fn scoped_api(client: Client, key: &ObjectKey, version: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client, &key.namespace, &resource(key.kind, version))
}

fn resource(kind: Kind, version: &str) -> ApiResource {
    let facts = kind.facts();
    ApiResource {
        group: facts.group.name().to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version(version),
        kind: facts.name.to_owned(),
        plural: facts.plural.to_owned(),
    }
}
