//! The aggregated discovery service over gRPC: one task per stream that turns requests and snapshots into pushes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request as Call, Response as Answer, Status, Streaming};
use weft_base::grpc_tls::Peer;
use weft_base::identity::SpiffeId;
use weft_base::shutdown::Shutdown;
use weft_mesh::generate::{Generated, compose};
use weft_mesh::node::ProxyNode;
use weft_mesh::resource::ResourceSet;
use weft_mesh::resource::layer::Resources;
use weft_mesh::snapshot::MeshSnapshot;
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::{Kind, Mode};
use weft_proto::xds::envoy::config::core::v3::Node;
use weft_proto::xds::envoy::service::discovery::v3 as pb;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;

use super::connections::{Connected, Connections};
use super::findings::refused;
use super::identities::Identities;
use super::message::{read_delta, read_sotw, write_delta, write_sotw};
use super::node::{self, NodeError};
use super::scopes::Cache;
use super::stream::{Push, Request, TypeStream};
use crate::metrics::Metrics;

/// Responses that may wait for a slow client; then the stream waits, and later pushes are merged into one.
const OUTGOING_MAX: usize = 16;

/// Pause before a proxy is looked for again that no snapshot knows.
const UNREGISTERED_PAUSE: Duration = Duration::from_millis(200);

