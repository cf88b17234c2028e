//! Outlier detection of one cluster: its rule, when it looks at the clock, and what it has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::endpoint::{Endpoint, EndpointSet};
use super::outlier::{Cause, Origin, Success, may_eject, outliers};
use crate::model::outlier::OutlierDetection;
use crate::stats::{Scope, Stat};

/// Passive health of a cluster, for as long as its rule stays the same: under another rule, or none, everything starts again.
#[derive(Debug)]
pub struct Detector {
    pub(super) rule: OutlierDetection,
    /// When the clock is looked at next.
    due: Mutex<Instant>,
    /// Counts ejections and returns, so that groups of endpoints which are older can be told.
    changes: AtomicU64,
    enforced: AtomicU64,
    overflowed: AtomicU64,
    by_cause: [CauseCount; CAUSES.len()],
}

#[derive(Debug, Default)]
struct CauseCount {
    detected: AtomicU64,
    enforced: AtomicU64,
}

/// Causes with their names in Envoy's statistics
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats>).
const CAUSES: [(Cause, &str); 7] = [
    (Cause::Consecutive5xx, "consecutive_5xx"),
    (Cause::ConsecutiveGatewayFailure, "consecutive_gateway_failure"),
    (Cause::ConsecutiveLocalOriginFailure, "consecutive_local_origin_failure"),
    (Cause::SuccessRate(Origin::External), "success_rate"),
    (Cause::SuccessRate(Origin::Local), "local_origin_success_rate"),
    (Cause::FailurePercentage(Origin::External), "failure_percentage"),
    (
        Cause::FailurePercentage(Origin::Local),
        "local_origin_failure_percentage",
    ),
];

// === impl Detector ===

impl Detector {
    /// A rule that applies from `now` on.
    pub fn new(rule: OutlierDetection, now: Instant) -> Self {
        Self {
            due: Mutex::new(now + rule.interval),
            rule,
            changes: AtomicU64::new(0),
            enforced: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            by_cause: Default::default(),
        }
    }

    /// Number of the last ejection or return.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Whether the clock is to be looked at now, and when it is next.
    pub(super) fn turn(&self, now: Instant) -> (bool, Instant) {
        let mut due = self.due.lock();
        let is_due = *due <= now;
        if is_due {
            *due = now + self.rule.interval;
        }
        (is_due, *due)
    }

    /// Looks into a suspicion. The caller sees to it that nobody else does at the same time.
    pub(super) fn suspect(
        &self,
        set: &EndpointSet,
        endpoint: &Endpoint,
        cause: Cause,
        now: Instant,
        random: &mut impl FnMut() -> u64,
    ) {
        let Some(monitor) = &endpoint.monitor else {
            return;
        };
        let mut monitors = set.endpoints.iter().filter_map(|member| member.monitor.as_ref());
        // One that has left the cluster is nobody's outlier.
        if monitor.lock().is_ejected() || !monitors.any(|member| Arc::ptr_eq(member, monitor)) {
            return;
        }
        let counts = CAUSES.iter().zip(&self.by_cause).find(|((of, _), _)| *of == cause);
        if let Some((_, counts)) = counts {
            counts.detected.fetch_add(1, Relaxed);
        }
        if !may_eject(&self.rule, set.ejected(), set.endpoints.len()) {
            self.overflowed.fetch_add(1, Relaxed);
        } else if random() % 100 < u64::from(cause.enforced(&self.rule.enforcing)) {
            if let Some((_, counts)) = counts {
                counts.enforced.fetch_add(1, Relaxed);
            }
            self.enforced.fetch_add(1, Relaxed);
            self.changes.fetch_add(1, Relaxed);
            monitor.lock().eject(&self.rule, now, random());
            tracing::info!(endpoint = %endpoint.text, ?cause, "endpoint ejected");
        }
        monitor.lock().settle(cause);
    }

    /// What is done once an interval: who has been out for long enough comes back, who failed too often in the interval is ejected.
    /// The caller sees to it that nobody else does at the same time.
    pub(super) fn sweep(&self, set: &EndpointSet, now: Instant, random: &mut impl FnMut() -> u64) {
        let monitors = || {
            let numbered = set.endpoints.iter().enumerate();
            numbered.filter_map(|(at, endpoint)| Some((at, endpoint.monitor.as_ref()?.lock())))
        };
        for (at, mut monitor) in monitors() {
            if monitor.sweep(&self.rule, now) {
                self.changes.fetch_add(1, Relaxed);
                tracing::info!(endpoint = %set.endpoints[at].text, "endpoint is back after its ejection");
            }
        }
        for origin in [Origin::External, Origin::Local] {
            let inside = monitors().filter(|(_, monitor)| !monitor.is_ejected());
            let successes = inside.filter_map(|(at, monitor)| {
                let (percent, volume) = monitor.success(origin)?;
                Some(Success { at, percent, volume })
            });
            let successes: Vec<_> = successes.collect();
            for (at, cause) in outliers(&self.rule, origin, set.endpoints.len(), &successes) {
                self.suspect(set, &set.endpoints[at], cause, now, random);
            }
        }
        monitors().for_each(|(_, mut monitor)| monitor.calm(&self.rule, now));
    }

    /// Everything that was counted; `ejected` are out now.
    pub fn stats(&self, scope: &Scope, ejected: usize) -> Vec<Stat> {
        let name = |rest: &str| format!("outlier_detection.{rest}");
        let mut stats = vec![
            Stat::gauge(scope, name("ejections_active"), ejected as u64),
            Stat::counter(scope, name("ejections_enforced_total"), self.enforced.load(Relaxed)),
            Stat::counter(scope, name("ejections_overflow"), self.overflowed.load(Relaxed)),
        ];
        for ((_, cause), counts) in CAUSES.iter().zip(&self.by_cause) {
            let (detected, enforced) = (counts.detected.load(Relaxed), counts.enforced.load(Relaxed));
            stats.push(Stat::counter(
                scope,
                name(&format!("ejections_detected_{cause}")),
                detected,
            ));
            stats.push(Stat::counter(
                scope,
                name(&format!("ejections_enforced_{cause}")),
                enforced,
            ));
        }
        stats
    }
}
