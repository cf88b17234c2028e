//! What the listeners of both directions of capture share: ports, addresses, the guard against loops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weft_proto::cluster_name::BLACK_HOLE;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;

use super::http::tcp;
use super::wire::{ip_address, uint32};
use crate::view::ProxyView;

/// Where outbound connections are redirected to.
pub(super) const OUTBOUND_PORT: u16 = 15001;

/// Where inbound connections are redirected to.
pub(super) const INBOUND_PORT: u16 = 15006;

/// How long a client may stay silent before its connection counts as bytes of an unknown protocol: the most that a protocol in
/// which the server speaks first is held up on a port that does not say what it speaks.
pub(super) const DETECTION_BUDGET: Duration = Duration::from_millis(500);

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
            destination_port: Some(uint32(u32::from(port))),
            ..pb::FilterChainMatch::default()
        }),
        filters: tcp(view, BLACK_HOLE, &[(BLACK_HOLE.to_owned(), 1)]),
        ..pb::FilterChain::default()
    }
}
