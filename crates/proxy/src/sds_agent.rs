//! Gives a stock Envoy beside it the workload's certificate: Envoy's secret discovery service on a Unix socket.
//!
//! Serves the two secrets that generated configuration names, `default` and `ROOTCA`, over state-of-the-world streams, as
//! Istio's agent does. Whoever may open the socket gets the private key; the socket is open to this user alone.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::Stream;
use prost::{Message, Name};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use weft_base::shutdown::{Shutdown, termination};
use weft_base::workload::{self, IdentityWatch, WorkloadIdentity};
use weft_proto::xds::envoy::config::core::v3::{DataSource, data_source::Specifier};
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use weft_proto::xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weft_proto::xds::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use weft_proto::xds::google::protobuf::Any;
use xxhash_rust::xxh64::xxh64;

use crate::config::SdsAgent;

/// Name of the certificate and key.
const CERTIFICATE: &str = "default";

/// Name of the roots that peers are checked by.
const ROOTS: &str = "ROOTCA";

/// Answers that may wait for a slow reader on one stream.
const QUEUE: usize = 4;

/// Streams on one connection; an Envoy opens one for each secret and place that names it.
const STREAMS: u32 = 4_096;

/// How long streams may take to end when the agent does.
const DRAIN: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
struct Agent {
    identity: IdentityWatch,
    shutdown: Shutdown,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Gets a certificate, keeps it fresh, and serves it until asked to end.
pub async fn run(options: SdsAgent) -> Result<()> {
    let shutdown = Shutdown::new();
    let listener = bind(&options.socket)?;
    tracing::info!(name = "sds", addr = %options.socket.display(), "listening");
    let _socket = Socket(options.socket.clone());
    let identity = workload::follow(options.ca_config()?, &shutdown);
    let signal = termination();
    let served = serve(listener, identity, &shutdown);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        served = &mut served => return served.context("the secret service ended"),
        signal = signal => tracing::info!(signal = signal?, "stopping"),
    }
    shutdown.start();
    // Ended by the deadline at the latest; a stream that does not end by then is cut.
    let _ = tokio::time::timeout(DRAIN, served).await;
    shutdown.drain(DRAIN).await;
    Ok(())
}

async fn serve(
    listener: UnixListener,
    identity: IdentityWatch,
    shutdown: &Shutdown,
) -> Result<(), tonic::transport::Error> {
    let agent = Agent {
        identity,
        shutdown: shutdown.clone(),
    };
    let stop = shutdown.token();
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_service(SecretDiscoveryServiceServer::new(agent))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move { stop.cancelled().await })
        .await
}

/// The socket's file, removed at the end.
#[derive(Debug)]
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody else removed it: nothing is left, which is what was wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds the socket for this user alone. A socket that a killed agent left is replaced, any other file is not.
fn bind(path: &Path) -> Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                anyhow::bail!("another agent serves on {}; give each its own --socket", path.display());
            }
            std::fs::remove_file(path)
        }
        Ok(_) => anyhow::bail!("{} exists and is no socket; give another --socket", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .and_then(|()| UnixListener::bind(path))
    .and_then(|listener| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        Ok(listener)
    })
    .with_context(|| format!("cannot listen on {}", path.display()))
}

// === impl Agent ===

#[tonic::async_trait]
impl SecretDiscoveryService for Agent {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented(
            "secrets are served with api_type GRPC, not DELTA_GRPC",
        ))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, answers) = mpsc::channel(QUEUE);
        let stop = self.shutdown.token();
        let stream = answer(request.into_inner(), self.identity.clone(), sender);
        self.shutdown
            .spawn(async move { stop.run_until_cancelled(stream).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let identity = self.identity.borrow().clone();
        let identity = identity.ok_or_else(|| Status::unavailable("no certificate yet"))?;
        Ok(Response::new(response(&request.get_ref().resource_names, &identity, 1)))
    }
}

/// One stream: answers what is asked for, and again whenever the certificate changes, until the other side goes.
async fn answer(
    mut requests: Streaming<DiscoveryRequest>,
    mut identity: IdentityWatch,
    answers: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut names: Vec<String> = Vec::new();
    let mut nonce = 0_u64;
    loop {
        let send = tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                if let Some(error) = &request.error_detail {
                    tracing::warn!(names = ?request.resource_names, reason = %error.message, "envoy refused a secret");
                }
                // An acknowledgement asks for nothing new.
                let asked = request.resource_names != names;
                names = request.resource_names;
                asked
            }
            changed = identity.changed() => {
                if changed.is_err() {
                    return;
                }
                !names.is_empty()
            }
        };
        let current = identity.borrow_and_update().clone();
        let (true, Some(current)) = (send, current) else {
            continue;
        };
        nonce += 1;
        if answers.send(Ok(response(&names, &current, nonce))).await.is_err() {
            return;
        }
    }
}

