//! The gRPC shell of the xDS client: connects, exchanges messages, applies what comes, and connects again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint as Dial};
use weft_base::backoff::Backoff;
use weft_base::readiness::Blocker;
use weft_proto::ads::{Kind, Mode};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::service::discovery::v3 as discovery;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::google::protobuf as pb;
use weft_proto::xds::google::rpc::Status as RpcStatus;

use super::config_store::{ConfigStore, Resource};
use super::session::{Request, Response, Session};
use super::warming::FETCH_TIMEOUT;
use crate::bootstrap::node::node;
use crate::compile::Reject;
use crate::dataplane::Proxy;
use crate::dataplane::control::Discovered;
use crate::model::bootstrap::{Ads, Bootstrap};
use crate::upstream::grpc_channel::{self, DialError};

/// Largest response in bytes; a mesh of thousands of services has tens of megabytes.
const RESPONSE_BYTES_MAX: usize = 200 << 20;

/// Messages that may wait to be sent.
pub(super) const OUTGOING_MAX: usize = 64;

/// Pauses after streams that came to nothing (Envoy's, for its own).
pub(super) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// First answers are taken for whole once nothing came for so long: the protocol does not say where one that comes in pieces ends.
const QUIET: Duration = Duration::from_millis(50);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("server answered {0}")]
    Status(#[from] tonic::Status),
    #[error("server closed the stream")]
    Closed,
}

/// A client of the aggregated discovery service: what lives over reconnects.
#[derive(Debug)]
pub struct Client {
    ads: Ads,
    node: core::Node,
    proxy: std::sync::Weak<Proxy>,
    store: Arc<Mutex<ConfigStore>>,
    session: Session,
    /// What holds readiness back.
    waiting: BTreeMap<Kind, Blocker>,
    /// Until when secrets are waited for, once all else is live.
    secrets_until: Option<Instant>,
    /// When the first answers are whole, if nothing comes before.
    quiet_at: Option<Instant>,
}

/// Connects to an endpoint of a cluster.
pub(super) async fn dial(proxy: &std::sync::Weak<Proxy>, name: &Arc<str>) -> Result<Channel, StreamEnd> {
    let clusters = proxy.upgrade().map(|proxy| proxy.runtime().clusters().clone());
    let clusters = clusters.ok_or(StreamEnd::Closed)?;
    let options = Dial::from_static("http://xds")
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_while_idle(true);
    Ok(grpc_channel::dial(&clusters, name, options).await?)
}

// === impl Client ===

impl Client {
    /// A client of the aggregated discovery service. From now on the proxy is not ready before all that the first answers name is live
    /// or refused (clusters, listeners, and what these wait for), however late [`Self::follow`] begins.
    pub fn new(ads: Ads, bootstrap: &Bootstrap, proxy: std::sync::Weak<Proxy>, store: Arc<Mutex<ConfigStore>>) -> Self {
        let mode = if ads.delta { Mode::Delta } else { Mode::StateOfTheWorld };
        let mut wildcard = Vec::new();
        if bootstrap.dynamic.clusters {
            wildcard.push(Kind::Cluster);
        }
        if bootstrap.dynamic.listeners {
            wildcard.push(Kind::Listener);
        }
        if store.lock().follows_names() {
            wildcard.push(Kind::Names);
        }
        let block = |kind: &Kind| {
            let name = match kind {
                Kind::Cluster => "clusters",
                Kind::Names => "names",
                Kind::ApplicationEnded | Kind::Listener | Kind::Endpoints | Kind::Routes | Kind::Secret => "listeners",
            };
            Some((*kind, proxy.upgrade()?.readiness().block(name)))
        };
        let of_traffic = [Kind::Cluster, Kind::Listener];
        store
            .lock()
            .expect(of_traffic.into_iter().filter(|kind| wildcard.contains(kind)));
        Self {
            waiting: wildcard.iter().filter_map(block).collect(),
            node: node(&bootstrap.node),
            ads,
            proxy,
            store,
            session: Session::new(mode, &wildcard),
            secrets_until: None,
            quiet_at: None,
        }
    }

    /// Follows the service until the proxy stops.
    pub async fn follow(mut self) {
        let mut failures = 0_u32;
        loop {
            let mut connected = false;
            let end = self.stream(&mut connected).await;
            if self.proxy.strong_count() == 0 {
                return;
            }
            failures = if connected { 1 } else { failures.saturating_add(1) };
            let Err(end) = end;
            tracing::warn!(error = %end, failures, "no discovery stream, the last configuration stays");
            tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
        }
    }

