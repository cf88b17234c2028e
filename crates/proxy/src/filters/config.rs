//! The HTTP filters of a connection manager as configured and checked, and what routes say about them by name.
//!
//! This file and the `config.rs` of each filter are modules of `crate::model`, so that the model knows filters by what they are told
//! alone; the other files of a filter's folder, which know requests, are modules of `crate::filters`.

use std::any::TypeId;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::google::protobuf::Any;

use super::convert::{NOTHING_URL, Path, Result, holds, text, unpack};
use super::route::RouteConfig;

#[path = "buffer/config.rs"]
pub mod buffer;
#[path = "compressor/config.rs"]
pub mod compressor;
#[path = "cors/config.rs"]
pub mod cors;
#[path = "csrf/config.rs"]
pub mod csrf;
#[path = "decompressor/config.rs"]
pub mod decompressor;
#[path = "ext_authz/config.rs"]
pub mod ext_authz;
#[path = "fault/config.rs"]
pub mod fault;
#[path = "grpc_stats/config.rs"]
pub mod grpc_stats;
#[path = "grpc_web/config.rs"]
pub mod grpc_web;
#[path = "header_mutation/config.rs"]
pub mod header_mutation;
#[path = "health_check/config.rs"]
pub mod health_check;
#[path = "istio_stats/config.rs"]
pub mod istio_stats;
#[path = "local_ratelimit/config.rs"]
pub mod local_ratelimit;
#[path = "peer_metadata/config.rs"]
pub mod peer_metadata;
#[path = "rbac/config.rs"]
pub mod rbac;
#[path = "set_filter_state/config.rs"]
pub mod set_filter_state;
#[path = "set_metadata/config.rs"]
pub mod set_metadata;

/// A filter in the list of a connection manager.
#[derive(Clone, Debug)]
pub struct ListedFilter {
    /// By which routes name it.
    pub name: Arc<str>,
    /// Off where no route turns it on.
    pub disabled: bool,
    /// What it is told.
    pub config: FilterConfig,
}

/// What a route, virtual host, weighted cluster or route configuration says about the filter of a name.
#[derive(Clone, Debug)]
pub struct Override {
    /// Name of the filter in the list.
    pub name: Arc<str>,
    /// What it says.
    pub says: Says,
}

/// What is said about a filter.
#[derive(Clone, Debug)]
pub enum Says {
    /// It is left out.
    Off,
    /// It is not left out; what it is told, where that is said, too.
    On(Option<Arc<RouteFilterConfig>>),
}

