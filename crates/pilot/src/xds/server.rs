//! The aggregated discovery service over gRPC: one task per stream that turns requests and snapshots into pushes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request as Call, Response as Answer, Status, Streaming};
use weft_base::grpc_tls::Peer;
use weft_base::identity::SpiffeId;
use weft_base::shutdown::Shutdown;
use weft_proto::xds::envoy::config::core::v3::Node;
use weft_proto::xds::envoy::service::discovery::v3 as pb;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use weft_proto::xds::google::protobuf::Any;

use super::identities::Identities;
use super::node::{NodeError, ProxyNode};
use super::resource::{KINDS, Kind, Resource};
use super::stream::{Mode, Progress, Push, Request, TypeStream};
use crate::generate::{Generated, generate};
use crate::snapshot::MeshSnapshot;
use crate::view::{ProxySettings, ProxyView};

/// Responses that may wait for a slow client; then the stream waits, and later pushes are merged into one.
const OUTGOING_MAX: usize = 16;

/// The service; clones share one state.
#[derive(Clone, Debug)]
pub struct DiscoveryServer {
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    settings: ProxySettings,
    connections: Connections,
    identities: Identities,
    shutdown: Shutdown,
}

/// What is known of every connected proxy, for debug pages.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    proxies: Arc<Mutex<BTreeMap<u64, Connected>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

/// One connected proxy.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Who it is.
    pub node: ProxyNode,
    /// What was agreed, by type.
    pub types: BTreeMap<Kind, Progress>,
    /// Generation that it was served last.
    pub generation: u64,
}

/// One stream.
#[derive(Debug)]
struct Session {
    server: DiscoveryServer,
    peer: Option<Peer>,
    mode: Mode,
    id: u64,
    node: Option<ProxyNode>,
    types: BTreeMap<Kind, TypeStream>,
    generated: Option<(u64, Arc<Generated>)>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Connections ===

impl Connections {
    /// All connected proxies.
    pub fn all(&self) -> Vec<Connected> {
        self.proxies.lock().values().cloned().collect()
    }
}

// === impl DiscoveryServer ===

impl DiscoveryServer {
    /// A server of the snapshots.
    pub fn new(
        snapshots: watch::Receiver<Arc<MeshSnapshot>>,
        settings: ProxySettings,
        connections: Connections,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            snapshots,
            settings,
            connections,
            identities: Identities::Unproven,
            shutdown,
        }
    }

    /// The same server, for clients that prove who they are in this way.
    #[must_use]
    pub fn with(mut self, identities: Identities) -> Self {
        self.identities = identities;
        self
    }