    /// One stream from connect to its end.
    async fn stream(&mut self, connected: &mut bool) -> Result<std::convert::Infallible, StreamEnd> {
        let channel = dial(&self.proxy, &self.ads.cluster).await?;
        let client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let opening = {
            for kind in Kind::ALL {
                let wanted = self.store.lock().wanted(kind);
                // Before the stream is open, this only notes the names; `open` asks for them.
                let _ = self.session.ask_for(kind, wanted);
            }
            self.session.open()
        };
        if self.ads.delta {
            self.delta(client, opening, connected).await
        } else {
            self.sotw(client, opening, connected).await
        }
    }

    async fn delta(
        &mut self,
        mut client: AggregatedDiscoveryServiceClient<Channel>,
        opening: Vec<Request>,
        connected: &mut bool,
    ) -> Result<std::convert::Infallible, StreamEnd> {
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let mut node = Some(self.node.clone());
        for request in opening {
            send(&sender, delta_request(request, node.take())).await?;
        }
        let mut changes = self.secret_changes();
        let mut incoming = client
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        loop {
            let requests = tokio::select! {
                message = incoming.next() => {
                    let message = message.ok_or(StreamEnd::Closed)??;
                    *connected = true;
                    let resources: Vec<Resource> = message.resources.into_iter().filter_map(delta_resource).collect();
                    let removed: Vec<Arc<str>> = message.removed_resources.iter().map(|name| Arc::from(name.as_str())).collect();
                    let response = Response { nonce: message.nonce, removed, ..Response::default() };
                    self.apply(&message.type_url, &resources, response, false)
                }
                _ = changes.changed() => self.secrets_changed(),
                () = self.warming_ends() => self.give_up_waiting(),
            };
            for request in requests {
                send(&sender, delta_request(request, node.take())).await?;
            }
        }
    }

    async fn sotw(
        &mut self,
        mut client: AggregatedDiscoveryServiceClient<Channel>,
        opening: Vec<Request>,
        connected: &mut bool,
    ) -> Result<std::convert::Infallible, StreamEnd> {
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let mut node = Some(self.node.clone());
        for request in opening {
            send(&sender, sotw_request(request, node.take())).await?;
        }
        let mut changes = self.secret_changes();
        let mut incoming = client
            .stream_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        loop {
            let requests = tokio::select! {
                message = incoming.next() => {
                    let message = message.ok_or(StreamEnd::Closed)??;
                    *connected = true;
                    let resource = |body: pb::Any| Resource { name: Arc::from(""), version: String::new(), body };
                    let resources: Vec<Resource> = message.resources.into_iter().map(resource).collect();
                    let response = Response { version: message.version_info, nonce: message.nonce, ..Response::default() };
                    self.apply(&message.type_url, &resources, response, true)
                }
                _ = changes.changed() => self.secrets_changed(),
                () = self.warming_ends() => self.give_up_waiting(),
            };
            for request in requests {
                send(&sender, sotw_request(request, node.take())).await?;
            }
        }
    }

    /// Applies a response; the answer to it first, then what has to be asked for now.
    fn apply(&mut self, type_url: &str, resources: &[Resource], mut response: Response, whole: bool) -> Vec<Request> {
        let Some(kind) = Kind::from_type_url(type_url) else {
            tracing::warn!(type_url, "server sent a type that was not asked for");
            return Vec::new();
        };
        let mut store = self.store.lock();
        let mut applied = store.update(kind, resources, &response.removed, whole);
        self.quiet_at = store.is_settling().then(|| Instant::now() + QUIET);
        drop(store);
        let rejects = self.reconfigure();
        if kind == Kind::Listener {
            for reject in rejects {
                applied.accepted.retain(|(name, _)| *name != reject.name);
                applied.rejected.push((reject.name, reject.reason));
            }
        }
        for (name, reason) in &applied.rejected {
            tracing::warn!(?kind, %name, %reason, "configuration refused, all else is used");
        }
        if kind == Kind::Names {
            self.waiting.remove(&kind);
        }
        self.release();
        tracing::debug!(?kind, accepted = applied.accepted.len(), "configuration applied");
        if let Some(proxy) = self.proxy.upgrade() {
            let counted = match kind {
                Kind::Cluster => Some(Discovered::Clusters),
                Kind::Listener => Some(Discovered::Listeners),
                Kind::Routes => Some(Discovered::Routes),
                Kind::Endpoints | Kind::Secret | Kind::Names | Kind::ApplicationEnded => None,
            };
            if let Some(counted) = counted {
                proxy.count_update(counted, applied.rejected.is_empty());
            }
        }
        response.accepted = applied.accepted;
        response.rejected = applied.rejected;
        let mut requests: Vec<Request> = self.session.answer(kind, response).into_iter().collect();
        requests.extend(self.ask());
        requests
    }

