//! Istio's standard metrics of one connection of bytes: opened once it leads somewhere, its bytes every few seconds, closed at its end.

use std::sync::Arc;

use tokio::time::{Instant, interval_at};

use super::copy::Copied;
use crate::model::filters::istio_stats::Config as IstioStats;
use crate::observe::istio::series::TcpSeries;
use crate::stream_info::StreamInfo;
use crate::worker::Worker;

/// Counts one connection.
#[derive(Debug)]
pub struct Meter {
    stats: Option<IstioStats>,
    series: Option<Arc<TcpSeries>>,
    sent: u64,
    received: u64,
}

// === impl Meter ===

impl Meter {
    /// A connection that leads nowhere yet; without `stats` nothing is counted.
    pub fn new(stats: Option<IstioStats>) -> Self {
        Self {
            stats,
            series: None,
            sent: 0,
            received: 0,
        }
    }

    /// It is known where the connection leads, or that it fails. Counts it as opened the first time.
    pub fn open(&mut self, info: &StreamInfo, worker: &Worker) {
        if let (Some(stats), None) = (&self.stats, &self.series) {
            let series = worker.istio.connection(stats, info);
            series.opened.add(1);
            self.series = Some(series);
        }
    }

    /// Adds what was copied since the last time.
    fn report(&mut self, copied: &Copied) {
        if let Some(series) = &self.series {
            let (sent, received) = (copied.to_client.get(), copied.to_upstream.get());
            series.sent.add(sent - self.sent);
            series.received.add(received - self.received);
            (self.sent, self.received) = (sent, received);
        }
    }

    /// Waits for the copying and reports every so often, and at its end.
    pub async fn follow<T>(&mut self, copying: impl Future<Output = T>, copied: &Copied) -> T {
        let period = self
            .stats
            .map(|stats| stats.tcp_interval)
            .filter(|period| !period.is_zero());
        tokio::pin!(copying);
        if let Some(period) = period {
            let mut ticks = interval_at(Instant::now() + period, period);
            loop {
                tokio::select! {
                    done = &mut copying => {
                        self.report(copied);
                        return done;
                    }
                    _ = ticks.tick() => self.report(copied),
                }
            }
        }
        let done = copying.await;
        self.report(copied);
        done
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(series) = &self.series {
            series.closed.add(1);
        }
    }
}
