//! What servers give: fields of other versions of Kubernetes, sidecars among init containers, generations.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use weft_api::parse::{parse, parse_json};
use weft_api::protocol::Protocol;
use weft_api::resource::Resource;

fn service(port: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [port]}})
}

fn read(object: &Value) -> Resource {
    let parsed = parse_json(object);
    let [resource] = parsed.resources.as_slice() else {
        panic!("{:?}", parsed.diagnostics);
    };
    resource.clone()
}

fn protocol(port: Value) -> Protocol {
    let Resource::Service(service) = read(&service(port)) else {
        panic!("no service");
    };
    service.spec.ports[0].protocol
}

#[test]
fn fields_of_other_versions_are_passed_over_from_a_server_alone() {
    let mut object = service(json!({"name": "http", "port": 80, "somethingNew": true}));
    object["spec"]["topologyKeys"] = json!(["*"]);
    assert_eq!(
        protocol(json!({"name": "http", "port": 80, "somethingNew": true})),
        Protocol::Http
    );
    assert!(matches!(read(&object), Resource::Service(_)));
    let in_a_file = parse("f.yaml", &object.to_string());
    assert_eq!(in_a_file.resources.len(), 0);
    assert_eq!(in_a_file.diagnostics.len(), 2, "{:?}", in_a_file.diagnostics);
}

/// Istio's `ConvertProtocol`: where appProtocol is set the port's name says nothing.
#[test]
fn app_protocol_takes_the_place_of_the_name() {
    let check = |name: &str, app_protocol: &str, expected: Protocol| {
        let port = json!({"name": name, "port": 80, "appProtocol": app_protocol});
        assert_eq!(protocol(port), expected, "{name} {app_protocol}");
    };
    check("web", "http", Protocol::Http);
    check("web", "HTTP2", Protocol::Http2);
    check("web", "http-x", Protocol::Http);
    check("web", "grpc-web-x", Protocol::GrpcWeb);
    check("tcp", "kubernetes.io/h2c", Protocol::Http2);
    check("tcp", "kubernetes.io/ws", Protocol::Http);
    check("http", "kubernetes.io/wss", Protocol::Https);
    check("http", "example.com/x", Protocol::Auto);
    check("http", "tcp", Protocol::Tcp);
}

#[test]
fn a_sidecar_among_init_containers_has_ports() {
    let container = |name: &str, port: u16, more: Value| {
        let mut container = json!({"name": name, "image": "x", "ports": [{"name": name, "containerPort": port}]});
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        container
    };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop"},
        "spec": {
            "initContainers": [container("setup", 1000, json!({})), container("cache", 2000, json!({"restartPolicy": "Always"}))],
            "containers": [container("web", 3000, json!({}))],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1"}});
    let Resource::Pod(pod) = read(&pod) else {
        panic!("no pod");
    };
    let names: Vec<&str> = pod.spec.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["cache", "web"]);
}

/// The mesh's own Gateways and those of the Gateway API are told apart, and a new generation is another object.
#[test]
fn objects_have_names_and_generations() {
    let gateway = |version: &str, generation: i64| {
        let spec = json!({"gatewayClassName": "weft", "selector": {"istio": "x"}, "servers": [], "listeners": []});
        let meta = json!({"name": "front", "namespace": "shop", "generation": generation});
        parse_json(&json!({"apiVersion": version, "kind": "Gateway", "metadata": meta, "spec": spec}))
    };
    let named = |version: &str| gateway(version, 1).diagnostics[0].object.clone();
    assert_eq!(named("networking.istio.io/v1"), "Gateway/shop/front");
    assert_eq!(
        named("gateway.networking.k8s.io/v1"),
        "Gateway.gateway.networking.k8s.io/shop/front"
    );
    let rule = |generation: i64| {
        read(
            &json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "web", "namespace": "shop", "generation": generation}, "spec": {"host": "web"}}),
        )
    };
    assert_eq!(rule(1), rule(1));
    assert_ne!(rule(1), rule(2));
}
