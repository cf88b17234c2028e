//! From what one proxy may see to xDS resources: pure functions, one file per resource type or concern.
//!
//! Same input, same bytes: the entries of maps are sorted (`canonical`), and a resource's version is the hash of its bytes.

mod authorization;
mod canonical;
mod capture;
mod capture_inbound;
mod capture_outbound;
mod capture_services;
mod cluster;
mod collector;
mod egress;
mod encode;
mod endpoint;
mod filters;
mod gateway;
mod grpc;
mod guard;
mod hosts;
mod http;
mod inbound;
mod istio;
mod l4;
mod listener_filters;
mod mtls;
mod name_table;
mod original;
mod outbound;
mod policy;
mod route;
mod route_match;
mod shared;
mod side;
mod tcp_limits;
mod tls;
mod tracing;
mod wire;
mod writer;

use std::sync::Arc;

use weft_proto::ads::Kind;

use self::encode::encode;
pub use self::shared::{ScopeKey, Shared, relevant_labels};
pub use self::writer::{Writer, writer};
use crate::node::Dialect;
use crate::resource::layer::{Layer, Resources};
use crate::resource::{Resource, ResourceSet};
use crate::snapshot::Change;
use crate::view::ProxyView;

/// Everything one proxy is served, by type.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    pub clusters: Resources,
    pub endpoints: Resources,
    pub listeners: Resources,
    pub routes: Resources,
    /// Secrets that gateways refer to.
    pub secrets: Resources,
    /// Names that the proxy answers DNS queries for.
    pub names: Resources,
    /// Whether the pod lives on for the proxy alone.
    pub ended: Resources,
}

// === impl Generated ===

impl Generated {
    /// The resources of one type.
    pub fn of(&self, kind: Kind) -> &Resources {
        match kind {
            Kind::Cluster => &self.clusters,
            Kind::Endpoints => &self.endpoints,
            Kind::Listener => &self.listeners,
            Kind::Routes => &self.routes,
            Kind::Secret => &self.secrets,
            Kind::Names => &self.names,
            Kind::ApplicationEnded => &self.ended,
        }
    }
}

/// Generates everything for one proxy.
pub fn generate(view: &ProxyView) -> Generated {
    compose(view, &Shared::build(view, None), None)
}

/// Joins what the proxies of a scope share with what is this proxy's own. `before` is what the proxy had under an older
/// snapshot: parts that are still the same are taken over.
pub fn compose(view: &ProxyView, shared: &Shared, before: Option<(&ProxyView, &Generated)>) -> Generated {
    let unchanged = before
        .filter(|(old, _)| old.dialect == view.dialect && view.snapshot.change_since(&old.snapshot) != Change::Config);
    let own = match unchanged {
        Some((_, generated)) => generated.clone(),
        None => own(view, before.map(|(_, generated)| generated)),
    };
    let join = |shared: &Arc<Layer>, own: Resources| Resources {
        shared: shared.clone(),
        own: own.own,
    };
    Generated {
        clusters: join(&shared.clusters, own.clusters),
        endpoints: join(&shared.endpoints, own.endpoints),
        listeners: join(&shared.listeners, own.listeners),
        routes: join(&shared.routes, own.routes),
        secrets: join(&Arc::default(), own.secrets),
        // Names follow the endpoints of headless services.
        names: Resources {
            own: Layer::after(
                before.map(|(_, generated)| &generated.names.own),
                encode(name_table::table(view).into_iter().collect(), |_| {
                    name_table::NAME.to_owned()
                }),
            ),
            ..Resources::default()
        },
        ended: Resources {
            own: Layer::after(before.map(|(_, generated)| &generated.ended.own), ended(view)),
            ..Resources::default()
        },
    }
}

/// That the application of the proxy's pod has ended: an empty message that is named by the pod's uid, as a later pod may have the
/// same name. Only the mesh's own proxies know the type.
fn ended(view: &ProxyView) -> ResourceSet {
    let uid = view.snapshot.ended.get(&view.workload.key);
    let uid = uid.filter(|uid| view.dialect == Dialect::Weft && !uid.is_empty());
    let message = || Resource::new(Kind::ApplicationEnded.type_url().to_owned(), Vec::new());
    uid.map(|uid| (Arc::clone(uid), message())).into_iter().collect()
}

/// What follows from the workload itself: its ports, its Sidecar's listeners, its gateways. A gRPC client has none of it.
fn own(view: &ProxyView, before: Option<&Generated>) -> Generated {
    if view.dialect == Dialect::Grpc {
        return Generated::default();
    }
    let mut listeners = inbound::listeners(view);
    let mut routes = Vec::new();
    capture_inbound::generate(view, &mut listeners);
    capture_outbound::capturing(view, &mut listeners);
    outbound::listeners(view, &mut listeners, &mut routes);
    gateway::generate(view, &mut listeners, &mut routes);
    let keep = |kind: Kind, set: ResourceSet| Resources {
        own: Layer::after(before.map(|before| &before.of(kind).own), set),
        ..Resources::default()
    };
    let clusters = encode(cluster::own_clusters(view), |cluster| cluster.name.clone());
    let listeners = encode(listeners, |listener| listener.name.clone());
    let routes = encode(routes, |config| config.name.clone());
    let secrets = encode(tls::gateway_secrets(view), |secret| secret.name.clone());
    Generated {
        clusters: keep(Kind::Cluster, clusters),
        endpoints: Resources::default(),
        listeners: keep(Kind::Listener, listeners),
        routes: keep(Kind::Routes, routes),
        secrets: keep(Kind::Secret, secrets),
        names: Resources::default(),
        ended: Resources::default(),
    }
}
