//! Connections to collectors, which are clusters of the running configuration like any other.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint as Dial};

use crate::upstream::directory::ClusterDirectory;
use crate::upstream::grpc_channel::{DialError, dial};

/// First pause after a lost stream, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// A collector behind a cluster.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    clusters: Arc<ClusterDirectory>,
}

// === impl Collector ===

impl Collector {
    /// The collector behind `cluster`, whatever its endpoints are when it is dialled.
    pub fn new(cluster: Arc<str>, clusters: Arc<ClusterDirectory>) -> Self {
        Self { cluster, clusters }
    }

    /// Connects to one of its endpoints.
    pub async fn dial(&self) -> Result<Channel, DialError> {
        dial(&self.clusters, &self.cluster, Dial::from_static("http://collector")).await
    }
}

/// Time to wait after so many failures in a row; `random` is between 0 and 1.
pub fn pause(failures: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.clamp(1, 10) - 1).unwrap_or(u32::MAX);
    let pause = BACKOFF.0.saturating_mul(factor).min(BACKOFF.1);
    pause.mul_f64(0.5 + 0.5 * random)
}
