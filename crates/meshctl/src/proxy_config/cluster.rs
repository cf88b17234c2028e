//! The table of clusters.

use serde_json::Value;
use weft_proto::cluster_name::ClusterName;

use crate::output::Table;
use crate::proxy_config::dump::{origin, text};

/// Istio's columns: a name of the mesh is taken apart, others stand as they are.
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
        let (host, subset, direction) = match ClusterName::parse(name) {
            Some(ClusterName::Outbound(to)) => (to.host, to.subset, "outbound"),
            Some(ClusterName::Inbound { .. }) => ("", None, "inbound"),
            Some(ClusterName::Passthrough | ClusterName::InboundPassthrough | ClusterName::BlackHole) | None => {
                (name, None, "")
            }
        };
        let port = ClusterName::parse(name).and_then(ClusterName::port);
        // A type that is not said is the first of the enumeration (config.cluster.v3.Cluster.DiscoveryType).
        let kind = text(cluster, "type")
            .or_else(|| text(cluster.get("cluster_type")?, "name"))
            .unwrap_or("STATIC");
        table.row([
            host.to_owned(),
            port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            or_dash(subset.unwrap_or_default()),
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