    /// Puts in use what the store has now.
    fn reconfigure(&self) -> Vec<Reject> {
        let Some(proxy) = self.proxy.upgrade() else {
            return Vec::new();
        };
        let mut store = self.store.lock();
        proxy.reconfigure(&store.resources(Instant::now()))
    }

    /// Puts in use what has waited long enough. Nothing has to be asked for.
    fn give_up_waiting(&mut self) -> Vec<Request> {
        if self.quiet_at.is_some_and(|at| at <= Instant::now()) {
            self.quiet_at = None;
            self.store.lock().settle();
        }
        for Reject { name, reason } in self.reconfigure() {
            tracing::warn!(%name, %reason, "listener cannot be used, the last good one stays");
        }
        self.release();
        Vec::new()
    }

    /// Other secrets are wanted, or some came.
    fn secrets_changed(&mut self) -> Vec<Request> {
        self.release();
        self.ask()
    }

    /// Lets readiness go once all that the first answers named is live or refused.
    fn release(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let store = self.store.lock();
        if store.clusters_are_live() {
            self.waiting.remove(&Kind::Cluster);
        }
        if !self.waiting.contains_key(&Kind::Listener) || !store.listeners_are_live() {
            return;
        }
        let now = Instant::now();
        let until = *self.secrets_until.get_or_insert(now + FETCH_TIMEOUT);
        if now >= until || !store.waits_for_secrets() {
            self.waiting.remove(&Kind::Listener);
            self.secrets_until = None;
        }
    }

    /// Comes back when what is in use changes although nothing comes; it may be never.
    async fn warming_ends(&self) {
        let deadline = self.store.lock().deadline();
        let for_secrets = self
            .secrets_until
            .filter(|_| self.waiting.contains_key(&Kind::Listener));
        match deadline.into_iter().chain(for_secrets).chain(self.quiet_at).min() {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Asks for what the configuration refers to now.
    fn ask(&mut self) -> Vec<Request> {
        let store = self.store.lock();
        let wanted: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind, store.wanted(kind))).collect();
        drop(store);
        wanted
            .into_iter()
            .filter_map(|(kind, names)| self.session.ask_for(kind, names))
            .collect()
    }

    fn secret_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.lock().secret_changes()
    }
}

pub(super) async fn send<T>(sender: &mpsc::Sender<T>, message: T) -> Result<(), StreamEnd> {
    sender.send(message).await.map_err(|_| StreamEnd::Closed)
}

fn delta_resource(source: discovery::Resource) -> Option<Resource> {
    Some(Resource {
        name: Arc::from(source.name),
        version: source.version,
        body: source.resource?,
    })
}

fn delta_request(request: Request, node: Option<core::Node>) -> discovery::DeltaDiscoveryRequest {
    let texts = |names: Vec<Arc<str>>| names.iter().map(ToString::to_string).collect();
    discovery::DeltaDiscoveryRequest {
        node,
        type_url: request.type_url.to_owned(),
        resource_names_subscribe: texts(request.subscribe),
        resource_names_unsubscribe: texts(request.unsubscribe),
        initial_resource_versions: request
            .known
            .into_iter()
            .map(|(name, version)| (name.to_string(), version))
            .collect(),
        response_nonce: request.nonce,
        error_detail: request.error.map(rejection),
        ..discovery::DeltaDiscoveryRequest::default()
    }
}

fn sotw_request(request: Request, node: Option<core::Node>) -> discovery::DiscoveryRequest {
    discovery::DiscoveryRequest {
        version_info: request.version,
        node,
        resource_names: request.names.iter().map(ToString::to_string).collect(),
        type_url: request.type_url.to_owned(),
        response_nonce: request.nonce,
        error_detail: request.error.map(rejection),
        ..discovery::DiscoveryRequest::default()
    }
}

pub(super) fn rejection(message: String) -> RpcStatus {
    RpcStatus {
        code: tonic::Code::InvalidArgument as i32,
        message,
        details: Vec::new(),
    }
}
