//! The names of clusters that are looked up, and when they are.

use std::time::Duration;

use weft_base::backoff::Backoff;
use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::envoy::config::core::v3 as core;

use super::{Path, Result, duration, endpoint, enumeration, port, required, text};
use crate::model::cluster as model;

/// The names of a cluster, in the order of its endpoints.
pub(super) fn names(source: &cluster::Cluster, at: &Path) -> Result<Vec<model::DnsEndpoint>> {
    use core::address::Address as Kind;
    let assignment = required(source.load_assignment.as_ref(), at, "load_assignment")?;
    let mut names = Vec::new();
    for (group_index, group) in assignment.endpoints.iter().enumerate() {
        for (index, member) in group.lb_endpoints.iter().enumerate() {
            let at = at.field("load_assignment").field("endpoints").index(group_index);
            let at = at.field("lb_endpoints").index(index);
            let (inner, at_inner) = endpoint::inner(member, &at)?;
            let at_address = at_inner.field("address").field("socket_address");
            let Some(Kind::SocketAddress(socket)) = inner.address.as_ref().and_then(|a| a.address.as_ref()) else {
                return Err(at_address.error("is required in a DNS cluster"));
            };
            let port = port(socket, &at_address)?;
            let placeholder = model::EndpointAddress::Socket(([0, 0, 0, 0], port).into());
            names.push(model::DnsEndpoint {
                host: text(&socket.address),
                port,
                template: endpoint::template(member, inner, placeholder, &at)?,
                locality: endpoint::locality(group.locality.as_ref()),
                locality_weight: group.load_balancing_weight.as_ref().map(|weight| weight.value),
                priority: group.priority,
            });
        }
    }
    Ok(names)
}

/// When and for what addresses its names are looked up.
pub(super) fn options(source: &cluster::Cluster, at: &Path) -> Result<model::DnsOptions> {
    use cluster::cluster::DnsLookupFamily as Family;
    let refresh = source.dns_refresh_rate.as_ref();
    let failure_pauses = source.dns_failure_refresh_rate.as_ref().map(|rate| {
        let at = at.field("dns_failure_refresh_rate");
        let base = required(rate.base_interval.as_ref(), &at, "base_interval")?;
        let base = duration(Some(base), Duration::ZERO, &at.field("base_interval"))?;
        let longest = duration(
            rate.max_interval.as_ref(),
            base.saturating_mul(10),
            &at.field("max_interval"),
        )?;
        if base < Duration::from_millis(1) || longest < base {
            return Err(at.error("base_interval must be at least 1 ms, and max_interval no shorter"));
        }
        Ok(Backoff::new(base, longest))
    });
    Ok(model::DnsOptions {
        refresh: duration(refresh, Duration::from_secs(5), &at.field("dns_refresh_rate"))?
            .max(Duration::from_millis(1)),
        ttl_counts: source.respect_dns_ttl,
        failure_pauses: failure_pauses.transpose()?,
        family: match enumeration(source.dns_lookup_family, at, "dns_lookup_family")? {
            Family::Auto => model::DnsFamily::Auto,
            Family::V4Only => model::DnsFamily::V4Only,
            Family::V6Only => model::DnsFamily::V6Only,
            Family::V4Preferred => model::DnsFamily::V4Preferred,
            Family::All => model::DnsFamily::All,
        },
    })
}
