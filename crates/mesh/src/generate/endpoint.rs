//! Endpoints of service ports and subsets (EDS).

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::destination_rule::Subset;
use weft_api::meta::selects;
use weft_proto::cluster_name::Outbound;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::endpoint::v3 as endpoint;

use super::encode::encoded;
use super::wire::{address, ip_address, structure, text, uint32};
use crate::resource::ResourceSet;
use crate::snapshot::{EndpointAddress, Endpoints, Health, MeshEndpoint, Resolution};
use crate::view::ProxyView;

/// One assignment for every EDS cluster. Those of services whose endpoints are the same as in `before` are taken from there.
pub(super) fn assignments(view: &ProxyView, before: Option<(&Endpoints, &ResourceSet)>) -> ResourceSet {
    let mut assignments = ResourceSet::new();
    for service in view.reachable() {
        if service.resolution != Resolution::Static {
            continue;
        }
        let ready = view.snapshot.endpoints.of(&service.key);
        let known = before.filter(|(endpoints, _)| match (endpoints.of(&service.key), ready) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        });
        let rule = view.destination_rule(service);
        for port in &service.ports {
            let all = ready.map(|ready| ready.port(port.port)).unwrap_or_default();
            let mut add = |subset: Option<&Subset>| {
                let name = subset.map(|subset| subset.name.as_str());
                let name = Outbound::new(port.port, name, &service.key.hostname).to_string();
                let old = known.and_then(|(_, set)| set.get_key_value(name.as_str()));
                let (name, resource) = match old {
                    Some((name, resource)) => (name.clone(), resource.clone()),
                    None => {
                        let members = all.iter().map(|endpoint| &**endpoint);
                        let members = members.filter(|e| subset.is_none_or(|s| selects(&s.labels, &e.labels)));
                        let resource = encoded(&assignment(name.clone(), members));
                        (Arc::from(name), resource)
                    }
                };
                assignments.insert(name, resource);
            };
            add(None);
            rule.iter()
                .flat_map(|rule| &rule.rule.subsets)
                .for_each(|subset| add(Some(subset)));
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
