//! Endpoints by locality.

use std::sync::Arc;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::endpoint::v3 as endpoint;
use weft_proto::xds::google::protobuf as pb;

use super::{Path, Result, enumeration, port, required, struct_text, text, uint32};
use crate::model::cluster::{Endpoint, EndpointAddress, Health, LoadAssignment, Locality, LocalityEndpoints};
use crate::model::metadata::WorkloadRef;

/// Endpoints whose addresses are IP addresses or Unix sockets. One that is refused is left out.
pub fn load_assignment(source: &endpoint::ClusterLoadAssignment, at: &Path) -> Result<LoadAssignment> {
    let mut localities = Vec::with_capacity(source.endpoints.len());
    for (index, group) in source.endpoints.iter().enumerate() {
        let at = at.field("endpoints").index(index);
        let mut endpoints = Vec::with_capacity(group.lb_endpoints.len());
        for (index, member) in group.lb_endpoints.iter().enumerate() {
            let at = at.field("lb_endpoints").index(index);
            endpoints.extend(at.part(|at| lb_endpoint(member, at))?);
        }
        localities.push(LocalityEndpoints {
            locality: locality(group.locality.as_ref()),
            priority: group.priority,
            weight: group.load_balancing_weight.as_ref().map(|weight| weight.value),
            endpoints,
        });
    }
    Ok(LoadAssignment {
        name: text(&source.cluster_name),
        localities,
        overprovisioning_percent: overprovisioning(source),
    })
}

pub(super) fn overprovisioning(source: &endpoint::ClusterLoadAssignment) -> u32 {
    uint32(
        source
            .policy
            .as_ref()
            .and_then(|policy| policy.overprovisioning_factor.as_ref()),
        140,
    )
}

pub(super) fn locality(source: Option<&core::Locality>) -> Locality {
    source.map_or_else(Locality::default, |source| Locality {
        region: text(&source.region),
        zone: text(&source.zone),
        sub_zone: text(&source.sub_zone),
    })
}

fn lb_endpoint(source: &endpoint::LbEndpoint, at: &Path) -> Result<Endpoint> {
    let (inner, at_endpoint) = inner(source, at)?;
    let address = required(inner.address.as_ref(), &at_endpoint, "address")?;
    let address = endpoint_address(address, &at_endpoint.field("address"))?;
    template(source, inner, address, at)
}

/// The endpoint itself; endpoints by name are refused.
pub(super) fn inner<'a>(source: &'a endpoint::LbEndpoint, at: &Path) -> Result<(&'a endpoint::Endpoint, Path)> {
    match &source.host_identifier {
        Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(inner)) => Ok((inner, at.field("endpoint"))),
        Some(endpoint::lb_endpoint::HostIdentifier::EndpointName(_)) => {
            Err(at.field("endpoint_name").error("is not supported"))
        }
        None => Err(at.field("endpoint").error("is required")),
    }
}

pub(super) fn template(
    source: &endpoint::LbEndpoint,
    inner: &endpoint::Endpoint,
    address: EndpointAddress,
    at: &Path,
) -> Result<Endpoint> {
    let metadata = source.metadata.as_ref().map(|metadata| &metadata.filter_metadata);
    let section = |name: &str| metadata.and_then(|sections| sections.get(name));
    Ok(Endpoint {
        address,
        hostname: text(&inner.hostname),
        weight: uint32(source.load_balancing_weight.as_ref(), 1).max(1),
        health: health(source.health_status, at)?,
        transport_labels: section("envoy.transport_socket_match").map(labels).unwrap_or_default(),
        workload: section("istio").and_then(workload).map(Arc::new),
    })
}

fn endpoint_address(source: &core::Address, at: &Path) -> Result<EndpointAddress> {
    use core::address::Address as Kind;
    match &source.address {
        Some(Kind::Pipe(pipe)) => Ok(EndpointAddress::Pipe(pipe.path.as_str().into())),
        Some(Kind::SocketAddress(socket)) => {
            let at = at.field("socket_address");
            let ip = socket.address.parse().map_err(|_| {
                at.field("address").error(format!(
                    "{:?} is not an IP address; for a name use a STRICT_DNS or LOGICAL_DNS cluster",
                    socket.address
                ))
            })?;
            Ok(EndpointAddress::Socket(std::net::SocketAddr::new(
                ip,
                port(socket, &at)?,
            )))
        }
        Some(Kind::EnvoyInternalAddress(_)) => Err(at.field("envoy_internal_address").error("is not supported")),
        None => Err(at.error("is required")),
    }
}

fn health(value: i32, at: &Path) -> Result<Health> {
    use core::HealthStatus;
    Ok(match enumeration(value, at, "health_status")? {
        HealthStatus::Unknown | HealthStatus::Healthy => Health::Healthy,
        HealthStatus::Unhealthy | HealthStatus::Timeout => Health::Unhealthy,
        HealthStatus::Draining => Health::Draining,
        HealthStatus::Degraded => Health::Degraded,
    })
}

/// The string fields of a metadata section, sorted.
pub(super) fn labels(section: &pb::Struct) -> Vec<(Arc<str>, Arc<str>)> {
    let texts = section
        .fields
        .iter()
        .filter_map(|(key, value)| Some((text(key), struct_text(value)?)));
    let mut labels: Vec<_> = texts.collect();
    labels.sort();
    labels
}

/// Istio's `name;namespace;canonical name;canonical revision;cluster`, with `app` and `version` where pilot adds them.
fn workload(section: &pb::Struct) -> Option<WorkloadRef> {
    let packed = struct_text(section.fields.get("workload")?)?;
    let mut parts = packed.split(';').map(text);
    let mut next = || parts.next().unwrap_or_else(|| text(""));
    Some(WorkloadRef {
        name: next(),
        namespace: next(),
        canonical_name: next(),
        canonical_revision: next(),
        cluster: next(),
        app: next(),
        version: next(),
    })
}
