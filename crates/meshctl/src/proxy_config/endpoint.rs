//! The table of endpoints, from `/clusters?format=json` (`envoy.admin.v3.Clusters`).

use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;
use crate::output::Table;
use crate::proxy_config::dump::{list, text};

/// One endpoint of one cluster.
#[derive(Debug, Serialize)]
pub(crate) struct EndpointStatus<'a> {
    cluster: &'a str,
    endpoint: String,
    status: String,
    outlier: &'static str,
    host: &'a Value,
}

/// The endpoints of the page.
pub(crate) fn statuses(page: &Value) -> Result<Vec<EndpointStatus<'_>>, Failure> {
    if !page.is_object() {
        return Err(Failure::bad_data(
            "this is no answer of /clusters?format=json: it is no object",
        ));
    }
    let mut statuses = Vec::new();
    // An absent list is an empty one: a proxy may have no cluster.
    for cluster in list(page, "cluster_statuses") {
        for host in list(cluster, "host_statuses") {
            let health = host.get("health_status");
            let failed = |check: &str| health.and_then(|health| health.get(check)?.as_bool()).unwrap_or(false);
            let eds = health
                .and_then(|health| text(health, "eds_health_status"))
                .unwrap_or("UNKNOWN");
            statuses.push(EndpointStatus {
                cluster: text(cluster, "name").unwrap_or_default(),
                endpoint: host.get("address").map(address).unwrap_or_default(),
                status: if failed("failed_active_health_check") {
                    "UNHEALTHY"
                } else {
                    eds
                }
                .to_owned(),
                outlier: if failed("failed_outlier_check") { "FAILED" } else { "OK" },
                host,
            });
        }
    }
    Ok(statuses)
}

/// The columns are those of Istio's tool.
pub(crate) fn table(statuses: &[EndpointStatus<'_>]) -> String {
    let mut table = Table::new(&["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]);
    for status in statuses {
        table.row([
            status.endpoint.clone(),
            status.status.clone(),
            status.outlier.to_owned(),
            status.cluster.to_owned(),
        ]);
    }
    table.sort();
    table.render()
}

/// A `core.v3.Address` as text.
pub(crate) fn address(address: &Value) -> String {
    if let Some(socket) = address.get("socket_address") {
        let host = text(socket, "address").unwrap_or_default();
        let port = socket.get("port_value").and_then(Value::as_u64).unwrap_or_default();
        return if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
    }
    if let Some(pipe) = address.get("pipe") {
        return format!("unix://{}", text(pipe, "path").unwrap_or_default());
    }
    let internal = address.get("envoy_internal_address");
    format!(
        "envoy://{}",
        internal
            .and_then(|internal| text(internal, "server_listener_name"))
            .unwrap_or_default()
    )
}
