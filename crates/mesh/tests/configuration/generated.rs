//! What rules turn into on generated clusters and listeners.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use std::sync::Arc;

use prost::{Message, Name};
use weft_mesh::generate::generate;
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::cluster::v3::Cluster;
use weft_proto::xds::envoy::config::core::v3::{TransportSocket, transport_socket};
use weft_proto::xds::envoy::config::listener::v3::{Listener, filter};
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use weft_proto::xds::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;

use weft_proto::xds::google::protobuf::Any;

use super::{service, snapshot, workload};

/// Resources of one type for the proxy of `client-v1-0`, whose mesh has the service `callme` and some more text.
#[track_caller]
fn resources<T: Message + Default>(kind: Kind, text: &str) -> Vec<T> {
    let mesh = format!(
        "{}{}{}{text}",
        service("callme", "default"),
        workload("callme", "v1", "default", 41000, true),
        workload("client", "v1", "default", 41010, true),
    );
    let snapshot = Arc::new(snapshot(&mesh));
    let settings = ProxySettings {
        access_log_file: "/dev/null".into(),
        collector: None,
        spans: None,
        sampling_ppm: 0,
    };
    let view = ProxyView::new(snapshot, "default", "client-v1-0", settings).unwrap();
    let generated = generate(&view);
    let found = generated.of(kind);
    let all = found.shared.set().values().chain(found.own.set().values());
    all.map(|resource| T::decode(&*resource.bytes).unwrap()).collect()
}

#[track_caller]
fn cluster(name: &str, text: &str) -> Cluster {
    let mut clusters = resources::<Cluster>(Kind::Cluster, text).into_iter();
    clusters.find(|cluster| cluster.name == name).unwrap()
}

fn rule(host: &str, policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: rule}}\nspec:\n  \
         host: {host}\n  trafficPolicy: {policy}\n"
    )
}

/// Server name, and names of which the certificate must have one, of a TLS context.
#[track_caller]
fn tls(socket: Option<&TransportSocket>) -> Option<(String, Vec<String>)> {
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket?.config_type else {
        return None;
    };
    let context = opened::<UpstreamTlsContext>(any)?;
    let validation = match context.common_tls_context?.validation_context_type? {
        ValidationContextType::CombinedValidationContext(combined) => combined.default_validation_context?,
        ValidationContextType::ValidationContext(validation) => validation,
        other => panic!("{other:?}"),
    };
    let names = validation.match_typed_subject_alt_names.into_iter();
    let names = names.map(|name| {
        format!(
            "{} {:?}",
            name.san_type().as_str_name(),
            name.matcher.unwrap().match_pattern.unwrap()
        )
    });
    Some((context.sni, names.collect()))
}

/// The message of an `Any`, where it is one of that type.
fn opened<T: Message + Name + Default>(any: &Any) -> Option<T> {
    (any.type_url == T::type_url()).then(|| T::decode(&*any.value).unwrap())
}

fn uri(text: &str) -> String {
    format!("URI Exact({text:?})")
}

fn dns(text: &str) -> String {
    format!("DNS Exact({text:?})")
}

const CALLME: &str = "outbound|80||callme.default.svc.cluster.local";
const SNI: &str = "outbound_.80_._.callme.default.svc.cluster.local";

#[test]
fn automatic_mtls_chooses_by_endpoint_and_a_rule_does_not() {
    let identity = uri("spiffe://cluster.local/ns/default/sa/callme");
    let automatic = cluster(CALLME, "");
    let matches: Vec<_> = automatic
        .transport_socket_matches
        .iter()
        .map(|entry| &*entry.name)
        .collect();
    assert_eq!(matches, ["tlsMode-istio", "tlsMode-disabled"]);
    assert_eq!(automatic.transport_socket, None);
    let first = automatic
        .transport_socket_matches
        .first()
        .and_then(|entry| entry.transport_socket.as_ref());
    assert_eq!(tls(first), Some((SNI.to_owned(), vec![identity.clone()])));

    for (policy, sni, names) in [
        ("{tls: {mode: ISTIO_MUTUAL}}", SNI, vec![identity]),
        (
            "{tls: {mode: ISTIO_MUTUAL, sni: other, subjectAltNames: ['spiffe://a/b', c.example]}}",
            "other",
            vec![dns("c.example"), uri("spiffe://a/b")],
        ),
    ] {
        let mutual = cluster(CALLME, &rule("callme", policy));
        assert_eq!(mutual.transport_socket_matches, [], "{policy}");
        let (found_sni, mut found) = tls(mutual.transport_socket.as_ref()).unwrap();
        found.sort();
        assert_eq!((found_sni.as_str(), found), (sni, names), "{policy}");
    }
    let off = cluster(CALLME, &rule("callme", "{tls: {mode: DISABLE}}"));
    assert_eq!((off.transport_socket_matches, off.transport_socket), (vec![], None));
}

