//! Connections to collectors, which are clusters of the running configuration like any other.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint as Dial};
use weft_base::backoff::Backoff;

use crate::upstream::directory::ClusterDirectory;
use crate::upstream::grpc_channel::{DialError, dial};

/// Pauses after a collector could not be reached.
pub(crate) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));

/// A collector behind a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    clusters: Arc<ClusterDirectory>,
}

// === impl Collector ===

impl Collector {
    /// The collector behind `cluster`, whatever its endpoints are when it is dialled.
    pub(crate) fn new(cluster: Arc<str>, clusters: Arc<ClusterDirectory>) -> Self {
        Self { cluster, clusters }
    }

    /// Connects to one of its endpoints.
    pub(crate) async fn dial(&self) -> Result<Channel, DialError> {
        dial(&self.clusters, &self.cluster, Dial::from_static("http://collector")).await
    }
}
