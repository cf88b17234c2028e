//! From what one proxy may see to xDS resources: pure functions, one file per resource type or concern.
//!
//! Same input, same bytes: maps are ordered before they are encoded, and a resource's version is the hash of its bytes.

mod cluster;
mod endpoint;
mod gateway;
mod guard;
mod http;
mod inbound;
mod istio;
mod outbound;
mod policy;
mod route;
mod route_match;
mod tls;
mod tracing;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::{Message, Name};

use crate::view::ProxyView;
use crate::xds::resource::{Kind, Resource, ResourceSet};

/// Everything one proxy is served, by type.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// Clusters.
    pub clusters: ResourceSet,
    /// Endpoints.
    pub endpoints: ResourceSet,
    /// Listeners.
    pub listeners: ResourceSet,
    /// Route configurations.
    pub routes: ResourceSet,
    /// Secrets that gateways refer to.
    pub secrets: ResourceSet,
}

// === impl Generated ===

impl Generated {
    /// The resources of one type.
    pub fn of(&self, kind: Kind) -> &ResourceSet {
        match kind {
            Kind::Cluster => &self.clusters,
            Kind::Endpoints => &self.endpoints,
            Kind::Listener => &self.listeners,
            Kind::Routes => &self.routes,
            Kind::Secret => &self.secrets,
        }
    }
}

/// Generates everything for one proxy.
pub fn generate(view: &ProxyView) -> Generated {
    let mut generated = Generated {
        clusters: encode(cluster::clusters(view), |cluster| cluster.name.clone()),
        endpoints: encode(endpoint::assignments(view), |assignment| {
            assignment.cluster_name.clone()
        }),
        ..Generated::default()
    };
    let mut listeners = inbound::listeners(view);
    let mut routes = Vec::new();
    outbound::generate(view, &mut listeners, &mut routes);
    gateway::generate(view, &mut listeners, &mut routes);
    generated.listeners = encode(listeners, |listener| listener.name.clone());
    generated.routes = encode(routes, |config| config.name.clone());
    generated.secrets = encode(tls::gateway_secrets(view), |secret| secret.name.clone());
    generated
}

fn encode<T: Message + Name>(messages: Vec<T>, name: impl Fn(&T) -> String) -> ResourceSet {
    let resource = |message: T| {
        let name: Arc<str> = Arc::from(name(&message));
        (name, Resource::new(T::type_url(), message.encode_to_vec()))
    };
    messages.into_iter().map(resource).collect::<BTreeMap<_, _>>()
}
