//! One proxy's stream, over a socket: what it gets when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::transport::{Endpoint, Server};
use weft_base::shutdown::{Drained, Shutdown};
use weft_mesh::snapshot::MeshSnapshot;
use weft_mesh::view::ProxySettings;
use weft_pilot::metrics::Metrics;
use weft_pilot::xds::connections::Connections;
use weft_pilot::xds::findings::refusals;
use weft_pilot::xds::server::DiscoveryServer;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use weft_proto::xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::xds::google::rpc;

use super::snapshot;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server, and the stream of the proxy of the pod `default/a` at 10.0.0.5, which asks for listeners.
struct Proxy {
    shutdown: Shutdown,
    connections: Connections,
    snapshots: watch::Sender<Arc<MeshSnapshot>>,
    answers: Streaming<DeltaDiscoveryResponse>,
    /// Held open, as a client does.
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
}

impl Proxy {
    async fn connect(first: MeshSnapshot) -> Self {
        let shutdown = Shutdown::new();
        let (snapshots, receiver) = watch::channel(Arc::new(first));
        let settings = ProxySettings {
            access_log_file: String::new(),
            collector: None,
            spans: None,
            sampling_ppm: 0,
        };
        let connections = Connections::default();
        let server = DiscoveryServer::new(
            receiver,
            settings,
            connections.clone(),
            Metrics::default(),
            shutdown.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = shutdown.token();
        let serving = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(server))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { stop.cancelled().await });
        shutdown.spawn(serving);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await.unwrap());
        let (requests, outgoing) = mpsc::channel(4);
        let node = core::Node {
            id: "sidecar~10.0.0.5~a.default~default.svc.cluster.local".to_owned(),
            user_agent_name: "weft-proxy".to_owned(),
            ..core::Node::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: Kind::Listener.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(request).await.unwrap();
        let answers = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await;
        Self {
            shutdown,
            connections,
            snapshots,
            answers: answers.unwrap().into_inner(),
            requests,
        }
    }

    /// Names of the listeners of the next answer, which takes none away.
    async fn listeners(&mut self) -> Vec<String> {
        let answer = tokio::time::timeout(DEADLINE, self.answers.next()).await;
        let answer = answer.expect("there is an answer").unwrap().unwrap();
        assert_eq!(answer.removed_resources, Vec::<String>::new());
        answer.resources.into_iter().map(|resource| resource.name).collect()
    }

    async fn stop(self) {
        drop((self.answers, self.requests));
        assert_eq!(self.shutdown.drain(DEADLINE).await, Drained::Complete);
    }
}

/// The Service of the pod, by the port that it has there.
fn service(target: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n\
         spec: {{selector: {{app: a}}, ports: [{{name: http, port: 80, targetPort: {target}}}]}}\n"
    )
}

/// The pod `default/a`, and what its status says.
fn pod(status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{app: a}}}}\nspec:\n  \
         containers: [{{name: istio-proxy, args: [sidecar]}}, {{name: a}}]\nstatus: {{{status}}}\n"
    )
}

#[tokio::test]
async fn a_proxy_is_served_before_its_pods_address_is_known_and_never_with_nothing() {
    let state = |objects: String, generation| {
        let mut snapshot = snapshot(&objects);
        snapshot.generation = generation;
        snapshot
    };
    // An empty first answer would tell the proxy that it is ready.
    let mut proxy = Proxy::connect(state(service(8080), 1)).await;
    // As the store has it: nothing that is served changes, so nobody is told.
    let starting = state(service(8080) + &pod("phase: Pending"), 1);
    proxy.snapshots.send_if_modified(|snapshot| {
        *snapshot = Arc::new(starting);
        false
    });
    let listeners = proxy.listeners().await;
    for name in ["virtualInbound", "virtualOutbound"] {
        assert!(listeners.iter().any(|listener| listener == name), "{listeners:?}");
    }
    // With the address come the ports.
    let running = "phase: Running, podIP: 10.0.0.5";
    let publish = |proxy: &Proxy, snapshot| drop(proxy.snapshots.send_replace(Arc::new(snapshot)));
    publish(&proxy, state(service(8080) + &pod(running), 2));
    assert_eq!(proxy.listeners().await, ["virtualInbound"]);
    // A pod that is gone leaves its proxy what it has, to the end of its requests.
    publish(&proxy, state(service(8080), 3));
    publish(&proxy, state(service(8081) + &pod(running), 4));
    assert_eq!(proxy.listeners().await, ["virtualInbound"]);
    proxy.stop().await;
}

/// A listener that a client refuses is a finding about its object until the client takes it, whatever it takes meanwhile.
#[tokio::test]
async fn what_a_client_refuses_is_told_of_the_object() {
    let state = |target, generation| {
        let mut snapshot = snapshot(&(service(target) + &pod("phase: Running, podIP: 10.0.0.5")));
        snapshot.generation = generation;
        Arc::new(snapshot)
    };
    let mut proxy = Proxy::connect(Arc::unwrap_or_clone(state(8080, 1))).await;
    let answer = async |proxy: &mut Proxy, error: &str| {
        let response = tokio::time::timeout(DEADLINE, proxy.answers.next()).await;
        let response = response.expect("there is an answer").unwrap().unwrap();
        let error_detail = (!error.is_empty()).then(|| rpc::Status {
            message: error.to_owned(),
            ..rpc::Status::default()
        });
        let request = DeltaDiscoveryRequest {
            type_url: Kind::Listener.type_url().to_owned(),
            response_nonce: response.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        proxy.requests.send(request).await.unwrap();
    };
    let told = async |proxy: &Proxy, expected: &[&str]| {
        let seen = async {
            loop {
                let found = refusals(&proxy.connections.all());
                let lines: Vec<String> = found
                    .iter()
                    .map(|found| format!("{} {}", found.object, found.message))
                    .collect();
                if lines == expected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.expect("it is told");
    };
    answer(&mut proxy, "virtualOutbound: no such field").await;
    let refused = "Pod/default/a refused by a.default, Listener virtualOutbound: no such field";
    told(&proxy, &[refused]).await;
    proxy.snapshots.send_replace(state(8081, 2));
    answer(&mut proxy, "").await;
    told(&proxy, &[refused]).await;
    proxy.snapshots.send_replace(state(8082, 3));
    answer(&mut proxy, "virtualInbound: too large").await;
    told(
        &proxy,
        &[
            "Pod/default/a refused by a.default, Listener virtualInbound: too large",
            refused,
        ],
    )
    .await;
    proxy.snapshots.send_replace(state(8083, 4));
    answer(&mut proxy, "").await;
    told(&proxy, &[refused]).await;
    proxy.stop().await;
}
