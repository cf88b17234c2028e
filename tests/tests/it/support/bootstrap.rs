//! Static bootstraps of few lines, as JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

pub(crate) fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A listener of HTTP/1.1 and h2c with these routes for every host.
pub(crate) fn http_listener(name: &str, address: SocketAddr, routes: &Value) -> Value {
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({"name": name, "address": socket(address), "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
        "@type": manager, "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}]}}]}]})
}

/// A listener that passes bytes on to a cluster.
pub(crate) fn tcp_listener(name: &str, address: SocketAddr, cluster: &str) -> Value {
    let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    json!({"name": name, "address": socket(address), "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
        "@type": proxy, "stat_prefix": name, "cluster": cluster}}]}]})
}

/// A cluster of one endpoint, by HTTP/1.1.
pub(crate) fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(endpoint)}}]}]}})
}

/// The same by HTTP/2.
pub(crate) fn http2_cluster(name: &str, endpoint: SocketAddr) -> Value {
    let mut cluster = cluster(name, endpoint);
    cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}});
    cluster
}

/// The text of a bootstrap.
pub(crate) fn bootstrap(listeners: &[Value], clusters: &[Value]) -> String {
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}}).to_string()
}
