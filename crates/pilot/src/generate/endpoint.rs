//! Endpoints of service ports and subsets (EDS).

use std::collections::BTreeMap;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::endpoint::v3 as endpoint;

use super::cluster;
use super::wire::{address, ip_address, structure, text, uint32};
use crate::snapshot::{EndpointAddress, Health, MeshEndpoint, Resolution};
use crate::view::ProxyView;

/// One assignment for every EDS cluster.
pub(super) fn assignments(view: &ProxyView) -> Vec<endpoint::ClusterLoadAssignment> {
    let mut assignments = Vec::new();
    for service in view.services() {
        if service.resolution != Resolution::Static {
            continue;
        }
        let ready = view.snapshot.endpoints.of(&service.key);
        for port in &service.ports {
            let rule = cluster::rule_of(view, service);
            let all = ready.map(|ready| ready.port(port.port)).unwrap_or_default();
            let name = cluster::outbound_name(port.port, None, &service.key.hostname);
            assignments.push(assignment(name, all.iter().map(|endpoint| &**endpoint)));
            for subset in rule.iter().flat_map(|rule| &rule.rule.subsets) {
                let name = cluster::outbound_name(port.port, Some(&subset.name), &service.key.hostname);
                let members = all
                    .iter()
                    .filter(|e| weft_api::meta::selects(&subset.labels, &e.labels));
                assignments.push(assignment(name, members.map(|endpoint| &**endpoint)));
            }
        }
    }
    assignments
}

/// Endpoints by locality.
pub(super) fn assignment<'a>(
    cluster_name: String,
    members: impl Iterator<Item = &'a MeshEndpoint>,
) -> endpoint::ClusterLoadAssignment {
    let mut localities: BTreeMap<_, Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for member in members {
        localities
            .entry(&member.locality)
            .or_default()
            .push(lb_endpoint(member));
    }
    let group = |(locality, lb_endpoints): (&weft_api::matching::Locality, Vec<endpoint::LbEndpoint>)| {
        let weight = lb_endpoints
            .iter()
            .filter_map(|e| e.load_balancing_weight.as_ref())
            .map(|w| w.value)
            .sum();
        endpoint::LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                sub_zone: locality.sub_zone.clone(),
            }),
            load_balancing_weight: Some(uint32(weight)),
            lb_endpoints,
            ..endpoint::LocalityLbEndpoints::default()
        }
    };
    endpoint::ClusterLoadAssignment {
        cluster_name,
        endpoints: localities.into_iter().map(group).collect(),
        ..endpoint::ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(member: &MeshEndpoint) -> endpoint::LbEndpoint {
    let mut sections = core::Metadata::default();
    if !member.workload_name.is_empty() {
        let workload = structure([("workload", text(&member.workload_metadata()))]);
        sections.filter_metadata.insert("istio".to_owned(), workload);
    }
    if member.mtls {
        let mode = structure([("tlsMode", text("istio"))]);
        sections
            .filter_metadata
            .insert("envoy.transport_socket_match".to_owned(), mode);
    }
    let target = match &member.address {
        EndpointAddress::Ip(ip) => ip_address(*ip, member.port),
        EndpointAddress::Name(name) => address(name, member.port),
    };
    endpoint::LbEndpoint {
        health_status: match member.health {
            Health::Ready => core::HealthStatus::Unknown,
            Health::Draining => core::HealthStatus::Draining,
        } as i32,
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(target),
            ..endpoint::Endpoint::default()
        })),
        load_balancing_weight: Some(uint32(member.weight.max(1))),
        metadata: Some(sections),
    }
}