    fn serve<I, O>(
        &self,
        call: Call<Streaming<I>>,
        peer: Option<Peer>,
        mode: Mode,
        read: fn(I) -> (String, Option<Node>, Request),
        write: fn(Kind, Push) -> O,
    ) -> Answer<Responses<O>>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (sender, responses) = mpsc::channel(OUTGOING_MAX);
        let session = Session {
            server: self.clone(),
            peer,
            mode,
            id: self.connections.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            node: None,
            types: BTreeMap::new(),
            generated: None,
        };
        let stop = self.shutdown.token();
        let requests = call.into_inner();
        self.shutdown.spawn(async move {
            stop.run_until_cancelled(session.run(requests, sender, read, write))
                .await;
        });
        Answer::new(Box::pin(ReceiverStream::new(responses)))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for DiscoveryServer {
    type StreamAggregatedResourcesStream = Responses<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        call: Call<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Answer<Self::StreamAggregatedResourcesStream>, Status> {
        let peer = self.identities.peer(&call).await?;
        Ok(self.serve(call, peer, Mode::StateOfTheWorld, read_sotw, write_sotw))
    }

    async fn delta_aggregated_resources(
        &self,
        call: Call<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Answer<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = self.identities.peer(&call).await?;
        Ok(self.serve(call, peer, Mode::Delta, read_delta, write_delta))
    }
}

// === impl Session ===

impl Session {
    async fn run<I, O>(
        mut self,
        mut requests: Streaming<I>,
        sender: mpsc::Sender<Result<O, Status>>,
        read: fn(I) -> (String, Option<Node>, Request),
        write: fn(Kind, Push) -> O,
    ) {
        let mut snapshots = self.server.snapshots.clone();
        snapshots.mark_changed();
        loop {
            tokio::select! {
                message = requests.next() => {
                    let Some(Ok(message)) = message else {
                        return;
                    };
                    let (type_url, node, request) = read(message);
                    if let Err(error) = self.request(&type_url, node.as_ref(), &request) {
                        tracing::warn!(%error, peer = ?self.peer, "discovery stream refused");
                        // A client that is gone does not need the reason.
                        let _ = sender.send(Err(status(&error))).await;
                        return;
                    }
                }
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            let snapshot = snapshots.borrow_and_update().clone();
            for (kind, push) in self.pushes(&snapshot) {
                if sender.send(Ok(write(kind, push))).await.is_err() {
                    return;
                }
            }
        }
    }

    fn request(&mut self, type_url: &str, node: Option<&Node>, request: &Request) -> Result<(), NodeError> {
        if self.node.is_none() {
            let node = ProxyNode::parse(node)?;
            if let Some(certificate) = self.peer.as_ref().and_then(|peer| peer.identity.as_ref()) {
                node.check_identity(certificate)?;
                self.check_account(&node, certificate)?;
            }
            tracing::info!(node = %node.id, mode = ?self.mode, "proxy connected");
            self.node = Some(node);
        }
        let Some(kind) = Kind::from_type_url(type_url) else {
            tracing::debug!(type_url, "type is not served");
            return Ok(());
        };
        let stream = self
            .types
            .entry(kind)
            .or_insert_with(|| TypeStream::new(kind, self.mode, request));
        stream.request(request);
        if let (Some(error), Some(node)) = (&request.error, &self.node) {
            tracing::warn!(node = %node.id, ?kind, %error, "configuration rejected by the proxy");
        }
        Ok(())
    }

    /// A client may be only a workload whose service account it proved.
    fn check_account(&self, node: &ProxyNode, certificate: &SpiffeId) -> Result<(), NodeError> {
        let snapshot = self.server.snapshots.borrow();
        match snapshot.workloads.get(&node.namespace, &node.pod) {
            Some(workload) if *workload.service_account != *certificate.service_account() => {
                let account = &workload.service_account;
                Err(NodeError::Identity {
                    id: node.id.clone(),
                    claimed: format!("ns/{}/sa/{account}", node.namespace),
                    certificate: certificate.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What the client has to be sent now, in the order of types.
    fn pushes(&mut self, snapshot: &Arc<MeshSnapshot>) -> Vec<(Kind, Push)> {
        let Some(node) = self.node.clone() else {
            return Vec::new();
        };
        let generated = self.generated(&node, snapshot);
        let mut pushes = Vec::new();
        for kind in KINDS {
            if let Some(stream) = self.types.get_mut(&kind)
                && let Some(push) = stream.push(generated.of(kind))
            {
                pushes.push((kind, push));
            }
        }
        let types = self
            .types
            .iter()
            .map(|(kind, stream)| (*kind, stream.progress().clone()))
            .collect();
        let connected = Connected {
            node,
            types,
            generation: snapshot.generation,
        };
        self.server.connections.proxies.lock().insert(self.id, connected);
        pushes
    }

    /// Everything for this proxy; made once per snapshot. A proxy that nobody registered gets nothing until somebody does.
    fn generated(&mut self, node: &ProxyNode, snapshot: &Arc<MeshSnapshot>) -> Arc<Generated> {
        if let Some((generation, generated)) = &self.generated
            && *generation == snapshot.generation
        {
            return generated.clone();
        }
        let view = ProxyView::new(
            snapshot.clone(),
            &node.namespace,
            &node.pod,
            self.server.settings.clone(),
        );
        let view = view.map(|view| ProxyView {
            dialect: node.dialect,
            ..view
        });
        let generated = Arc::new(view.as_ref().map(generate).unwrap_or_default());
        self.generated = Some((snapshot.generation, generated.clone()));
        generated
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.connections.proxies.lock().remove(&self.id);
    }
}

fn status(error: &NodeError) -> Status {
    match error {
        NodeError::Identity { .. } => Status::permission_denied(error.to_string()),
        NodeError::Id(_) | NodeError::Missing => Status::invalid_argument(error.to_string()),
        NodeError::Kind(_) => Status::unimplemented(error.to_string()),
    }
}

fn texts(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn read_sotw(message: pb::DiscoveryRequest) -> (String, Option<Node>, Request) {
    let request = Request {
        nonce: message.response_nonce,
        error: message.error_detail.map(|detail| detail.message),
        names: texts(message.resource_names),
        ..Request::default()
    };
    (message.type_url, message.node, request)
}

fn read_delta(message: pb::DeltaDiscoveryRequest) -> (String, Option<Node>, Request) {
    let known = message.initial_resource_versions.into_iter();
    let request = Request {
        nonce: message.response_nonce,
        error: message.error_detail.map(|detail| detail.message),
        subscribe: texts(message.resource_names_subscribe),
        unsubscribe: texts(message.resource_names_unsubscribe),
        known: known
            .map(|(name, version)| (Arc::from(name), Arc::from(version)))
            .collect(),
        ..Request::default()
    };
    (message.type_url, message.node, request)
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.type_url.to_string(),
        value: resource.bytes.to_vec(),
    }
}

fn write_sotw(kind: Kind, push: Push) -> pb::DiscoveryResponse {
    pb::DiscoveryResponse {
        version_info: push.version,
        resources: push.resources.iter().map(|(_, resource)| any(resource)).collect(),
        type_url: kind.type_url().to_owned(),
        nonce: push.nonce,
        ..pb::DiscoveryResponse::default()
    }
}

fn write_delta(kind: Kind, push: Push) -> pb::DeltaDiscoveryResponse {
    let resource = |(name, resource): &(Arc<str>, Resource)| pb::Resource {
        name: name.to_string(),
        version: resource.version.to_string(),
        resource: Some(any(resource)),
        ..pb::Resource::default()
    };
    pb::DeltaDiscoveryResponse {
        system_version_info: push.version,
        resources: push.resources.iter().map(resource).collect(),
        type_url: kind.type_url().to_owned(),
        removed_resources: push.removed.iter().map(ToString::to_string).collect(),
        nonce: push.nonce,
        ..pb::DeltaDiscoveryResponse::default()
    }
}
