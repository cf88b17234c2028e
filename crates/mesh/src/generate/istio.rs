//! Istio's own filters, which the mesh's proxy has and stock Envoy has not: standard metrics and the exchange of peer metadata.

use weft_proto::typed_struct::TypedStruct;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use weft_proto::xds::google::protobuf as pb;

use super::side::Side;
use super::wire::{any, list, nested, network_filter, structure, truth};
use crate::node::Dialect;
use crate::view::ProxyView;

/// Name of the filter that counts.
const STATS: &str = "istio.stats";

/// The filters that come before the router.
pub(super) fn http_filters(view: &ProxyView, side: Side) -> Vec<HttpFilter> {
    if view.dialect != Dialect::Weft {
        return Vec::new();
    }
    let method = || {
        list(vec![nested(structure([(
            "istio_headers",
            nested(pb::Struct::default()),
        )]))])
    };
    let exchange = match side {
        Side::Inbound => structure([("downstream_discovery", method())]),
        Side::Outbound | Side::Gateway => structure([("upstream_propagation", method())]),
    };
    // Where anybody may send any host, the host names no service (Istio does the same).
    let fallback = side == Side::Outbound;
    let options = structure([("disable_host_header_fallback", truth(!fallback))]);
    vec![
        optional(
            "istio.metadata_exchange",
            "io.istio.http.peer_metadata.Config",
            exchange,
        ),
        optional(STATS, "stats.PluginConfig", options),
    ]
}

/// Headers of the mesh's proxies that a proxy without the filters would pass on to its workload.
pub(super) fn headers_to_remove(view: &ProxyView) -> Vec<String> {
    if view.dialect == Dialect::Weft {
        return Vec::new();
    }
    ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"]
        .map(str::to_owned)
        .to_vec()
}

/// The filter that comes before a TCP proxy. Network filters cannot be optional, so only those get it who know it.
pub(super) fn connection_filter(view: &ProxyView) -> Option<listener::Filter> {
    let config = || any(&typed("stats.PluginConfig", pb::Struct::default()));
    (view.dialect == Dialect::Weft).then(|| network_filter(STATS, config()))
}

fn optional(name: &str, type_name: &str, value: pb::Struct) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        is_optional: true,
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&typed(type_name, value)))),
        ..HttpFilter::default()
    }
}

fn typed(type_name: &str, value: pb::Struct) -> TypedStruct {
    TypedStruct {
        type_url: format!("type.googleapis.com/{type_name}"),
        value: Some(value),
    }
}
