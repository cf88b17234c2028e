//! Who gets key material: those alone who proved to be the workload that it is for, at every moment.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ClientConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status, Streaming};
use weft_base::shutdown::{Drained, Shutdown};
use weft_base::spiffe::{Allowed, client_verifier};
use weft_base::{grpc_tls, tls};
use weft_mesh::snapshot::MeshSnapshot;
use weft_mesh::view::ProxySettings;
use weft_pilot::metrics::Metrics;
use weft_pilot::xds::connections::Connections;
use weft_pilot::xds::identities::Identities;
use weft_pilot::xds::server::DiscoveryServer;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use weft_proto::xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::snapshot;

const DEADLINE: Duration = Duration::from_secs(20);

/// A certificate authority of the mesh.
struct Mesh(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key.
struct Pair {
    chain: String,
    key: String,
}

impl Mesh {
    fn new() -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap())
    }

    fn leaf(&self, name: SanType) -> Pair {
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        Pair {
            chain: leaf.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Who a client is, as `namespace/account`; nobody without.
    fn client(&self, who: &str) -> Arc<ClientConfig> {
        let roots = tls::roots(self.0.pem().as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match who.split_once('/') {
            None => config.with_no_client_auth(),
            Some((namespace, account)) => {
                let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
                let pair = self.leaf(SanType::URI(id.try_into().unwrap()));
                let chain = tls::certificates(pair.chain.as_bytes()).unwrap();
                let key = tls::private_key(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// A discovery server in plaintext and over TLS.
struct Pilot {
    mesh: Mesh,
    shutdown: Shutdown,
    snapshots: watch::Sender<Arc<MeshSnapshot>>,
    plain: SocketAddr,
    secured: SocketAddr,
    _publish: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
}

impl Pilot {
    async fn start(first: MeshSnapshot) -> Self {
        let (mesh, shutdown) = (Mesh::new(), Shutdown::new());
        let (snapshots, receiver) = watch::channel(Arc::new(first));
        let settings = ProxySettings {
            access_log_file: String::new(),
            collector: None,
            spans: None,
            sampling_ppm: 0,
        };
        let (connections, metrics) = (Connections::default(), Metrics::default());
        let server = DiscoveryServer::new(receiver, settings, connections, metrics, shutdown.clone());
        let bind = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            (listener, address)
        };
        let (listener, plain) = bind().await;
        let stop = shutdown.token();
        let serving = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(server.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { stop.cancelled().await });
        shutdown.spawn(serving);
        let (listener, secured) = bind().await;
        let own = mesh.leaf(SanType::IpAddress(secured.ip()));
        let roots = tls::roots(mesh.0.pem().as_bytes()).unwrap();
        let allowed = Allowed::TrustDomain("cluster.local".parse().unwrap());
        let clients = client_verifier(roots, allowed, false).unwrap();
        let config = grpc_tls::server_config(&own.chain, &own.key, clients).unwrap();
        let (publish, config) = watch::channel(Some(config));
        let incoming = grpc_tls::incoming(listener, config, &shutdown);
        let stop = shutdown.token();
        let serving = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(
                server.with(Identities::Proven(None)),
            ))
            .serve_with_incoming_shutdown(incoming, async move { stop.cancelled().await });
        shutdown.spawn(serving);
        Self {
            mesh,
            shutdown,
            snapshots,
            plain,
            secured,
            _publish: publish,
        }
    }

    /// The stream of a client that says to be a pod and proves to be somebody; `plain` is over plaintext.
    async fn ask(&self, pod: &str, who: &str) -> Stream {
        let channel = if who == "plain" {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.plain)).unwrap();
            endpoint.connect().await.unwrap()
        } else {
            let address = self.secured.to_string();
            grpc_tls::connect(&address, self.mesh.client(who)).await.unwrap()
        };
        Stream::open(channel, pod).await
    }
}

/// A client that asks for listeners and for a credential.
struct Stream {
    answers: Result<Streaming<DeltaDiscoveryResponse>, Status>,
    _requests: mpsc::Sender<DeltaDiscoveryRequest>,
}

impl Stream {
    async fn open(channel: Channel, pod: &str) -> Self {
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let (requests, outgoing) = mpsc::channel(4);
        let node = core::Node {
            id: format!("router~10.0.0.9~{pod}~edge.svc.cluster.local"),
            user_agent_name: "weft-proxy".to_owned(),
            ..core::Node::default()
        };
        let secret = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: Kind::Secret.type_url().to_owned(),
            resource_names_subscribe: vec!["kubernetes://cert".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(secret).await.unwrap();
        let listeners = DeltaDiscoveryRequest {
            type_url: Kind::Listener.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(listeners).await.unwrap();
        let answers = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await;
        Self {
            answers: answers.map(tonic::Response::into_inner),
            _requests: requests,
        }
    }

    /// What comes next until listeners or an end: `secret`, then `listeners`, or the code of the end.
    async fn next(&mut self) -> Vec<String> {
        let answers = match &mut self.answers {
            Ok(answers) => answers,
            Err(status) => return vec![format!("{:?}", status.code())],
        };
        let mut seen = Vec::new();
        loop {
            let answer = tokio::time::timeout(DEADLINE, answers.next())
                .await
                .expect("something comes");
            match answer {
                Some(Ok(answer)) if answer.type_url == Kind::Secret.type_url() => {
                    seen.extend(answer.resources.iter().map(|_| "secret".to_owned()));
                }
                Some(Ok(_)) => {
                    seen.push("listeners".to_owned());
                    seen.sort_unstable();
                    return seen;
                }
                Some(Err(status)) => {
                    seen.push(format!("{:?}", status.code()));
                    return seen;
                }
                None => {
                    seen.push("end".to_owned());
                    return seen;
                }
            }
        }
    }
}

/// A gateway's pod of a service account, with a credential beside it.
fn mesh(pod: &str, account: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: edge, labels: {{istio: ingressgateway}}}}\n\
         spec: {{serviceAccountName: {account}, containers: [{{name: istio-proxy, image: y, args: [gateway]}}]}}\n\
         status: {{phase: Running, podIP: 10.0.0.9}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: edge, namespace: edge}}\n\
         spec: {{selector: {{istio: ingressgateway}}, ports: [{{name: https, port: 443}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: front, namespace: edge}}\nspec:\n  \
         selector: {{istio: ingressgateway}}\n  servers:\n  - {{port: {{number: 443, name: https, protocol: HTTPS}}, \
         hosts: ['*'], tls: {{mode: SIMPLE, credentialName: cert}}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: edge}}\n\
         data: {{tls.crt: YQ==, tls.key: YQ==}}\n"
    )
}

fn state(text: &str, generation: u64) -> MeshSnapshot {
    let mut snapshot = snapshot(text);
    snapshot.generation = generation;
    snapshot
}

#[tokio::test]
async fn keys_are_for_those_who_proved_whose_they_are() {
    let pilot = Pilot::start(state(&mesh("edge-1", "edge"), 1)).await;
    for (pod, who, expected) in [
        ("edge-1.edge", "edge/edge", ["listeners", "secret"].as_slice()),
        ("edge-1.edge", "plain", &["listeners"]),
        ("edge-1.edge", "nobody", &["Unauthenticated"]),
        ("edge-1.edge", "edge/other", &["PermissionDenied"]),
        ("edge-1.edge", "other/edge", &["PermissionDenied"]),
        ("edge-1.other", "edge/edge", &["PermissionDenied"]),
    ] {
        let mut stream = pilot.ask(pod, who).await;
        assert_eq!(stream.next().await, expected, "{pod} as {who}");
    }
    assert_eq!(pilot.shutdown.drain(DEADLINE).await, Drained::Complete);
}

/// A client that takes a gateway's name before there is such a gateway, or keeps it when it is another's.
#[tokio::test]
async fn who_a_client_is_is_asked_of_every_snapshot() {
    let publish = |pilot: &Pilot, snapshot| drop(pilot.snapshots.send_replace(Arc::new(snapshot)));
    let pilot = Pilot::start(state(&mesh("edge-1", "edge"), 1)).await;
    let mut early = pilot.ask("edge-2.edge", "edge/thief").await;
    let mut own = pilot.ask("edge-1.edge", "edge/edge").await;
    assert_eq!(own.next().await, ["listeners", "secret"]);
    // The name that was taken becomes that of a gateway.
    publish(
        &pilot,
        state(&mesh("edge-2", "edge").replace("10.0.0.9", "10.0.0.10"), 2),
    );
    assert_eq!(early.next().await, [format!("{:?}", Code::PermissionDenied)]);
    // The name is given to another account, with other ports so that there would be something to send.
    publish(&pilot, state(&mesh("edge-1", "other").replace("443", "444"), 3));
    assert_eq!(own.next().await, [format!("{:?}", Code::PermissionDenied)]);
    assert_eq!(pilot.shutdown.drain(DEADLINE).await, Drained::Complete);
}
