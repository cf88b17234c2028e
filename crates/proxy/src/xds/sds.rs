//! Secrets from discovery services of their own (SDS, `api_config_source`): one stream for each cluster that secrets are asked of.
//!
//! A secret that cannot be used is rejected by name and the last good one stays; so does everything when a stream is lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use weft_base::shutdown::Shutdown;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use weft_proto::xds::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;

use super::client::{BACKOFF, OUTGOING_MAX, StreamEnd, dial, rejection, send};
use super::config_store::{ConfigStore, Resource};
use super::session::Names;
use crate::dataplane::Proxy;
use crate::model::secret::SdsSource;

/// Where the streams find what they need.
#[derive(Clone, Debug)]
pub struct SecretClient {
    /// The proxy, whose clusters lead to the services.
    pub proxy: Weak<Proxy>,
    /// Takes the secrets.
    pub store: Arc<Mutex<ConfigStore>>,
    pub node: core::Node,
    /// A cluster that is answered otherwise: by the workload's own identity.
    pub except: Option<Arc<str>>,
}

/// One stream's state.
struct Stream {
    client: SecretClient,
    cluster: Arc<str>,
    source: SdsSource,
    names: Names,
    /// The last version that was accepted whole.
    version: String,
    nonce: String,
}

// === impl SecretClient ===

impl SecretClient {
    /// Starts a stream for every cluster that contexts name, until `shutdown` starts.
    pub async fn follow(self, shutdown: Shutdown) {
        let mut changes = self.store.lock().secret_changes();
        let mut running: BTreeSet<Arc<str>> = self.except.iter().cloned().collect();
        loop {
            let wanted = self.store.lock().secret_clusters();
            for cluster in wanted {
                if running.insert(cluster.clone()) {
                    let stream = Stream {
                        client: self.clone(),
                        source: SdsSource::Cluster(cluster.clone()),
                        cluster,
                        names: Names::new(),
                        version: String::new(),
                        nonce: String::new(),
                    };
                    let stop = shutdown.token();
                    shutdown.spawn(async move {
                        stop.run_until_cancelled(stream.run()).await;
                    });
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

// === impl Stream ===

impl Stream {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let mut connected = false;
            let Err(end) = self.exchange(&mut connected).await;
            if self.client.proxy.strong_count() == 0 {
                return;
            }
            failures = if connected { 1 } else { failures.saturating_add(1) };
            tracing::warn!(cluster = %self.cluster, error = %end, failures, "no secret discovery, the last secrets stay");
            tokio::time::sleep(BACKOFF.pause(failures, fastrand::u64(..))).await;
        }
    }

    /// One stream from connect to its end.
    async fn exchange(&mut self, connected: &mut bool) -> Result<std::convert::Infallible, StreamEnd> {
        let channel = dial(&self.client.proxy, &self.cluster).await?;
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let mut changes = self.client.store.lock().secret_changes();
        self.names = self.wanted();
        self.nonce.clear();
        let mut first = self.request(None);
        first.node = Some(self.client.node.clone());
        send(&sender, first).await?;
        let mut service = SecretDiscoveryServiceClient::new(channel);
        let streamed = service.stream_secrets(ReceiverStream::new(outgoing)).await?;
        let mut incoming = streamed.into_inner();
        loop {
            let request = tokio::select! {
                message = incoming.next() => {
                    let message = message.ok_or(StreamEnd::Closed)??;
                    *connected = true;
                    Some(self.apply(message))
                }
                _ = changes.changed() => self.ask(),
            };
            if let Some(request) = request {
                send(&sender, request).await?;
            }
        }
    }

    fn wanted(&self) -> Names {
        self.client.store.lock().secrets_wanted(&self.source)
    }

    /// Asks again if other secrets are wanted than before.
    fn ask(&mut self) -> Option<DiscoveryRequest> {
        let wanted = self.wanted();
        if wanted == self.names {
            return None;
        }
        self.names = wanted;
        Some(self.request(None))
    }

    /// Takes what came and answers.
    fn apply(&mut self, message: DiscoveryResponse) -> DiscoveryRequest {
        let resource = |body| Resource {
            name: Arc::from(""),
            version: String::new(),
            body,
        };
        let resources: Vec<Resource> = message.resources.into_iter().map(resource).collect();
        let applied = self.client.store.lock().update_secrets(&self.source, &resources);
        self.nonce = message.nonce;
        for (name, reason) in &applied.rejected {
            tracing::warn!(cluster = %self.cluster, %name, %reason, "secret rejected, the last good one stays");
        }
        let reasons: Vec<String> = applied
            .rejected
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        if reasons.is_empty() {
            self.version = message.version_info;
            return self.request(None);
        }
        self.request(Some(reasons.join("; ")))
    }

    fn request(&self, error: Option<String>) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: self.names.iter().map(ToString::to_string).collect(),
            type_url: Kind::Secret.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail: error.map(rejection),
            ..DiscoveryRequest::default()
        }
    }
}
