//! The kinds that are watched: their groups, the versions that are understood, and how they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use weft_api::meta::{Kind, ObjectKey};

/// A kind as servers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// Kind of the objects.
    pub(super) kind: Kind,
    /// API group; empty for the core.
    pub(super) group: &'static str,
    /// Name in paths.
    pub(super) plural: &'static str,
    /// Versions that are read, the one that is preferred first.
    pub(super) versions: &'static [&'static str],
}

/// The kinds that a server has, each with the version in which it is read.
pub type Served = BTreeMap<Kind, String>;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchId {
    /// Kind of the objects.
    pub(super) kind: Kind,
    /// Only this object, by namespace and name; `None` for all of the cluster.
    pub(super) only: Option<(Arc<str>, Arc<str>)>,
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";

const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// All kinds that are watched throughout the cluster.
pub(super) const WATCHED: &[Watched] = &[
    watched(Kind::Namespace, "", "namespaces", &["v1"]),
    watched(Kind::Node, "", "nodes", &["v1"]),
    watched(Kind::Pod, "", "pods", &["v1"]),
    watched(Kind::Service, "", "services", &["v1"]),
    watched(Kind::EndpointSlice, "discovery.k8s.io", "endpointslices", &["v1"]),
    watched(
        Kind::VirtualService,
        "networking.istio.io",
        "virtualservices",
        NETWORKING,
    ),
    watched(
        Kind::DestinationRule,
        "networking.istio.io",
        "destinationrules",
        NETWORKING,
    ),
    watched(Kind::ServiceEntry, "networking.istio.io", "serviceentries", NETWORKING),
    watched(
        Kind::WorkloadEntry,
        "networking.istio.io",
        "workloadentries",
        NETWORKING,
    ),
    watched(Kind::Gateway, "networking.istio.io", "gateways", NETWORKING),
    watched(Kind::Sidecar, "networking.istio.io", "sidecars", NETWORKING),
    watched(
        Kind::PeerAuthentication,
        "security.istio.io",
        "peerauthentications",
        &["v1", "v1beta1"],
    ),
    watched(
        Kind::AuthorizationPolicy,
        "security.istio.io",
        "authorizationpolicies",
        &["v1", "v1beta1"],
    ),
    watched(
        Kind::RequestAuthentication,
        "security.istio.io",
        "requestauthentications",
        &["v1", "v1beta1"],
    ),
    watched(Kind::GatewayClass, GATEWAY_API, "gatewayclasses", &["v1", "v1beta1"]),
    watched(Kind::KubernetesGateway, GATEWAY_API, "gateways", &["v1", "v1beta1"]),
    watched(Kind::HttpRoute, GATEWAY_API, "httproutes", &["v1", "v1beta1"]),
    watched(Kind::GrpcRoute, GATEWAY_API, "grpcroutes", &["v1", "v1alpha2"]),
    watched(
        Kind::TlsRoute,
        GATEWAY_API,
        "tlsroutes",
        &["v1", "v1alpha3", "v1alpha2"],
    ),
    watched(Kind::TcpRoute, GATEWAY_API, "tcproutes", &["v1", "v1alpha2"]),
    watched(Kind::ReferenceGrant, GATEWAY_API, "referencegrants", &["v1", "v1beta1"]),
    watched(
        Kind::Telemetry,
        "telemetry.istio.io",
        "telemetries",
        &["v1", "v1alpha1"],
    ),
];

/// Kinds of which single objects are watched, so they are not part of [`WATCHED`].
const NAMED: &[Watched] = &[
    watched(Kind::Secret, "", "secrets", &["v1"]),
    watched(Kind::ConfigMap, "", "configmaps", &["v1"]),
];

/// Name of the ConfigMap with the mesh configuration.
const MESH_CONFIG: &str = "istio";

const fn watched(kind: Kind, group: &'static str, plural: &'static str, versions: &'static [&'static str]) -> Watched {
    Watched {
        kind,
        group,
        plural,
        versions,
    }
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
        self.kind == Kind::Secret
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
    let mesh_config = WatchId {
        kind: Kind::ConfigMap,
        only: Some((Arc::clone(root_namespace), MESH_CONFIG.into())),
    };
    served
        .iter()
        .map(|(kind, version)| {
            (
                WatchId {
                    kind: *kind,
                    only: None,
                },
                version.clone(),
            )
        })
        .chain([(mesh_config, "v1".to_owned())])
        .collect()
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
    let known = WATCHED.iter().chain(NAMED).find(|watched| watched.kind == kind);
    let (group, plural) = known.map_or(("", ""), |known| (known.group, known.plural));
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_string(),
        plural: plural.to_owned(),
    }
}

/// `apiVersion` of a kind's objects.
pub(super) fn api_version(kind: Kind, version: &str) -> String {
    resource(kind, version).api_version
}