/// Every filter: a variant and its module, which has `Config` and `read`, `RouteConfig` and `read_for_route`. Both readers give `None` for
/// an `Any` of another type.
macro_rules! table {
    ($($(#[$doc:meta])* $kind:ident($module:ident)),* $(,)?) => {
        /// What a filter is told.
        #[derive(Clone, Debug)]
        pub enum FilterConfig {
            $($(#[$doc])* $kind($module::Config),)*
        }

        /// What a filter is told for the requests of a route.
        #[derive(Clone, Debug)]
        pub enum RouteFilterConfig {
            $($(#[$doc])* $kind($module::RouteConfig),)*
        }

        /// Reads what a filter is told; `None` where nobody knows the type.
        pub(in crate::model) fn read(any: &Any, at: &Path) -> Result<Option<FilterConfig>> {
            $(if let Some(config) = $module::read(any, at)? {
                return Ok(Some(FilterConfig::$kind(config)));
            })*
            Ok(None)
        }

        /// Whether routes may tell the kind of filter anything whose list has this type; `None` where it is no type of a list.
        fn may_be_told(any: &Any, at: &Path) -> Option<bool> {
            $(if !matches!($module::read(any, at), Ok(None)) {
                return Some(TypeId::of::<$module::RouteConfig>() != TypeId::of::<NoRouteConfig>());
            })*
            None
        }

        fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteFilterConfig>> {
            $(if let Some(config) = $module::read_for_route(any, at)? {
                return Ok(Some(RouteFilterConfig::$kind(config)));
            })*
            Ok(None)
        }
    };
}

table! {
    /// Bodies that are waited for.
    Buffer(buffer),
    /// Bodies that are compressed.
    Compressor(compressor),
    Cors(cors),
    /// Requests forged on other sites.
    Csrf(csrf),
    /// Bodies that are decompressed.
    Decompressor(decompressor),
    /// Services that decide whether requests may pass.
    ExtAuthz(ext_authz),
    Fault(fault),
    GrpcStats(grpc_stats),
    /// gRPC for browsers.
    GrpcWeb(grpc_web),
    /// Changes of headers.
    HeaderMutation(header_mutation),
    /// Health checks of this proxy.
    HealthCheck(health_check),
    /// Istio's standard metrics.
    IstioStats(istio_stats),
    /// Limits on requests.
    LocalRateLimit(local_ratelimit),
    /// Who the peers are.
    PeerMetadata(peer_metadata),
    /// Rules of access.
    Rbac(rbac),
    /// Filter state from formats.
    SetFilterState(set_filter_state),
    SetMetadata(set_metadata),
}

// === impl RouteConfig ===

impl RouteConfig {
    /// Names of the filters that any level says something about.
    pub fn filter_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.overrides().map(|said| &said.name)
    }

    /// What any level tells filters.
    pub fn filter_configs(&self) -> impl Iterator<Item = &RouteFilterConfig> {
        self.overrides().filter_map(|said| match &said.says {
            Says::On(config) => config.as_deref(),
            Says::Off => None,
        })
    }

    fn overrides(&self) -> impl Iterator<Item = &Override> {
        let of_hosts = self.virtual_hosts.iter().flat_map(|host| {
            let of_routes = host.routes.iter().flat_map(|route| {
                let of_clusters = route.action.weighted().iter().flat_map(|cluster| &cluster.filters);
                route.filters.iter().chain(of_clusters)
            });
            host.filters.iter().chain(of_routes)
        });
        self.filters.iter().chain(of_hosts)
    }
}

/// What routes tell a filter that they cannot tell anything.
pub type NoRouteConfig = Infallible;

/// Reads what routes tell a filter that they cannot tell anything: nothing.
#[expect(clippy::unnecessary_wraps, reason = "one of many readers")]
fn nothing_for_routes(_any: &Any, _at: &Path) -> Result<Option<NoRouteConfig>> {
    Ok(None)
}

/// Whether an `Any` is what routes tell some filter, which has no place in a list.
pub(in crate::model) fn is_for_routes(any: &Any, at: &Path) -> bool {
    !matches!(read_for_route(any, at), Ok(None))
}

/// Reads `typed_per_filter_config`, by the names of filters. As in Envoy, a type that nobody knows is refused unless it is marked optional.
pub(in crate::model) fn overrides(configs: &HashMap<String, Any>, at: &Path) -> Result<Vec<Override>> {
    let mut configs: Vec<_> = configs.iter().collect();
    configs.sort_by_key(|(name, _)| *name);
    let one = |(name, any): (&String, &Any)| {
        let at = at.field("typed_per_filter_config").key(name);
        Ok(Override {
            name: text(name),
            says: says(any, &at)?,
        })
    };
    configs.into_iter().map(one).collect()
}

fn says(any: &Any, at: &Path) -> Result<Says> {
    if !holds::<route::FilterConfig>(any) {
        return told(any, false, at);
    }
    let wrapped: route::FilterConfig = unpack(any, at)?;
    match &wrapped.config {
        _ if wrapped.disabled => Ok(Says::Off),
        None => Err(at
            .field("config")
            .error("is required; an empty one turns the filter on, disabled: true turns it off")),
        Some(config) if config.type_url.is_empty() || config.type_url == NOTHING_URL => Ok(Says::On(None)),
        Some(config) => told(config, wrapped.is_optional, &at.field("config")),
    }
}

fn told(any: &Any, optional: bool, at: &Path) -> Result<Says> {
    if let Some(config) = read_for_route(any, at)? {
        return Ok(Says::On(Some(Arc::new(config))));
    }
    match may_be_told(any, at) {
        // As in Envoy, also what is for the list alone.
        _ if optional => Ok(Says::On(None)),
        Some(true) => Err(at.error(format!(
            "{} is for the list of filters, routes have another",
            any.type_url
        ))),
        Some(false) => Err(at.error("routes cannot configure this filter, only turn it on and off")),
        None => Err(at.error(format!("{} is not supported here", any.type_url))),
    }
}
