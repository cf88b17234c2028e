//! Secrets from a scripted secret discovery service: they come, change without closing connections, and broken ones are
//! rejected while the last good one serves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use weft_base::shutdown::Shutdown;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3 as tls;
use weft_proto::xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weft_proto::xds::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use weft_proto::xds::google::protobuf::Any;
use weft_proxy::app;
use weft_proxy::bootstrap;
use weft_proxy::bootstrap::node::node;
use weft_proxy::config::Run;
use weft_proxy::xds::sds::SecretClient;

/// Chain and key.
type Pair = (String, String);

#[derive(Clone)]
struct Server {
    secret: watch::Receiver<Pair>,
    rejections: mpsc::Sender<String>,
}

#[tonic::async_trait]
impl SecretDiscoveryService for Server {
    type DeltaSecretsStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;
    type StreamSecretsStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, out) = mpsc::channel(16);
        let mut server = self.clone();
        let mut requests = request.into_inner();
        #[allow(clippy::disallowed_methods, reason = "ends with its stream")]
        tokio::spawn(async move {
            let mut asked = false;
            let mut version = 0;
            loop {
                tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        if let Some(error) = request.error_detail {
                            server.rejections.send(error.message).await.unwrap();
                            continue;
                        }
                        let first = !asked && request.resource_names == ["web"];
                        asked |= first;
                        if !first {
                            continue;
                        }
                    }
                    changed = server.secret.changed() => {
                        if changed.is_err() || !asked {
                            continue;
                        }
                    }
                }
                version += 1;
                let secret = secret(&server.secret.borrow_and_update());
                let response = DiscoveryResponse {
                    version_info: version.to_string(),
                    nonce: version.to_string(),
                    type_url: Kind::Secret.type_url().to_owned(),
                    resources: vec![secret],
                    ..DiscoveryResponse::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }
}

fn secret((chain, key): &Pair) -> Any {
    let inline = |text: &str| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..core::DataSource::default()
    };
    let message = tls::Secret {
        name: "web".to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(chain)),
            private_key: Some(inline(key)),
            ..tls::TlsCertificate::default()
        })),
    };
    Any {
        type_url: Kind::Secret.type_url().to_owned(),
        value: prost::Message::encode_to_vec(&message),
    }
}

/// A certificate that is its own root.
fn pair() -> (Pair, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pair = (made.cert.pem(), made.signing_key.serialize_pem());
    (pair, made.cert.der().clone())
}

fn bootstrap_text(sds: SocketAddr) -> String {
    serde_json::json!({
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {
            "listeners": [{
                "name": "web",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{
                    "transport_socket": {"name": "tls", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "web", "sds_config": {
                            "resource_api_version": "V3",
                            "api_config_source": {"api_type": "GRPC", "transport_api_version": "V3",
                                "grpc_services": [{"envoy_grpc": {"cluster_name": "secrets"}}]}}}]},
                    }},
                    "filters": [{"name": "http", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "web",
                        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                            {"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
                        "http_filters": [{"name": "router", "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
                    }}],
                }],
            }],
            "clusters": [{"name": "secrets", "http2_protocol_options": {}, "load_assignment": {
                "cluster_name": "secrets", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                    "address": sds.ip().to_string(), "port_value": sds.port()}}}}]}]}}],
        },
    })
    .to_string()
}

/// A connection that trusts one root; an error while the proxy shows another certificate.
async fn connect(to: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

async fn ask(connection: &mut TlsStream<TcpStream>) {
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 4096];
    let length = connection.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..length]);
}

/// Polls until a connection succeeds.
async fn eventually(to: SocketAddr, root: &CertificateDer<'static>) -> TlsStream<TcpStream> {
    let polling = async {
        loop {
            if let Ok(connection) = connect(to, root).await {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_come_change_and_are_rejected() {
    let shutdown = Shutdown::new();
    let ((first, first_root), (second, second_root)) = (pair(), pair());
    let (publish, secret) = watch::channel(first.clone());
    let (rejections, mut rejected) = mpsc::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sds = listener.local_addr().unwrap();
    let server = SecretDiscoveryServiceServer::new(Server { secret, rejections });
    shutdown.spawn(
        tonic::transport::Server::builder()
            .add_service(server)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let loaded = bootstrap::parse("test.json".as_ref(), &bootstrap_text(sds), false).unwrap();
    let options = Run {
        config: "test.json".into(),
        tolerate_unsupported: false,
        concurrency: Some(1),
        drain_time: Duration::from_secs(1),
        minimum_drain_time: Duration::ZERO,
    };
    let (proxy, store) = app::start(&loaded, &options, shutdown.clone()).unwrap();
    let secrets = SecretClient {
        proxy: Arc::downgrade(&proxy),
        store: Arc::new(parking_lot::Mutex::new(store)),
        node: node(&loaded.bootstrap.node),
        except: None,
    };
    let stop = shutdown.token();
    let following = secrets.follow(shutdown.clone());
    shutdown.spawn(async move { stop.run_until_cancelled(following).await });
    let to = proxy.addresses()["web"][0];

    let mut old = eventually(to, &first_root).await;
    ask(&mut old).await;
    publish.send_replace(second.clone());
    let mut new = eventually(to, &second_root).await;
    ask(&mut new).await;
    // A connection of before goes on.
    ask(&mut old).await;

    // A key that is not the certificate's is rejected, and the last good pair serves.
    publish.send_replace((second.0, first.1));
    let reason = tokio::time::timeout(Duration::from_secs(20), rejected.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(
        reason.contains("web: the private key is not that of the certificate"),
        "{reason}"
    );
    let mut last = connect(to, &second_root).await.unwrap();
    ask(&mut last).await;
    shutdown.start();
    shutdown.drain(Duration::from_secs(5)).await;
}
