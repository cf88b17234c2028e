//! A scripted discovery service: sends a proxy what the test says, when it says so, and hears the answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use weft_proto::ads::Kind;
use weft_proto::descriptors;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_proto::xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use weft_proto::xds::google::protobuf::Any;

const LIMIT: Duration = Duration::from_secs(20);

/// A running service for one stream; ends on drop.
#[derive(Debug)]
pub(crate) struct Ads {
    pub(crate) address: SocketAddr,
    answers: mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>,
    requests: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
    sent: u64,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

type Outgoing = UnboundedReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

/// What the one stream gets, until it comes, and where its requests go.
struct Script {
    outgoing: Mutex<Option<Outgoing>>,
    incoming: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
}

// === impl Ads ===

impl Ads {
    /// Serves on a loopback port of its own.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (answers, outgoing) = mpsc::unbounded_channel();
        let (incoming, requests) = mpsc::unbounded_channel();
        let script = Script {
            outgoing: Mutex::new(Some(UnboundedReceiverStream::new(outgoing))),
            incoming,
        };
        let mut serving = JoinSet::new();
        serving.spawn(
            tonic::transport::Server::builder()
                .add_service(AggregatedDiscoveryServiceServer::from_arc(Arc::new(script)))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(Self {
            address,
            answers,
            requests,
            sent: 0,
            _serving: serving,
        })
    }

    /// Sends resources, each with its name inside; `cluster_name` where it has no `name`. Gives what the proxy refuses of them, once they
    /// are in use.
    pub(crate) async fn send(&mut self, kind: Kind, resources: &[Value]) -> Result<Option<String>> {
        self.sent += 1;
        let nonce = self.sent.to_string();
        let resources = resources.iter().map(|value| resource(kind, value, &nonce));
        let response = DeltaDiscoveryResponse {
            resources: resources.collect::<Result<_>>()?,
            type_url: kind.type_url().to_owned(),
            nonce: nonce.clone(),
            ..DeltaDiscoveryResponse::default()
        };
        self.answers.send(Ok(response))?;
        let answer = async {
            loop {
                let request = self.requests.recv().await.context("the stream ended")?;
                if request.response_nonce == nonce {
                    return Ok(request.error_detail.map(|status| status.message));
                }
            }
        };
        let answered = tokio::time::timeout(LIMIT, answer).await;
        answered.with_context(|| format!("no answer to {kind:?} {nonce}"))?
    }
}

fn resource(kind: Kind, value: &Value, version: &str) -> Result<Resource> {
    let type_name = kind.type_url().rsplit('/').next().unwrap_or_default();
    let descriptor = descriptors::pool().get_message_by_name(type_name).context("type")?;
    let message = prost_reflect::DynamicMessage::deserialize(descriptor, value)?;
    let name = value["name"].as_str().or_else(|| value["cluster_name"].as_str());
    Ok(Resource {
        name: name.context("a resource has a name")?.to_owned(),
        version: version.to_owned(),
        resource: Some(Any {
            type_url: kind.type_url().to_owned(),
            value: message.encode_to_vec(),
        }),
        ..Resource::default()
    })
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Script {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outgoing;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the bootstrap asks for deltas"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let outgoing = self.outgoing.lock().take();
        let outgoing = outgoing.ok_or_else(|| Status::unavailable("there was a stream already"))?;
        let incoming = self.incoming.clone();
        let mut requests = request.into_inner();
        #[expect(clippy::disallowed_methods, reason = "it ends with the stream")]
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                if incoming.send(request).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(outgoing))
    }
}
