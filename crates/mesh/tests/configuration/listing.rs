//! Listeners as lines of text, for goldens.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use weft_mesh::generate::Generated;
use weft_mesh::resource::Resource;
use weft_mesh::resource::layer::Resources;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;

/// By name, whoever shares them.
pub(crate) fn sorted(resources: &Resources) -> Vec<&Resource> {
    let by_name: BTreeMap<&Arc<str>, &Resource> = resources.iter().collect();
    by_name.into_values().collect()
}

/// One line per listener, one per chain.
pub(crate) fn listeners(generated: &Generated) -> String {
    let mut text = String::new();
    for resource in sorted(&generated.listeners) {
        let one = listener::Listener::decode(&*resource.bytes).expect("decodes");
        let address = one.address.as_ref().map(address).unwrap_or_default();
        let bound = one.bind_to_port.is_none_or(|bound| bound.value);
        let wait = one.listener_filters_timeout.map(|wait| f64::from(wait.nanos) / 1e9);
        text.push_str(&format!("{} {address} bound={bound} wait={wait:?}\n", one.name));
        for chain in &one.filter_chains {
            text.push_str(&format!("  {}\n", chain_line(chain)));
        }
        if let Some(chain) = &one.default_filter_chain {
            text.push_str(&format!("  else {}\n", chain_line(chain)));
        }
    }
    text
}

pub(crate) fn address(address: &core::Address) -> String {
    match &address.address {
        Some(core::address::Address::SocketAddress(socket)) => match socket.port_specifier {
            Some(core::socket_address::PortSpecifier::PortValue(port)) => format!("{}:{port}", socket.address),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

pub(crate) fn chain_line(chain: &listener::FilterChain) -> String {
    let matches = chain.filter_chain_match.clone().unwrap_or_default();
    let ranges: Vec<String> = matches
        .prefix_ranges
        .iter()
        .map(|range| range.address_prefix.clone())
        .collect();
    let port = matches.destination_port.map(|port| port.value);
    let criteria = [
        port.map(|port| format!("port {port}")),
        (!ranges.is_empty()).then(|| format!("to {}", ranges.join(","))),
        (!matches.server_names.is_empty()).then(|| format!("sni {}", matches.server_names.join(","))),
        (!matches.transport_protocol.is_empty()).then(|| matches.transport_protocol.clone()),
        (!matches.application_protocols.is_empty()).then(|| matches.application_protocols.join(",")),
    ];
    let criteria: Vec<String> = criteria.into_iter().flatten().collect();
    let filters: Vec<String> = chain.filters.iter().filter_map(filter).collect();
    let tls = if chain.transport_socket.is_some() { " mtls" } else { "" };
    format!(
        "{:?} [{}]{tls} -> {}",
        chain.name,
        criteria.join(" "),
        filters.join(", ")
    )
}

pub(crate) fn filter(filter: &listener::Filter) -> Option<String> {
    let Some(listener::filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return None;
    };
    if any.type_url.ends_with("TcpProxy") {
        use tcp::tcp_proxy::ClusterSpecifier;
        return Some(
            match tcp::TcpProxy::decode(&*any.value).expect("decodes").cluster_specifier? {
                ClusterSpecifier::Cluster(name) => name,
                ClusterSpecifier::WeightedClusters(weighted) => {
                    let clusters = weighted
                        .clusters
                        .iter()
                        .map(|entry| format!("{}*{}", entry.weight, entry.name));
                    clusters.collect::<Vec<_>>().join("+")
                }
            },
        );
    }
    if any.type_url.ends_with("HttpConnectionManager") {
        use hcm::http_connection_manager::RouteSpecifier;
        return Some(
            match hcm::HttpConnectionManager::decode(&*any.value)
                .expect("decodes")
                .route_specifier?
            {
                RouteSpecifier::Rds(rds) => format!("routes {}", rds.route_config_name),
                RouteSpecifier::RouteConfig(config) => format!("http {}", config.name),
                RouteSpecifier::ScopedRoutes(_) => "scoped".to_owned(),
            },
        );
    }
    any.type_url
        .ends_with("set_filter_state.v3.Config")
        .then(|| "alpn istio".to_owned())
}