/// The service; clones share one state.
#[derive(Clone, Debug)]
pub struct DiscoveryServer {
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    settings: ProxySettings,
    connections: Connections,
    metrics: Metrics,
    cache: Cache,
    identities: Identities,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Session {
    server: DiscoveryServer,
    peer: Option<Peer>,
    mode: Mode,
    id: u64,
    node: Option<ProxyNode>,
    types: BTreeMap<Kind, TypeStream>,
    sent_at: BTreeMap<Kind, SystemTime>,
    since: SystemTime,
    address: Option<SocketAddr>,
    generated: Option<(ProxyView, Arc<Generated>)>,
    /// Birth of the oldest change that the client has not accepted yet.
    converging: Option<Instant>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl DiscoveryServer ===

impl DiscoveryServer {
    /// A server of the snapshots.
    pub fn new(
        snapshots: watch::Receiver<Arc<MeshSnapshot>>,
        settings: ProxySettings,
        connections: Connections,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            snapshots,
            settings,
            connections,
            metrics,
            cache: Cache::default(),
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
            id: self.connections.next_id(),
            node: None,
            types: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            since: SystemTime::now(),
            address: call.remote_addr(),
            generated: None,
            converging: None,
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
                        return self.refuse(&error, &sender).await;
                    }
                }
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                // A pod that has no address yet makes no snapshot that is told.
                () = tokio::time::sleep(UNREGISTERED_PAUSE), if self.node.is_some() && self.generated.is_none() => {}
            }
            let snapshot = snapshots.borrow_and_update().clone();
            let pushes = match self.pushes(&snapshot) {
                Ok(pushes) => pushes,
                Err(error) => return self.refuse(&error, &sender).await,
            };
            for (kind, push) in pushes {
                if sender.send(Ok(write(kind, push))).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Ends the stream with the reason, which a client that is gone does not need.
    async fn refuse<O>(&self, error: &NodeError, sender: &mpsc::Sender<Result<O, Status>>) {
        tracing::warn!(%error, peer = ?self.peer, "discovery stream refused");
        self.server.metrics.failed();
        let _ = sender.send(Err(status(error))).await;
    }

    fn request(&mut self, type_url: &str, node: Option<&Node>, request: &Request) -> Result<(), NodeError> {
        if self.node.is_none() {
            let node = node::read(node)?;
            if let Some(certificate) = self.proven() {
                node::check_identity(&node, certificate)?;
            }
            tracing::info!(node = %node.id, mode = ?self.mode, "proxy connected");
            self.server.metrics.clients(&node.version, 1);
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
        if request.nonce.is_empty() {
            self.server.metrics.requested();
        } else if !stream.awaits(&request.nonce) {
            self.server.metrics.expired(kind);
        }
        stream.request(request);
        if let (Some(error), Some(node)) = (&request.error, &self.node) {
            tracing::warn!(node = %node.id, ?kind, %error, "configuration rejected by the proxy");
            self.server.metrics.rejected(kind);
            // What was rejected will never be accepted: the time until then says nothing.
            self.converging = None;
        } else if self.types.values().all(TypeStream::is_settled)
            && let Some(born) = self.converging.take()
        {
            self.server.metrics.converged(born.elapsed());
        }
        Ok(())
    }

    /// Who the client proved to be, if it did.
    fn proven(&self) -> Option<&SpiffeId> {
        self.peer.as_ref().and_then(|peer| peer.identity.as_ref())
    }

    /// A client may be only a workload whose service account it proved. Asked of every snapshot: the workload that a client claims to be
    /// may come after it, or change.
    fn check_account(&self, node: &ProxyNode, snapshot: &MeshSnapshot) -> Result<(), NodeError> {
        let Some(certificate) = self.proven() else {
            return Ok(());
        };
        match snapshot.workload_of(&node.namespace, &node.pod, node.address) {
            Some(workload)
                if *workload.service_account != *certificate.service_account()
                    || *workload.key.namespace != *certificate.namespace() =>
            {
                let (namespace, account) = (&workload.key.namespace, &workload.service_account);
                Err(NodeError::Identity {
                    id: node.id.clone(),
                    claimed: format!("ns/{namespace}/sa/{account}"),
                    certificate: certificate.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What the client has to be sent now, in the order of types.
    fn pushes(&mut self, snapshot: &Arc<MeshSnapshot>) -> Result<Vec<(Kind, Push)>, NodeError> {
        let Some(node) = self.node.clone() else {
            return Ok(Vec::new());
        };
        self.check_account(&node, snapshot)?;
        let born = snapshot.published.get().copied().map(Instant::from_std);
        let is_new = self
            .generated
            .as_ref()
            .is_none_or(|(view, _)| view.snapshot.generation != snapshot.generation);
        if let Some(born) = born.filter(|_| is_new) {
            self.server.metrics.queued(born.elapsed());
        }
        let mut pushes = Vec::new();
        let Some(generated) = self.generated(&node, snapshot) else {
            self.report(node, snapshot.generation);
            return Ok(pushes);
        };
        // Key material is for those who proved who they are, and not for the wire as it is.
        let nothing = Resources::own(ResourceSet::new());
        let is_proven = self.proven().is_some();
        for kind in Kind::ALL {
            let is_withheld = kind == Kind::Secret && !is_proven;
            let resources = if is_withheld { &nothing } else { generated.of(kind) };
            if let Some(stream) = self.types.get_mut(&kind)
                && let Some(push) = stream.push(resources)
            {
                pushes.push((kind, push));
            }
        }
        // What is gone goes last: until then routes of before may lead to it.
        for kind in Kind::ALL {
            let parting = self.types.get_mut(&kind).and_then(TypeStream::part);
            pushes.extend(parting.map(|push| (kind, push)));
        }
        for (kind, push) in &pushes {
            let bytes = push.resources.iter().map(|(_, resource)| resource.bytes.len()).sum();
            let after = born.filter(|_| is_new).map(|born| born.elapsed());
            self.server.metrics.pushed(*kind, bytes, after);
            self.sent_at.insert(*kind, SystemTime::now());
        }
        if is_new && !pushes.is_empty() {
            self.converging = self.converging.or(born);
        }
        self.report(node, snapshot.generation);
        Ok(pushes)
    }

    /// Tells the debug pages.
    fn report(&self, node: ProxyNode, generation: u64) {
        let progress = self
            .types
            .iter()
            .map(|(kind, stream)| (*kind, stream.progress().clone()));
        let connected = Connected {
            node,
            types: progress.collect(),
            refused: refused(&self.types, self.generated.as_ref().map(|(_, generated)| &**generated)),
            sent_at: self.sent_at.clone(),
            generation,
            id: self.id,
            since: self.since,
            address: self.address,
        };
        self.server.connections.insert(connected);
    }

    /// Everything for this proxy; made once per snapshot. Nothing, not even an empty answer, for one that nobody registered: a pod's
    /// proxy may ask before its address is known, and must not take itself for ready. One that was registered keeps what it has.
    fn generated(&mut self, node: &ProxyNode, snapshot: &Arc<MeshSnapshot>) -> Option<Arc<Generated>> {
        if let Some((view, generated)) = &self.generated
            && view.snapshot.generation == snapshot.generation
        {
            return Some(generated.clone());
        }
        let Some(view) = ProxyView::of(snapshot.clone(), node, self.server.settings.clone()) else {
            tracing::debug!(node = %node.id, "the proxy waits until its workload is registered");
            return None;
        };
        let shared = self.server.cache.shared(&view);
        let before = self.generated.as_ref().map(|(view, generated)| (view, &**generated));
        let generated = Arc::new(compose(&view, &shared, before));
        self.generated = Some((view, generated.clone()));
        Some(generated)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.connections.remove(self.id);
        if let Some(node) = &self.node {
            self.server.metrics.clients(&node.version, -1);
        }
    }
}

fn status(error: &NodeError) -> Status {
    match error {
        NodeError::Identity { .. } => Status::permission_denied(error.to_string()),
        NodeError::Id(_) | NodeError::Missing => Status::invalid_argument(error.to_string()),
        NodeError::Kind(_) => Status::unimplemented(error.to_string()),
    }
}
