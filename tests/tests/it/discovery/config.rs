//! What the scripted control plane serves: a listener that answers by itself, open or STRICT.

use std::net::SocketAddr;

use serde_json::{Value, json};

fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

pub(super) fn bootstrap(ads: SocketAddr, admin: SocketAddr) -> Value {
    json!({
        "node": {"id": "a", "cluster": "b"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s", "http2_protocol_options": {},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(ads)}}]}]},
        }]},
    })
}

pub(super) fn typed(name: &str, kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    json!({"name": name, "typed_config": fields})
}

/// A connection manager that answers by itself, with more fields.
pub(super) fn manager(more: &Value) -> Value {
    let routes = json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]});
    let mut fields = json!({
        "stat_prefix": "s", "route_config": routes,
        "http_filters": [typed("router", "extensions.filters.http.router.v3.Router", json!({}))],
    });
    extend(&mut fields, more);
    typed(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        fields,
    )
}

fn extend(value: &mut Value, more: &Value) {
    for (key, field) in more.as_object().into_iter().flatten() {
        if field.is_null() {
            value.as_object_mut().map(|fields| fields.remove(key));
        } else {
            value[key] = field.clone();
        }
    }
}

/// TLS that clients need a certificate for; the secrets never come.
fn tls(more: &Value) -> Value {
    let sds = |name: &str| json!({"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    let mut fields = json!({
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds("default")], "validation_context_sds_secret_config": sds("ROOTCA")},
    });
    extend(&mut fields, more);
    typed(
        "tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        fields,
    )
}

pub(super) fn listener(at: SocketAddr, chains: &[Value], more: &Value) -> Value {
    let mut listener = json!({"name": "l", "address": address(at), "filter_chains": chains});
    extend(&mut listener, more);
    listener
}

pub(super) fn open() -> Value {
    json!({"filters": [manager(&json!({}))]})
}

pub(super) fn strict(of_manager: &Value, of_tls: &Value, more: &Value) -> Value {
    let mut chain = json!({"filters": [manager(of_manager)], "transport_socket": tls(of_tls)});
    extend(&mut chain, more);
    chain
}
