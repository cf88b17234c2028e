//! A scripted secret discovery service: gives every client one certificate and its roots, as an agent beside Envoy does.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Result;
use futures_util::{Stream, StreamExt};
use prost::{Message, Name};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
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

/// What is served, in PEM: `default` is the certificate with its key, every other name the roots.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) roots: String,
}

/// A running service; ends on drop.
#[derive(Debug)]
pub(crate) struct Sds {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Sds ===

impl Sds {
    /// Serves on a loopback port of its own.
    pub(crate) async fn start(secrets: Secrets) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = SecretDiscoveryServiceServer::new(secrets);
        let mut serving = JoinSet::new();
        serving.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(Self {
            address,
            _serving: serving,
        })
    }
}

// === impl Secrets ===

impl Secrets {
    fn response(&self, names: &[String]) -> DiscoveryResponse {
        let resource = |name: &String| Any {
            type_url: Secret::type_url(),
            value: self.secret(name).encode_to_vec(),
        };
        DiscoveryResponse {
            version_info: "1".to_owned(),
            type_url: Secret::type_url(),
            nonce: "1".to_owned(),
            resources: names.iter().map(resource).collect(),
            ..DiscoveryResponse::default()
        }
    }

    fn secret(&self, name: &str) -> Secret {
        let inline = |pem: &str| {
            Some(DataSource {
                specifier: Some(Specifier::InlineString(pem.to_owned())),
                ..DataSource::default()
            })
        };
        let content = if name == "default" {
            Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(&self.chain),
                private_key: inline(&self.key),
                ..TlsCertificate::default()
            })
        } else {
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: inline(&self.roots),
                ..CertificateValidationContext::default()
            })
        };
        Secret {
            name: name.to_owned(),
            r#type: Some(content),
        }
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("generated configuration asks with api_type GRPC"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let secrets = self.clone();
        // Only a stream's first request asks for something; those with a nonce are acknowledgements.
        let answers = request.into_inner().filter_map(move |request| {
            let answer = request.map(|request| {
                request
                    .response_nonce
                    .is_empty()
                    .then(|| secrets.response(&request.resource_names))
            });
            std::future::ready(answer.transpose())
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Ok(Response::new(self.response(&request.get_ref().resource_names)))
    }
}
