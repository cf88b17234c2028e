//! Admission round trips over real TLS: what the API server would send, and what it would get.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_base::shutdown::Shutdown;
use weft_base::tls;
use weft_base::workload::WorkloadIdentity;
use weft_mesh::inject::Settings;
use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};
use weft_pilot::webhook::{Webhooks, serve, server_config};

const NAME: &str = "weft-pilot.weft-system.svc";

/// A mesh with these objects.
fn mesh(text: &str) -> Arc<MeshSnapshot> {
    let parsed = weft_api::parse::parse("mesh.yaml", text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    Arc::new(build(inputs, &Arc::new(MeshSettings::default()), 1, None))
}

/// A server certificate for [`NAME`], as citadel signs it.
fn identity() -> WorkloadIdentity {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let id = "spiffe://cluster.local/ns/weft-system/sa/weft-pilot";
    let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    leaf.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
    let leaf = leaf.signed_by(&key, &root).unwrap();
    WorkloadIdentity {
        id: id.parse().unwrap(),
        chain_pem: leaf.pem(),
        key_pem: key.serialize_pem(),
        roots_pem: root.pem(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::now() + Duration::from_secs(3600),
    }
}

struct Stage {
    address: SocketAddr,
    roots: String,
    publish: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    _shutdown: Shutdown,
}

async fn stage(text: &str) -> Stage {
    let identity = identity();
    let (publish, config) = watch::channel(Some(server_config(&identity).unwrap()));
    let (_, snapshots) = watch::channel(mesh(text));
    let router = Webhooks::new(Settings::default(), snapshots).router();
    let shutdown = Shutdown::new();
    let address = serve("127.0.0.1:0".parse().unwrap(), router, config, &shutdown)
        .await
        .unwrap();
    Stage {
        address,
        roots: identity.roots_pem,
        publish,
        _shutdown: shutdown,
    }
}

/// TLS as an API server speaks it: it would like HTTP/2.
async fn connect(stage: &Stage) -> Result<TlsStream<TcpStream>, String> {
    let roots = tls::roots(stage.roots.as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let socket = TcpStream::connect(stage.address).await.unwrap();
    let name = NAME.try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    stream.map_err(|error| error.to_string())
}

async fn post(stage: &Stage, path: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>), String> {
    let stream = connect(stage).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driving = Shutdown::new();
    driving.spawn(connection);
    let request = Request::post(path)
        .header("host", NAME)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes().to_vec()))
}

async fn review(stage: &Stage, path: &str, object: Value) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "7", "namespace": "shop", "operation": "CREATE", "object": object},
    });
    let (status, body) = post(stage, path, review.to_string().into_bytes()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "7");
    answer["response"].clone()
}

fn pod() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}})
}

#[tokio::test]
async fn pods_are_patched_and_bad_ones_refused() {
    let stage = stage("").await;
    let response = review(&stage, "/inject/cluster/east", pod()).await;
    assert_eq!(response["allowed"], true);
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut patched = pod();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched["spec"]["initContainers"][1]["name"], "istio-proxy");
    assert!(patched.to_string().contains(r#"\"CLUSTER_ID\":\"east\""#), "{patched}");

    let mut bad = pod();
    bad["metadata"]["annotations"] = json!({"sidecar.istio.io/proxyCPU": "lots"});
    let response = review(&stage, "/inject", bad).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("sidecar.istio.io/proxyCPU"), "{message}");

    let mut unknown = pod();
    unknown["metadata"]["annotations"] = json!({"sidecar.istio.io/proxyCpu": "1"});
    let response = review(&stage, "/inject", unknown).await;
    assert_eq!(response["allowed"], true);
    assert!(response["warnings"][0].as_str().unwrap().contains("misspelt"));

    let mut host = pod();
    host["spec"]["hostNetwork"] = json!(true);
    let response = review(&stage, "/inject", host).await;
    assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null));
}

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  hosts: [shop.example.com]
  gateways: [front, mesh]
  http:
  - redirect: {uri: /}
";

fn virtual_service(name: &str, gateways: &[&str], route: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop", "managedFields": [{"manager": "kubectl"}]},
        "spec": {"hosts": ["shop.example.com"], "gateways": gateways, "http": [route]},
    })
}