/// The secrets of `names` that exist. Envoy waits for others, which nobody here could give.
fn response(names: &[String], identity: &WorkloadIdentity, nonce: u64) -> DiscoveryResponse {
    let secrets = names.iter().filter_map(|name| secret(name, identity));
    let version = xxh64(identity.roots_pem.as_bytes(), xxh64(identity.chain_pem.as_bytes(), 0));
    DiscoveryResponse {
        version_info: format!("{version:016x}"),
        type_url: Secret::type_url(),
        nonce: nonce.to_string(),
        resources: secrets
            .map(|secret| Any {
                type_url: Secret::type_url(),
                value: secret.encode_to_vec(),
            })
            .collect(),
        ..DiscoveryResponse::default()
    }
}

fn secret(name: &str, identity: &WorkloadIdentity) -> Option<Secret> {
    let inline = |pem: &str| {
        Some(DataSource {
            specifier: Some(Specifier::InlineBytes(pem.as_bytes().to_vec())),
            ..DataSource::default()
        })
    };
    let content = match name {
        CERTIFICATE => Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&identity.chain_pem),
            private_key: inline(&identity.key_pem),
            ..TlsCertificate::default()
        }),
        ROOTS => Type::ValidationContext(CertificateValidationContext {
            trusted_ca: inline(&identity.roots_pem),
            ..CertificateValidationContext::default()
        }),
        _ => {
            tracing::warn!(name, "envoy asks for a secret that the agent does not have");
            return None;
        }
    };
    Some(Secret {
        name: name.to_owned(),
        r#type: Some(content),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use hyper_util::rt::TokioIo;
    use tokio::net::UnixStream;
    use tokio::sync::watch;
    use tonic::transport::Endpoint;
    use weft_proto::xds::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;

    use super::*;

    fn identity(chain: &str) -> Arc<WorkloadIdentity> {
        Arc::new(WorkloadIdentity {
            id: "spiffe://cluster.local/ns/default/sa/callme".parse().unwrap(),
            chain_pem: chain.to_owned(),
            key_pem: "key".to_owned(),
            roots_pem: "roots".to_owned(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
        })
    }

    fn ask(name: &str, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            resource_names: vec![name.to_owned()],
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        }
    }

    fn chain(answer: &DiscoveryResponse) -> String {
        let secret = Secret::decode(answer.resources[0].value.as_slice()).unwrap();
        let Some(Type::TlsCertificate(certificate)) = secret.r#type else {
            panic!("no certificate in {secret:?}");
        };
        let Some(Specifier::InlineBytes(bytes)) = certificate.certificate_chain.unwrap().specifier else {
            panic!("not inline");
        };
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn secrets_come_when_there_is_a_certificate_and_again_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sds.sock");
        let shutdown = Shutdown::new();
        let (publish, watch) = watch::channel(None);
        let listener = bind(&path).unwrap();
        let of_server = shutdown.clone();
        shutdown.spawn(async move { serve(listener, watch, &of_server).await });
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://sds")
            .connect_with_connector(connect)
            .await
            .unwrap();
        let (requests, stream) = mpsc::channel(4);
        requests.send(ask("default", "")).await.unwrap();
        let mut client = SecretDiscoveryServiceClient::new(channel);
        let answers = client.stream_secrets(ReceiverStream::new(stream)).await.unwrap();
        let mut answers = answers.into_inner();

        publish.send_replace(Some(identity("first")));
        let first = answers.message().await.unwrap().unwrap();
        assert_eq!((chain(&first).as_str(), first.nonce.as_str()), ("first", "1"));
        requests.send(ask("default", "1")).await.unwrap();
        publish.send_replace(Some(identity("second")));
        let second = answers.message().await.unwrap().unwrap();
        assert_eq!((chain(&second).as_str(), second.nonce.as_str()), ("second", "2"));
        assert_ne!(first.version_info, second.version_info);
        drop((requests, answers, client));
        shutdown.drain(Duration::from_secs(10)).await;
    }

    #[tokio::test]
    async fn only_a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sds.sock");
        let first = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(&path).unwrap_err().to_string().contains("another agent"));
        drop(first);
        bind(&path).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(bind(&file).unwrap_err().to_string().contains("no socket"));
    }

    #[test]
    fn unknown_names_are_left_out() {
        let identity = identity("chain");
        let names = ["ROOTCA".to_owned(), "other".to_owned()];
        assert_eq!(response(&names, &identity, 1).resources.len(), 1);
    }
}
