//! Every kind that is watched: what was made, changed and deleted while the server was gone arrives as a restart would see it.

use std::time::Duration;

use serde_json::Value;

use crate::server::Server;
use crate::watches::Live;

/// Version and kind; what an object has beside its metadata, where `@` stands for each of two values in turn; nothing for those of
/// which only labels count.
type Row = (&'static str, &'static str, &'static str, [&'static str; 2]);

const CLUSTER_SCOPED: [&str; 3] = ["nodes", "namespaces", "gatewayclasses.gateway.networking.k8s.io"];
const MESH_CONFIG: &str = "configmaps";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("v1", "services", r#""spec": {"ports": [{"name": "http", "port": @}]}"#, ["80", "81"]),
    ("v1", "pods", r#""spec": {"containers": []}, "status": {"phase": "Running", "podIPs": [{"ip": "@"}]}"#, ["10.0.0.1", "10.0.0.2"]),
    ("v1", "nodes", "", ["a", "b"]),
    ("v1", "namespaces", "", ["a", "b"]),
    ("v1", "endpointslices.discovery.k8s.io", r#""addressType": "IPv4", "endpoints": [{"addresses": ["@"]}], "ports": [{"port": 80}]"#, ["10.0.0.1", "10.0.0.2"]),
    ("v1", MESH_CONFIG, r#""data": {"mesh": "trustDomain: @"}"#, ["a.example", "b.example"]),
    ("v1", "virtualservices.networking.istio.io", r#""spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "@"}}]}]}"#, ["a", "b"]),
    ("v1", "destinationrules.networking.istio.io", r#""spec": {"host": "@"}"#, ["a", "b"]),
    ("v1", "serviceentries.networking.istio.io", r#""spec": {"hosts": ["@"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"}"#, ["a.example", "b.example"]),
    ("v1", "workloadentries.networking.istio.io", r#""spec": {"address": "@"}"#, ["10.0.0.1", "10.0.0.2"]),
    ("v1", "gateways.networking.istio.io", r#""spec": {"selector": {"app": "a"}, "servers": [{"port": {"number": @, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}"#, ["80", "81"]),
    ("v1", "sidecars.networking.istio.io", r#""spec": {"egress": [{"hosts": ["@"]}]}"#, ["./*", "*/*"]),
    ("v1", "peerauthentications.security.istio.io", r#""spec": {"mtls": {"mode": "@"}}"#, ["STRICT", "PERMISSIVE"]),
    ("v1", "authorizationpolicies.security.istio.io", r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    ("v1", "requestauthentications.security.istio.io", r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    ("v1alpha1", "telemetries.telemetry.istio.io", r#""spec": {"selector": {"matchLabels": {"app": "@"}}}"#, ["a", "b"]),
    ("v1", "gatewayclasses.gateway.networking.k8s.io", r#""spec": {"controllerName": "@"}"#, ["a.example/c", "b.example/c"]),
    ("v1", "gateways.gateway.networking.k8s.io", r#""spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": @, "protocol": "HTTP"}]}"#, ["80", "81"]),
    ("v1", "httproutes.gateway.networking.k8s.io", r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    ("v1", "grpcroutes.gateway.networking.k8s.io", r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    ("v1alpha2", "tlsroutes.gateway.networking.k8s.io", r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    ("v1alpha2", "tcproutes.gateway.networking.k8s.io", r#""spec": {"parentRefs": [{"name": "@"}]}"#, ["a", "b"]),
    ("v1beta1", "referencegrants.gateway.networking.k8s.io", r#""spec": {"from": [{"group": "", "kind": "Service", "namespace": "@"}], "to": [{"group": "", "kind": "Secret"}]}"#, ["a", "b"]),
];

/// An object of a row's kind with one of the two values.
fn object(row: &Row, name: &str, value: usize) -> Value {
    let (_, kind, body, values) = row;
    let body = body.replace('@', values[value]);
    let mut object: Value = serde_json::from_str(&format!("{{{body}}}")).unwrap();
    object["metadata"]["name"] = name.into();
    if body.is_empty() {
        object["metadata"]["labels"]["topology.kubernetes.io/region"] = values[value].into();
    }
    if !CLUSTER_SCOPED.contains(kind) {
        let namespace = if *kind == MESH_CONFIG {
            "istio-system"
        } else {
            "default"
        };
        object["metadata"]["namespace"] = namespace.into();
    }
    object
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
    for row in ROWS {
        let (version, kind, ..) = row;
        // Of the mesh configuration there is one, with a fixed name.
        let is_one = *kind == MESH_CONFIG;
        let name = if is_one { "istio" } else { "changed" };
        let server = Server::new();
        server.install(version, kind);
        server.put(kind, object(row, name, 0));
        if !is_one {
            server.put(kind, object(row, "deleted", 0));
        }
        let live = Live::of(server.client("live"));
        live.until(kind, |_| true).await;
        let before = inputs(&live);

        // A watch that ends is taken up where it was.
        server.cut();
        server.put(kind, object(row, name, 1));
        until(&live, kind, |inputs| inputs != before).await;
        let changed = inputs(&live);
        assert_eq!(server.listed().get(*kind), Some(&0), "{kind}: no watch was too old");

        server.down();
        server.put(kind, object(row, name, 0));
        if !is_one {
            server.delete(kind, "deleted");
            server.put(kind, object(row, "new", 0));
        }
        server.compact();
        server.up();
        let fresh = Live::of(server.client("fresh"));
        fresh.until(kind, |_| true).await;
        let expected = inputs(&fresh);
        until(&live, kind, |inputs| inputs == expected).await;
        assert_eq!(
            server.listed().get(*kind),
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
