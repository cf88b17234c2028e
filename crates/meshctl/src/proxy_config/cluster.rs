//! The table of clusters.

use serde_json::Value;

use crate::output::Table;
use crate::proxy_config::dump::{origin, text};

/// Istio's columns: `outbound|80|v1|host` is taken apart, other names stand as they are.
pub(crate) fn table(clusters: &[&Value]) -> String {
    let mut table = Table::new(&[
        "SERVICE FQDN",
        "PORT",
        "SUBSET",
        "DIRECTION",
        "TYPE",
        "DESTINATION RULE",
    ]);
    for cluster in clusters {
        let name = text(cluster, "name").unwrap_or_default();
        let parts: Vec<&str> = name.split('|').collect();
        let (direction, port, subset, host) = match parts[..] {
            [direction, port, subset, host] => (direction, port, subset, host),
            _ => ("", "", "", name),
        };
        // A type that is not said is the first of the enumeration (config.cluster.v3.Cluster.DiscoveryType).
        let kind = text(cluster, "type")
            .or_else(|| text(cluster.get("cluster_type")?, "name"))
            .unwrap_or("STATIC");
        table.row([
            host.to_owned(),
            or_dash(port),
            or_dash(subset),
            or_dash(direction),
            kind.to_owned(),
            origin(cluster, "destination-rule", "DestinationRule").unwrap_or_default(),
        ]);
    }
    table.sort();
    table.render()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}
