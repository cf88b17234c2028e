//! Clusters: one per service port and subset, and the inbound ones of the workload.

use std::sync::Arc;

use weft_api::destination_rule::ClientTlsMode;
use weft_api::meta::selects;
use weft_proto::cluster_name::{BLACK_HOLE, ClusterName, INBOUND_PASSTHROUGH, Outbound, PASSTHROUGH};
use weft_proto::xds::envoy::config::cluster::v3 as pb;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::endpoint::v3 as endpoint;
use weft_proto::xds::google::protobuf as wkt;

use super::collector::{ACCESS_LOGS, SPANS};
use super::endpoint::assignment;
use super::original::{is_captured, to_original, to_workload};
use super::wire::{address, ads, duration, list, metadata, nested, origin, structure, text, uint32};
use super::{mtls, policy, tls};
use crate::snapshot::{InboundPort, MeshDestinationRule, MeshService, Protocol, Resolution, ServiceKey, ServicePort};
use crate::view::ProxyView;

/// Connect timeout of clusters that lead to no service: those of the workload's own ports, of any destination, of the collector. A
/// service's has that of the mesh (Istio: `meshConfig.connectTimeout`, whose default this is).
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The largest limit: Istio sets no circuit breakers where nobody asks for them.
const UNLIMITED: u32 = u32::MAX;

/// The clusters of the workload's own ports.
pub(super) fn own_clusters(view: &ProxyView) -> Vec<pb::Cluster> {
    let ports = view.snapshot.inbound.of(&view.workload.key);
    ports.iter().map(|port| inbound(view, port)).collect()
}

/// The clusters that all proxies of one scope have.
pub(super) fn shared_clusters(view: &ProxyView) -> Vec<pb::Cluster> {
    let mut clusters = vec![black_hole()];
    if is_captured(view) {
        clusters.extend(passthrough(view));
    }
    let collectors = [(ACCESS_LOGS, &view.settings.collector), (SPANS, &view.settings.spans)];
    for (name, address) in collectors {
        clusters.extend(address.as_ref().map(|(host, port)| collector(name, host, *port)));
    }
    for service in view.reachable() {
        let rule = view.destination_rule(service);
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            clusters.push(outbound(view, service, port, rule, None));
            for subset in rule.iter().flat_map(|rule| &rule.rule.subsets) {
                clusters.push(outbound(view, service, port, rule, Some(&subset.name)));
            }
        }
    }
    clusters
}

fn black_hole() -> pb::Cluster {
    nowhere(BLACK_HOLE.to_owned())
}

/// A cluster without endpoints.
fn nowhere(name: String) -> pb::Cluster {
    pb::Cluster {
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(discovery(pb::cluster::DiscoveryType::Static)),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.clone(),
            ..endpoint::ClusterLoadAssignment::default()
        }),
        name,
        ..pb::Cluster::default()
    }
}

/// gRPC to the collector; a name is resolved, an address is not.
fn collector(name: &str, host: &str, port: u16) -> pb::Cluster {
    let literal = host.parse::<std::net::IpAddr>().is_ok();
    let kind = if literal {
        pb::cluster::DiscoveryType::Static
    } else {
        pb::cluster::DiscoveryType::StrictDns
    };
    let member = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address(host, port)),
            ..endpoint::Endpoint::default()
        })),
        ..endpoint::LbEndpoint::default()
    };
    let mut cluster = pb::Cluster {
        name: name.to_owned(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(discovery(kind)),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![member],
                ..endpoint::LocalityLbEndpoints::default()
            }],
            ..endpoint::ClusterLoadAssignment::default()
        }),
        ..pb::Cluster::default()
    };
    policy::protocol(&mut cluster, Protocol::Grpc, None);
    cluster
}

/// Clusters of destinations that nobody registered: outside, and within the pod.
fn passthrough(view: &ProxyView) -> [pb::Cluster; 2] {
    let cluster = |name: &str| pb::Cluster {
        name: name.to_owned(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        circuit_breakers: Some(unlimited()),
        ..pb::Cluster::default()
    };
    let mut outside = cluster(PASSTHROUGH);
    to_original(&mut outside);
    let mut within = cluster(INBOUND_PASSTHROUGH);
    to_workload(view, &mut within);
    [outside, within].map(|mut cluster| {
        policy::client_protocol(&mut cluster);
        cluster
    })
}

fn inbound(view: &ProxyView, port: &InboundPort) -> pb::Cluster {
    let name = ClusterName::Inbound { port: port.number }.to_string();
    let behind = port.services.iter().filter_map(|(key, _)| {
        let service = view.snapshot.services.get(key)?;
        Some((key, &*service.name))
    });
    let behind = (!port.services.is_empty()).then(|| metadata("istio", services(behind)));
    let member = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address("127.0.0.1", port.app_port)),
            ..endpoint::Endpoint::default()
        })),
        ..endpoint::LbEndpoint::default()
    };
    let mut cluster = pb::Cluster {
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(discovery(pb::cluster::DiscoveryType::Static)),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![member],
                ..endpoint::LocalityLbEndpoints::default()
            }],
            ..endpoint::ClusterLoadAssignment::default()
        }),
        circuit_breakers: Some(unlimited()),
        metadata: behind,
        name,
        ..pb::Cluster::default()
    };
    if is_captured(view) {
        // The application may listen at the pod's address only.
        cluster.load_assignment = None;
        to_workload(view, &mut cluster);
    }
    policy::protocol(&mut cluster, port.protocol, None);
    cluster
}

