//! Whose traffic is redirected into its proxy, and clusters that lead to where it was meant to go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::envoy::config::core::v3 as core;

use crate::snapshot::Capture;
use crate::view::ProxyView;

/// Source addresses of what the proxy hands to its application, which capture lets through.
const HANDED_OVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

/// Whether the workload's traffic is redirected into its proxy.
pub(super) fn is_captured(view: &ProxyView) -> bool {
    view.workload.capture == Capture::Redirect && !view.is_gateway()
}

/// Whether there are IPv4 and IPv6 addresses whose traffic is redirected; `None` where it is not.
pub(super) fn families(view: &ProxyView) -> Option<(bool, bool)> {
    let own = &view.workload.addresses;
    let has = |kind: fn(&IpAddr) -> bool| own.iter().any(kind);
    is_captured(view).then(|| (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6)))
}

/// Makes a cluster lead to where the client meant to go.
pub(super) fn to_original(cluster: &mut cluster::Cluster) {
    let kind = cluster::cluster::DiscoveryType::OriginalDst;
    cluster.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(kind as i32));
    cluster.lb_policy = cluster::cluster::LbPolicy::ClusterProvided as i32;
}

/// Whether a cluster leads there.
pub(super) fn is_original(cluster: &cluster::Cluster) -> bool {
    let kind = cluster::cluster::DiscoveryType::OriginalDst;
    cluster.cluster_discovery_type == Some(cluster::cluster::ClusterDiscoveryType::Type(kind as i32))
}

/// Makes a cluster lead to the workload itself.
pub(super) fn to_workload(view: &ProxyView, cluster: &mut cluster::Cluster) {
    to_original(cluster);
    let own = &view.workload.addresses;
    let sources = HANDED_OVER
        .iter()
        .filter(|source| own.iter().any(|own| own.is_ipv4() == source.is_ipv4()));
    let socket = |source: &IpAddr| core::SocketAddress {
        address: source.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
        ..core::SocketAddress::default()
    };
    let mut sources = sources.map(socket);
    cluster.upstream_bind_config = Some(core::BindConfig {
        source_address: sources.next(),
        extra_source_addresses: sources
            .map(|source| core::ExtraSourceAddress {
                address: Some(source),
                ..core::ExtraSourceAddress::default()
            })
            .collect(),
        ..core::BindConfig::default()
    });
}
