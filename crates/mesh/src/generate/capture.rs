//! What both directions of interception share: ports, inspectors, clusters of original destinations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::extensions::filters::listener::{http_inspector, original_dst, tls_inspector};

use super::http::tcp;
use super::inbound::inspector;
use super::wire::{any, ip_address};
use crate::snapshot::Interception;
use crate::view::ProxyView;

/// Where outbound connections are redirected to.
pub(super) const OUTBOUND_PORT: u16 = 15001;

/// Where inbound connections are redirected to.
pub(super) const INBOUND_PORT: u16 = 15006;

/// Where the client meant to go.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";

/// The same, within the pod.
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Nowhere.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";

/// How long a client may stay silent before its connection counts as bytes of an unknown protocol: the most that a protocol in
/// which the server speaks first is held up on a port that does not say what it speaks.
pub(super) const DETECTION_BUDGET: Duration = Duration::from_millis(500);

/// Source addresses of what the proxy hands to its application, which interception lets through.
const HANDED_OVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

/// Whether the workload's traffic is redirected into its proxy.
pub(super) fn is_captured(view: &ProxyView) -> bool {
    view.workload.interception == Interception::Redirect && !view.is_gateway()
}

/// Whether there are IPv4 and IPv6 addresses whose traffic is redirected; `None` where it is not.
pub(super) fn families(view: &ProxyView) -> Option<(bool, bool)> {
    let own = &view.workload.addresses;
    let has = |kind: fn(&IpAddr) -> bool| own.iter().any(kind);
    is_captured(view).then(|| (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6)))
}

/// Every address of the families that the workload has, as a listener's own and additional addresses.
pub(super) fn everywhere(view: &ProxyView, port: u16) -> (Option<core::Address>, Vec<pb::AdditionalAddress>) {
    let own = &view.workload.addresses;
    let families = [
        (Ipv4Addr::UNSPECIFIED.into(), own.iter().any(IpAddr::is_ipv4)),
        (Ipv6Addr::UNSPECIFIED.into(), own.iter().any(IpAddr::is_ipv6)),
    ];
    let mut present = families.into_iter().filter(|(_, present)| *present);
    let first = present
        .next()
        .map_or_else(|| Ipv4Addr::UNSPECIFIED.into(), |(address, _)| address);
    let additional = present.map(|(address, _): (IpAddr, bool)| pb::AdditionalAddress {
        address: Some(ip_address(address, port)),
        ..pb::AdditionalAddress::default()
    });
    (Some(ip_address(first, port)), additional.collect())
}

/// A chain for connections made to the capturing port itself: forwarded, they would come back without end.
pub(super) fn loop_guard(view: &ProxyView, name: &str, port: u16) -> pb::FilterChain {
    pb::FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(pb::FilterChainMatch {
            destination_port: Some(super::wire::uint32(u32::from(port))),
            ..pb::FilterChainMatch::default()
        }),
        filters: tcp(view, BLACK_HOLE, &[(BLACK_HOLE.to_owned(), 1)]),
        ..pb::FilterChain::default()
    }
}

/// The filter that takes the original destination from the kernel.
pub(super) fn original_dst_filter() -> pb::ListenerFilter {
    let config = any(&original_dst::v3::OriginalDst::default());
    inspector("envoy.filters.listener.original_dst", config)
}

/// The filters that tell TLS, HTTP and other protocols apart.
pub(super) fn inspectors() -> [pb::ListenerFilter; 2] {
    let tls = any(&tls_inspector::v3::TlsInspector::default());
    let http = any(&http_inspector::v3::HttpInspector::default());
    [
        inspector("envoy.filters.listener.tls_inspector", tls),
        inspector("envoy.filters.listener.http_inspector", http),
    ]
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
