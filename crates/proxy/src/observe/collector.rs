//! Connections to collectors, which are clusters of the running configuration like any other.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint as Dial};

use crate::runtime::RuntimeHandle;
use crate::upstream::connect;

/// First pause after a lost stream, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// A collector behind a cluster.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    runtime: Arc<RuntimeHandle>,
}

// === impl Collector ===

impl Collector {
    /// The collector behind `cluster`, whatever its endpoints are when it is dialled.
    pub fn new(cluster: Arc<str>, runtime: Arc<RuntimeHandle>) -> Self {
        Self { cluster, runtime }
    }

    /// Connects to one of its endpoints, over HTTP/2 and with the TLS of the cluster.
    pub async fn dial(&self) -> Result<Channel, String> {
        let cluster = self.runtime.load().clusters.get(&self.cluster).cloned();
        let cluster = cluster.ok_or_else(|| format!("cluster {:?} does not exist", self.cluster))?;
        let endpoint = cluster.endpoint(&[], 0, || fastrand::u64(..)).await;
        let endpoint = endpoint.ok_or_else(|| format!("cluster {:?} has no endpoint", self.cluster))?;
        let connector = tower::service_fn(move |_: http::Uri| {
            let (cluster, endpoint) = (cluster.clone(), endpoint.clone());
            async move {
                connect::to_endpoint(&cluster.model, &endpoint, None)
                    .await
                    .map(TokioIo::new)
            }
        });
        let dial = Dial::from_static("http://collector")
            .connect_with_connector(connector)
            .await;
        dial.map_err(|error| weft_base::grpc_tls::chain_of(&error))
    }
}

/// Time to wait after so many failures in a row; `random` is between 0 and 1.
pub fn pause(failures: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.clamp(1, 10) - 1).unwrap_or(u32::MAX);
    let pause = BACKOFF.0.saturating_mul(factor).min(BACKOFF.1);
    pause.mul_f64(0.5 + 0.5 * random)
}
