//! Every kind that is watched: what was made, changed and deleted while the server was gone arrives as a restart would see it.

use std::time::Duration;

use serde_json::Value;
use weft_api::kind::{Kind, KindFacts, Scope, Watch};

use crate::server::Server;
use crate::watches::Live;

/// A kind; what an object has beside its metadata, where `@` stands for each of two values in turn.
type Row = (Kind, &'static str, [&'static str; 2]);

/// Kinds whose objects are nothing without a spec, or that say something beside their labels; of all others only those change.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    (Kind::Service, r#""spec": {"ports": [{"name": "http", "port": @}]}"#, ["80", "81"]),
    (Kind::Pod, r#""spec": {"containers": []}, "status": {"phase": "Running", "podIPs": [{"ip": "@"}]}"#, ["10.0.0.1", "10.0.0.2"]),
    (Kind::EndpointSlice, r#""addressType": "IPv4", "endpoints": [{"addresses": ["@"]}], "ports": [{"port": 80}]"#, ["10.0.0.1", "10.0.0.2"]),
    (Kind::ConfigMap, r#""data": {"mesh": "trustDomain: @"}"#, ["a.example", "b.example"]),
    (Kind::VirtualService, r#""spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "@"}}]}]}"#, ["a", "b"]),
    (Kind::DestinationRule, r#""spec": {"host": "@"}"#, ["a", "b"]),
    (Kind::ServiceEntry, r#""spec": {"hosts": ["@"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"}"#, ["a.example", "b.example"]),
    (Kind::WorkloadEntry, r#""spec": {"address": "@"}"#, ["10.0.0.1", "10.0.0.2"]),
    (Kind::Gateway, r#""spec": {"selector": {"app": "a"}, "servers": [{"port": {"number": @, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}"#, ["80", "81"]),
    (Kind::Sidecar, r#""spec": {"egress": [{"hosts": ["@"]}]}"#, ["./*", "*/*"]),
    (Kind::PeerAuthentication, r#""spec": {"mtls": {"mode": "@"}}"#, ["STRICT", "PERMISSIVE"]),
    (Kind::AuthorizationPolicy, r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    (Kind::RequestAuthentication, r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    (Kind::Telemetry, r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    (Kind::GatewayClass, r#""spec": {"controllerName": "@"}"#, ["a.example/c", "b.example/c"]),
    (Kind::KubernetesGateway, r#""spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": @, "protocol": "HTTP"}]}"#, ["80", "81"]),
    (Kind::HttpRoute, r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    (Kind::GrpcRoute, r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    (Kind::TlsRoute, r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    (Kind::TcpRoute, r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    (Kind::ReferenceGrant, r#""spec": {"from": [{"group": "", "kind": "Service", "namespace": "@"}], "to": [{"group": "", "kind": "Secret"}]}"#, ["a", "b"]),
];

const DEFAULT: (&str, [&str; 2]) = (r#""spec": {}"#, ["a", "b"]);

/// An object of a kind with one of the two values.
fn object(kind: Kind, name: &str, value: usize) -> Value {
    let row = ROWS.iter().find(|(of, ..)| *of == kind);
    let (body, values) = row.map_or(DEFAULT, |(_, body, values)| (body, *values));
    let body = body.replace('@', values[value]);
    let mut object: Value = serde_json::from_str(&format!("{{{body}}}")).unwrap();
    object["metadata"]["name"] = name.into();
    if row.is_none() {
        object["metadata"]["labels"]["topology.kubernetes.io/region"] = values[value].into();
    }
    if kind.facts().scope == Scope::Namespaced {
        let namespace = match kind.facts().watch {
            Watch::One(_) => "istio-system",
            Watch::All | Watch::NamedByGateways | Watch::Never => "default",
        };
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

/// The name by which the server knows a kind.
fn resource(facts: &KindFacts) -> String {
    match facts.group.name() {
        "" => facts.plural.to_owned(),
        group => format!("{}.{group}", facts.plural),
    }
}

/// What a snapshot was made of, for comparison.
fn inputs(live: &Live) -> String {
    format!("{:?}", live.snapshots.borrow().inputs)
}

/// Looks until the objects are so: not every difference between them makes a snapshot that receivers are told of.
async fn until(live: &Live, kind: &str, fits: impl Fn(&str) -> bool) {
    for _ in 0..1200 {
        if fits(&inputs(live)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{kind} stays {}", inputs(live));
}

#[tokio::test(start_paused = true)]
async fn every_kind_converges_after_the_server_was_gone() {
    for kind in Kind::ALL {
        let facts = kind.facts();
        // Of one that is watched by its name there is no other.
        let (name, is_one) = match facts.watch {
            Watch::All => ("changed", false),
            Watch::One(name) => (name, true),
            Watch::NamedByGateways | Watch::Never => continue,
        };
        let object = |name: &str, value| object(*kind, name, value);
        let kind = &resource(facts);
        let server = Server::new();
        // The oldest version of all, which has to do where a server has no other.
        server.install(facts.versions[facts.versions.len() - 1], kind);
        server.put(kind, object(name, 0));
        if !is_one {
            server.put(kind, object("deleted", 0));
        }
        let live = Live::of(server.client("live"));
        live.until(kind, |_| true).await;
        let before = inputs(&live);

        // A watch that ends is taken up where it was.
        server.cut();
        server.put(kind, object(name, 1));
        until(&live, kind, |inputs| inputs != before).await;
        let changed = inputs(&live);
        assert_eq!(server.listed().get(kind), Some(&0), "{kind}: no watch was too old");

        server.down();
        server.put(kind, object(name, 0));
        if !is_one {
            server.delete(kind, "deleted");
            server.put(kind, object("new", 0));
        }
        server.compact();
        server.up();
        let fresh = Live::of(server.client("fresh"));
        fresh.until(kind, |_| true).await;
        let expected = inputs(&fresh);
        until(&live, kind, |inputs| inputs == expected).await;
        assert_eq!(
            server.listed().get(kind),
            Some(&1),
            "{kind}: the watch was too old once"
        );
        assert_ne!(expected, changed, "{kind}");
        if !is_one {
            assert!(
                expected.contains("\"new\"") && !expected.contains("\"deleted\""),
                "{kind}: {expected}"
            );
        }
        fresh.stop().await;
        live.stop().await;
    }
}