#[test]
fn a_rule_for_mtls_holds_where_no_endpoint_has_any() {
    let outside = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
                   spec: {hosts: [api.example.com], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: \
                   [{address: 127.0.0.1}]}\n";
    let text = format!("{outside}{}", rule("api.example.com", "{tls: {mode: ISTIO_MUTUAL}}"));
    let made = cluster("outbound|80||api.example.com", &text);
    assert_eq!(made.transport_socket_matches, []);
    let sni = "outbound_.80_._.api.example.com".to_owned();
    assert_eq!(tls(made.transport_socket.as_ref()), Some((sni, vec![])));
}

#[test]
fn names_of_a_service_entry_are_checked() {
    let entry = |location: &str, endpoint: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\n\
             spec: {{hosts: [api.example.com], location: {location}, subjectAltNames: [spiffe://x/y, other.example], \
             ports: [{{number: 80, name: http}}], resolution: STATIC, endpoints: [{endpoint}]}}\n"
        )
    };
    let name = "outbound|80||api.example.com";
    let inside = entry(
        "MESH_INTERNAL",
        "{address: 127.0.0.1, serviceAccount: vm, labels: {security.istio.io/tlsMode: istio}}",
    );
    let made = cluster(name, &inside);
    let socket = made
        .transport_socket_matches
        .first()
        .and_then(|entry| entry.transport_socket.as_ref());
    let (_, mut names) = tls(socket).unwrap();
    names.sort();
    let vm = uri("spiffe://cluster.local/ns/default/sa/vm");
    assert_eq!(names, [dns("other.example"), vm, uri("spiffe://x/y")]);

    let outside = entry("MESH_EXTERNAL", "{address: 127.0.0.1}");
    for (policy, names) in [
        ("{tls: {mode: SIMPLE}}", vec![uri("spiffe://x/y"), dns("other.example")]),
        (
            "{tls: {mode: SIMPLE, subjectAltNames: [own.example]}}",
            vec![dns("own.example")],
        ),
    ] {
        let made = cluster(name, &format!("{outside}{}", rule("api.example.com", policy)));
        let found = tls(made.transport_socket.as_ref());
        assert_eq!(found, Some(("api.example.com".to_owned(), names)), "{policy}");
    }
}

#[test]
fn idle_times_of_connections_reach_clusters_and_listeners() {
    for (pool, expected) in [
        ("{tcp: {idleTimeout: 7s}}", 7),
        ("{tcp: {idleTimeout: 7s}, http: {idleTimeout: 9s}}", 9),
    ] {
        let made = cluster(CALLME, &rule("callme", &format!("{{connectionPool: {pool}}}")));
        let options = made.typed_extension_protocol_options.values().next().unwrap();
        let common = opened::<HttpProtocolOptions>(options)
            .unwrap()
            .common_http_protocol_options;
        let idle = common.and_then(|common| common.idle_timeout).map(|time| time.seconds);
        assert_eq!(idle, Some(expected), "{pool}");
    }

    let db = "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec:\n  selector: {app: callme}\n  \
              ports: [{name: tcp-db, port: 6000}]\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n\
              metadata: {name: s}\nspec:\n  egress:\n  - port: {number: 6000, protocol: TCP, name: db}\n    \
              captureMode: NONE\n    hosts: [\"./db.default.svc.cluster.local\"]\n";
    for (policy, idle, longest) in [
        ("{loadBalancer: {simple: RANDOM}}", None, None),
        (
            "{connectionPool: {tcp: {idleTimeout: 0s, maxConnectionDuration: 60s}}}",
            Some(0),
            Some(60),
        ),
        (
            "{portLevelSettings: [{port: {number: 6000}, connectionPool: {tcp: {idleTimeout: 7s}}}]}",
            Some(7),
            None,
        ),
    ] {
        let listeners = resources::<Listener>(Kind::Listener, &format!("{db}{}", rule("db", policy)));
        let listener = listeners
            .iter()
            .find(|listener| listener.name.ends_with("_6000"))
            .unwrap();
        let mut filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
        let proxy = filters.find_map(|entry| match &entry.config_type {
            Some(filter::ConfigType::TypedConfig(any)) => opened::<TcpProxy>(any),
            _ => None,
        });
        let proxy = proxy.unwrap();
        let found = (
            proxy.idle_timeout.map(|time| time.seconds),
            proxy.max_downstream_connection_duration.map(|time| time.seconds),
        );
        assert_eq!(found, (idle, longest), "{policy}");
    }
}
