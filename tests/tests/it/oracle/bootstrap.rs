//! The bootstrap file of a row, the same for both proxies.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::row::Row;

/// One line a request; what is compared besides what client and upstream see.
const LOG_FORMAT: &str = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% \
                          %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %ROUTE_NAME%\n";

/// Addresses that the file names.
pub(crate) struct Addresses {
    pub(crate) listener: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) a: SocketAddr,
    pub(crate) b: SocketAddr,
    /// Nothing listens here.
    pub(crate) down: SocketAddr,
    /// The authorization service.
    pub(crate) authz: SocketAddr,
}

/// The file as JSON.
pub(crate) fn bootstrap(row: &Row, addresses: &Addresses, access_log: &Path) -> Value {
    let format = row
        .log
        .as_ref()
        .map_or_else(|| LOG_FORMAT.to_owned(), |format| format!("{format}\n"));
    let logs = json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": access_log,
            "log_format": {"text_format_source": {"inline_string": format}},
        },
    }]);
    let filter = match &row.tcp_proxy {
        Some(fields) => tcp_proxy(fields, logs),
        None => connection_manager(row, logs),
    };
    let mut filters = row.network_filters.clone();
    filters.push(filter);
    let mut listener = json!({
        "name": "oracle",
        "address": address(addresses.listener),
        "filter_chains": [{"filters": filters}],
    });
    merge(&mut listener, &Value::Object(row.listener.clone()));
    let defaults = [
        ("a", Some(addresses.a)),
        ("b", Some(addresses.b)),
        ("down", Some(addresses.down)),
        ("empty", None),
    ];
    let mut clusters: Vec<Value> = defaults.into_iter().map(|(name, to)| cluster(name, to, row)).collect();
    // Further clusters of a row are written in full, with `$a`, `$b`, `$down` and `$authz` for ports.
    let known = |name: &str| defaults.iter().any(|(known, _)| *known == name);
    for (name, fields) in row.clusters.iter().filter(|(name, _)| !known(name)) {
        let mut further = json!({"name": name, "connect_timeout": "1s"});
        merge(&mut further, &Value::Object(fields.clone()));
        clusters.push(further);
    }
    let mut file = json!({
        "node": {"id": "oracle", "cluster": "oracle"},
        "admin": {"address": address(addresses.admin)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    });
    fill_in_ports(&mut file, addresses);
    file
}

fn connection_manager(row: &Row, logs: Value) -> Value {
    let mut virtual_hosts = Value::Array(row.virtual_hosts.clone());
    if row.virtual_hosts.is_empty() {
        let mut host = json!({"name": "all", "domains": ["*"], "routes": row.routes});
        merge(&mut host, &Value::Object(row.virtual_host.clone()));
        virtual_hosts = json!([host]);
    }
    let mut routes = json!({"name": "local", "virtual_hosts": virtual_hosts});
    merge(&mut routes, &Value::Object(row.route_config.clone()));
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "oracle",
        "server_name": "proxy",
        "route_config": routes,
        "access_log": logs,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    merge(&mut config, &Value::Object(row.hcm.clone()));
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

fn tcp_proxy(fields: &Map<String, Value>, logs: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "oracle",
        "access_log": logs,
    });
    merge(&mut config, &Value::Object(fields.clone()));
    json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": config})
}

fn cluster(name: &str, to: Option<SocketAddr>, row: &Row) -> Value {
    let endpoints: Vec<Value> = to
        .map(|to| json!({"endpoint": {"address": address(to)}}))
        .into_iter()
        .collect();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    });
    if let Some(fields) = row.clusters.get(name) {
        merge(&mut cluster, &Value::Object(fields.clone()));
    }
    cluster
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Replaces `$a`, `$b`, `$down` and `$authz` by the servers' ports.
fn fill_in_ports(value: &mut Value, addresses: &Addresses) {
    match value {
        Value::String(text) => match text.as_str() {
            "$a" => *value = json!(addresses.a.port()),
            "$b" => *value = json!(addresses.b.port()),
            "$down" => *value = json!(addresses.down.port()),
            "$authz" => *value = json!(addresses.authz.port()),
            _ => {}
        },
        Value::Array(values) => values.iter_mut().for_each(|value| fill_in_ports(value, addresses)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill_in_ports(value, addresses)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Objects are merged, everything else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