pub(super) fn outbound(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    rule: Option<&Arc<MeshDestinationRule>>,
    subset: Option<&str>,
) -> pb::Cluster {
    let hostname = &service.key.hostname;
    let name = Outbound::new(port.port, subset, hostname).to_string();
    let settings = rule.map(|rule| rule.rule.policy(subset, port.port)).unwrap_or_default();
    if settings.is_closed() {
        return pb::Cluster {
            metadata: Some(cluster_metadata(service, port, rule, subset)),
            ..nowhere(name)
        };
    }
    let mut cluster = pb::Cluster {
        name,
        connect_timeout: Some(duration(view.snapshot.settings.connect_timeout)),
        circuit_breakers: Some(unlimited()),
        common_lb_config: Some(pb::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(weft_proto::xds::envoy::r#type::v3::Percent { value: 0.0 }),
            ..pb::cluster::CommonLbConfig::default()
        }),
        metadata: Some(cluster_metadata(service, port, rule, subset)),
        ..pb::Cluster::default()
    };
    resolve(view, service, port, rule, subset, &mut cluster);
    policy::load_balancer(&mut cluster, settings.load_balancer.as_ref());
    policy::connection_pool(&mut cluster, settings.connection_pool.as_ref());
    policy::outlier(&mut cluster, settings.outlier_detection.as_ref());
    policy::retry_budget(&mut cluster, rule.and_then(|rule| rule.rule.retry_budget(subset)));
    policy::protocol(&mut cluster, port.protocol, settings.connection_pool.as_ref());
    match &settings.tls {
        // A rule that says ISTIO_MUTUAL holds for every endpoint: one without mTLS is not reached, never in plaintext (Istio).
        Some(tls) if tls.mode == ClientTlsMode::IstioMutual => {
            cluster.transport_socket = Some(mtls::required(view, service, port, subset, Some(tls)));
        }
        Some(tls) => cluster.transport_socket = tls::originate(tls, hostname, &service.subject_alt_names),
        None if !view.snapshot.settings.auto_mtls => {}
        None => mtls::automatic(view, service, port, subset, &mut cluster),
    }
    cluster
}

/// How endpoints are found, by the service's resolution.
#[expect(
    deprecated,
    reason = "stock Envoy and the proxy both read the cluster's own DNS fields"
)]
fn resolve(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    rule: Option<&Arc<MeshDestinationRule>>,
    subset: Option<&str>,
    cluster: &mut pb::Cluster,
) {
    use pb::cluster::DiscoveryType;
    let kind = match service.resolution {
        Resolution::Static if service.headless && is_captured(view) => {
            // Clients ask for single pods, and mean them.
            to_original(cluster);
            return;
        }
        Resolution::Static => {
            cluster.eds_cluster_config = Some(pb::cluster::EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: cluster.name.clone(),
            });
            cluster.cluster_discovery_type = Some(discovery(DiscoveryType::Eds));
            return;
        }
        Resolution::None => {
            to_original(cluster);
            return;
        }
        Resolution::Dns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
    };
    cluster.cluster_discovery_type = Some(discovery(kind));
    // A name that has only the other family is reached by that.
    cluster.dns_lookup_family = pb::cluster::DnsLookupFamily::V4Preferred as i32;
    cluster.respect_dns_ttl = true;
    cluster.dns_refresh_rate = Some(duration(view.snapshot.settings.dns_refresh_rate));
    let ready = view.snapshot.endpoints.of(&service.key);
    let members = ready.map(|ready| ready.port(port.port)).unwrap_or_default();
    let labels = subset
        .and_then(|name| rule?.rule.subset(name))
        .map(|subset| &subset.labels);
    let members = members
        .iter()
        .filter(|member| labels.is_none_or(|labels| selects(labels, &member.labels)));
    cluster.load_assignment = Some(assignment(cluster.name.clone(), members.map(|member| &**member)));
}

fn cluster_metadata(
    service: &MeshService,
    port: &ServicePort,
    rule: Option<&Arc<MeshDestinationRule>>,
    subset: Option<&str>,
) -> core::Metadata {
    let mut istio = services([(&service.key, &*service.name)]);
    if let Some(rule) = rule {
        istio.fields.insert("config".to_owned(), text(&rule.config_path()));
    }
    if let Some(subset) = subset {
        istio.fields.insert("subset".to_owned(), text(subset));
    }
    let mut metadata = origin(&service.origin, None, &port.place);
    metadata.filter_metadata.insert("istio".to_owned(), istio);
    metadata
}

/// Which services a cluster leads to: host, short name, namespace.
fn services<'a>(services: impl IntoIterator<Item = (&'a ServiceKey, &'a str)>) -> wkt::Struct {
    let entry = |(key, name): (&ServiceKey, &str)| {
        nested(structure([
            ("host", text(&key.hostname)),
            ("name", text(name)),
            ("namespace", text(&key.namespace)),
        ]))
    };
    structure([("services", list(services.into_iter().map(entry).collect()))])
}

fn unlimited() -> pb::CircuitBreakers {
    pb::CircuitBreakers {
        thresholds: vec![pb::circuit_breakers::Thresholds {
            max_connections: Some(uint32(UNLIMITED)),
            max_pending_requests: Some(uint32(UNLIMITED)),
            max_requests: Some(uint32(UNLIMITED)),
            max_retries: Some(uint32(UNLIMITED)),
            track_remaining: true,
            ..pb::circuit_breakers::Thresholds::default()
        }],
        ..pb::CircuitBreakers::default()
    }
}

fn discovery(kind: pb::cluster::DiscoveryType) -> pb::cluster::ClusterDiscoveryType {
    pb::cluster::ClusterDiscoveryType::Type(kind as i32)
}
