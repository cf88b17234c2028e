//! Mesh mTLS of clusters: automatic by endpoint, or as a DestinationRule asks for it.

use std::collections::BTreeSet;

use weft_api::destination_rule::ClientTls;
use weft_proto::cluster_name::Outbound;
use weft_proto::xds::envoy::config::cluster::v3 as pb;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::google::protobuf as wkt;

use super::original::is_original;
use super::tls::{self, Carries};
use super::wire::{structure, text};
use crate::snapshot::{MeshService, Protocol, ServicePort};
use crate::view::ProxyView;

/// mTLS to endpoints that take it, plaintext to others (Istio, "auto mTLS").
pub(super) fn automatic(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    subset: Option<&str>,
    cluster: &mut pb::Cluster,
) {
    if identities(view, service, port).is_empty() {
        return;
    }
    let mesh = required(view, service, port, subset, None);
    if is_original(cluster) {
        // Where nobody chose the endpoint, nobody knows its labels: mTLS if all that there are take it.
        let all = view.snapshot.backends.of(&service.key);
        let mut members = all.map(|all| all.port(port.port)).unwrap_or_default().iter();
        if members.all(|member| member.mtls) {
            cluster.transport_socket = Some(mesh);
        }
        return;
    }
    cluster.transport_socket_matches = vec![
        pb::cluster::TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(structure([("tlsMode", text("istio"))])),
            transport_socket: Some(mesh),
        },
        pb::cluster::TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(wkt::Struct::default()),
            transport_socket: Some(tls::plaintext()),
        },
    ];
}

/// The SPIFFE ids that may answer for a port of a service.
fn identities(view: &ProxyView, service: &MeshService, port: &ServicePort) -> BTreeSet<String> {
    let trust_domain = &view.snapshot.settings.trust_domain;
    view.snapshot.backends.identities(&service.key, port.port, trust_domain)
}

/// The names of which the server of a port must have one: those that a rule gives, else the identities of the endpoints and
/// what the ServiceEntry gives.
pub(super) fn server_names(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    rule: Option<&ClientTls>,
) -> BTreeSet<String> {
    match rule {
        Some(tls) if !tls.subject_alt_names.is_empty() => tls.subject_alt_names.iter().cloned().collect(),
        _ => {
            let mut names = identities(view, service, port);
            names.extend(service.subject_alt_names.iter().cloned());
            names
        }
    }
}

/// Mesh mTLS towards a port.
pub(super) fn required(
    view: &ProxyView,
    service: &MeshService,
    port: &ServicePort,
    subset: Option<&str>,
    rule: Option<&ClientTls>,
) -> core::TransportSocket {
    let carries = if port.protocol.is_http2() {
        Carries::Http2
    } else if port.protocol.is_http() || port.protocol == Protocol::Auto {
        Carries::Http1
    } else {
        Carries::Tcp
    };
    let names = server_names(view, service, port, rule);
    let own = Outbound::new(port.port, subset, &service.key.hostname).server_name();
    let sni = rule.and_then(|tls| tls.sni.as_deref()).unwrap_or(&own);
    tls::mesh_client(carries, sni, &names)
}