#[tokio::test]
async fn broken_objects_are_refused_with_the_field() {
    let stage = stage(GATEWAY).await;
    let mut broken = virtual_service(
        "broken",
        &["front"],
        json!({"redirect": {"uri": "/"}, "timeout": "soon"}),
    );
    let response = review(&stage, "/validate", broken.clone()).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.http[0].timeout: "), "{message}");

    // The same host in the mesh is a conflict in any order.
    let conflict = virtual_service("second", &["mesh"], json!({"redirect": {"uri": "/other"}}));
    let response = review(&stage, "/validate", conflict).await;
    assert_eq!(response["allowed"], false, "{response}");
    assert!(
        response["status"]["message"].as_str().unwrap().contains("IST0109"),
        "{response}"
    );

    // A gateway may come later, with the next object of the same file.
    let early = virtual_service("early", &["not-yet"], json!({"redirect": {"uri": "/"}}));
    let response = review(&stage, "/validate", early).await;
    assert_eq!(
        (&response["allowed"], &response["warnings"]),
        (&json!(true), &Value::Null),
        "{response}"
    );

    // The object itself is no conflict with itself.
    let same = virtual_service("first", &["front", "mesh"], json!({"redirect": {"uri": "/changed"}}));
    let response = review(&stage, "/validate", same).await;
    assert_eq!(response["allowed"], true, "{response}");

    // What costs a part alone is told, and the object stored.
    let partly = virtual_service("partly", &["front"], json!({"delegate": {"name": "other"}}));
    let response = review(&stage, "/validate", partly).await;
    assert_eq!(response["allowed"], true, "{response}");
    assert!(
        response["warnings"].to_string().contains("spec.http[0].delegate: "),
        "{response}"
    );

    broken["kind"] = json!("VirtualServices");
    let response = review(&stage, "/validate", broken).await;
    assert_eq!(response["allowed"], false);
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean VirtualService?"),
        "{response}"
    );
}

/// Other controllers may carry them out, so they are never refused; those that only the mesh could are warned about.
#[tokio::test]
async fn objects_of_the_gateway_api_without_effect_are_warned_about() {
    const OTHERS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: others, listeners: [{name: http, port: 80, protocol: HTTP}]}
";
    let stage = stage(OTHERS).await;
    let check = async |kind: &str, spec: Value, warned: bool| {
        let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": "new", "namespace": "shop"}, "spec": spec});
        let response = review(&stage, "/validate", object).await;
        assert_eq!(response["allowed"], true, "{response}");
        let warnings = response["warnings"].as_array().map_or(0, Vec::len);
        assert_eq!(warnings, usize::from(warned), "{response}");
        assert_eq!(response.to_string().contains("WEFT0004"), warned, "{response}");
    };
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    check(
        "Gateway",
        json!({"gatewayClassName": "istio", "listeners": listeners}),
        true,
    )
    .await;
    check(
        "Gateway",
        json!({"gatewayClassName": "others", "listeners": listeners}),
        false,
    )
    .await;
    check("Gateway", json!({"listeners": [{"port": "many"}]}), false).await;
    check("HTTPRoute", json!({"parentRefs": [{"name": "edge"}]}), false).await;
    check("HTTPRoute", json!({"parentRefs": [{"name": "not-yet"}]}), true).await;
    check(
        "GRPCRoute",
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web"}]}),
        true,
    )
    .await;
    check("UDPRoute", json!({"parentRefs": [{"name": "edge"}]}), true).await;
}

/// The next request of an API server may go to another pod: one that it keeps a connection to may be lost.
#[tokio::test]
async fn a_connection_carries_one_request() {
    let stage = stage("").await;
    let mut connection = connect(&stage).await.unwrap();
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = format!("GET /ready HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn garbage_and_big_bodies_get_an_answer() {
    let stage = stage("").await;
    let (status, _) = post(&stage, "/inject", b"{".to_vec()).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let old = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1"}});
    let (status, body) = post(&stage, "/inject", old.to_string().into_bytes()).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&body).contains("admission.k8s.io/v1"));
    let (status, _) = post(&stage, "/inject/cluster", b"{}".to_vec()).await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
    // The server may answer before it has read everything, or close; it must not read on.
    match post(&stage, "/validate", vec![b' '; 8 << 20]).await {
        Ok((status, _)) => assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE),
        Err(error) => assert!(!error.is_empty()),
    }
    let (status, _) = post(&stage, "/inject", b"{".to_vec()).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "it still serves");
}

#[tokio::test]
async fn a_rotated_certificate_is_used_for_new_connections() {
    let mut stage = stage("").await;
    let next = identity();
    stage.publish.send_replace(Some(server_config(&next).unwrap()));
    assert!(
        post(&stage, "/inject", b"{".to_vec()).await.is_err(),
        "the old root no longer fits"
    );
    stage.roots = next.roots_pem;
    let (status, _) = post(&stage, "/inject", b"{".to_vec()).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
