//! The first part of a proxy's end: its clients are sent away while its listeners stay open, until everybody can have heard of it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_base::shutdown::Shutdown;
use weft_proto::cluster_name::ClusterName;

use super::Proxy;
use crate::model::listener::Direction;
use crate::runtime::Runtime;

/// Who connects to a proxy, and so has to hear of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    #[default]
    Any,
    /// Callers of the workload beside it, if it has any.
    Callers,
}

// === impl Proxy ===

impl Proxy {
    /// Tells every client that is served to go elsewhere and serves those that still come, as endpoints and load balancers take a while
    /// to hear of an end. What has passed since clients were first sent away counts, so that a sidecar whose pod has been ending for long
    /// is not held up. `again` resolves when the process is asked to end once more, which cuts it short.
    pub async fn send_clients_away(
        &self,
        clients: Clients,
        again: impl Future<Output = io::Result<&'static str>>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let left = match clients {
            Clients::Any => self
                .drain
                .time_left(Direction::Unspecified, self.minimum_drain_time, now),
            Clients::Callers if has_callers(&self.runtime.load()) => {
                self.drain.time_left(Direction::Inbound, self.minimum_drain_time, now)
            }
            Clients::Callers => Duration::ZERO,
        };
        if left.is_zero() {
            return Ok(());
        }
        self.drain.start(false, now);
        until_heard(left, &self.shutdown, again).await
    }
}

/// Whether anybody may call the workload: a service leads to it, or somebody has come. The end of a Job mostly concerns nobody.
fn has_callers(runtime: &Runtime) -> bool {
    let is_inbound = |name: &str| matches!(ClusterName::parse(name), Some(ClusterName::Inbound { .. }));
    let has_service = runtime.clusters.keys().any(|name| is_inbound(name));
    let mut listeners = runtime.listeners.values();
    has_service
        || listeners.any(|listener| {
            let faces_callers = listener.model.direction == Direction::Inbound;
            faces_callers && listener.stats.connections_total.load(Ordering::Relaxed) > 0
        })
}

async fn until_heard(
    left: Duration,
    shutdown: &Shutdown,
    again: impl Future<Output = io::Result<&'static str>>,
) -> io::Result<()> {
    tokio::select! {
        () = sleep(left) => Ok(()),
        () = shutdown.started() => Ok(()),
        signal = again => signal.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes where these come after that many seconds.
    #[tokio::test(start_paused = true)]
    async fn time_passes_unless_somebody_insists() {
        const NEVER: u64 = 100;
        for (left, second_signal, quit, expected) in [
            (5, NEVER, NEVER, 5),
            (5, 2, NEVER, 2),
            (5, NEVER, 0, 0),
            (5, NEVER, 3, 3),
            (5, 9, 9, 5),
        ] {
            let shutdown = Shutdown::new();
            let quitting = shutdown.clone();
            shutdown.spawn(async move {
                sleep(Duration::from_secs(quit)).await;
                quitting.start();
            });
            let again = async {
                sleep(Duration::from_secs(second_signal)).await;
                Ok("SIGTERM")
            };
            let started = Instant::now();
            until_heard(Duration::from_secs(left), &shutdown, again).await.unwrap();
            assert_eq!(started.elapsed().as_secs(), expected, "{left} {second_signal} {quit}");
        }
    }
}
