//! The table of listeners: one row for each filter chain.

use serde_json::Value;

use crate::output::Table;
use crate::proxy_config::dump::{joined, list, text};
use crate::proxy_config::route;

/// The columns are those of Istio's tool.
pub(crate) fn table(listeners: &[&Value]) -> String {
    let mut table = Table::new(&["ADDRESSES", "PORT", "MATCH", "DESTINATION"]);
    for listener in listeners {
        let socket = listener
            .get("address")
            .and_then(|address| address.get("socket_address"));
        let host = socket.and_then(|socket| text(socket, "address")).unwrap_or("-");
        let port = socket
            .and_then(|socket| socket.get("port_value")?.as_u64())
            .unwrap_or_default();
        let chains = list(listener, "filter_chains").map(|chain| (conditions(chain), chain));
        let default = listener
            .get("default_filter_chain")
            .map(|chain| ("ALL".to_owned(), chain));
        for (conditions, chain) in chains.chain(default) {
            table.row([host.to_owned(), port.to_string(), conditions, destination(chain)]);
        }
    }
    table.render()
}

/// What a connection must be like (config.listener.v3.FilterChainMatch).
fn conditions(chain: &Value) -> String {
    let Some(wanted) = chain.get("filter_chain_match") else {
        return "ALL".to_owned();
    };
    let mut parts = Vec::new();
    let names = joined(wanted, "server_names");
    if !names.is_empty() {
        parts.push(format!("SNI: {names}"));
    }
    if let Some(transport) = text(wanted, "transport_protocol").filter(|transport| !transport.is_empty()) {
        parts.push(format!("Trans: {transport}"));
    }
    let protocols = joined(wanted, "application_protocols");
    if !protocols.is_empty() {
        parts.push(format!("App: {protocols}"));
    }
    let ranges: Vec<String> = list(wanted, "prefix_ranges").map(range).collect();
    let port = wanted.get("destination_port").and_then(Value::as_u64);
    match (ranges.is_empty(), port) {
        (true, None) => {}
        (true, Some(port)) => parts.push(format!("Addr: *:{port}")),
        (false, None) => parts.push(format!("Addr: {}", ranges.join(","))),
        (false, Some(port)) => parts.push(format!("Addr: {}:{port}", ranges.join(","))),
    }
    if parts.is_empty() {
        "ALL".to_owned()
    } else {
        parts.join("; ")
    }
}

fn range(range: &Value) -> String {
    let address = text(range, "address_prefix").unwrap_or_default();
    let length = range.get("prefix_len").and_then(Value::as_u64).unwrap_or_default();
    let whole = if address.contains(':') { 128 } else { 32 };
    if length == whole {
        address.to_owned()
    } else {
        format!("{address}/{length}")
    }
}

/// Where the connection goes: the last filter of the chain decides.
fn destination(chain: &Value) -> String {
    let mut filters = list(chain, "filters").collect::<Vec<_>>();
    filters.reverse();
    for filter in filters {
        let Some(config) = filter.get("typed_config") else {
            continue;
        };
        let kind = text(config, "@type")
            .unwrap_or_default()
            .rsplit('.')
            .next()
            .unwrap_or_default();
        if kind == "HttpConnectionManager" {
            return http_destination(config);
        }
        if kind == "TcpProxy" {
            return tcp_destination(config);
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

fn http_destination(config: &Value) -> String {
    if let Some(name) = config.get("rds").and_then(|rds| text(rds, "route_config_name")) {
        return format!("Route: {name}");
    }
    let Some(routes) = config.get("route_config") else {
        return "Inline Route:".to_owned();
    };
    let all = list(routes, "virtual_hosts").flat_map(|host| list(host, "routes"));
    let matches: Vec<String> = all.map(route::conditions).collect();
    format!("Inline Route: {}", matches.join(", "))
}

fn tcp_destination(config: &Value) -> String {
    if let Some(cluster) = text(config, "cluster") {
        return format!("Cluster: {cluster}");
    }
    let weighted = config
        .get("weighted_clusters")
        .into_iter()
        .flat_map(|weighted| list(weighted, "clusters"));
    let names: Vec<&str> = weighted.filter_map(|cluster| text(cluster, "name")).collect();
    format!("Cluster: {}", names.join(", "))
}
