//! Circuit breaking: counts of one cluster over all workers, and guards that give back on drop.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::model::cluster::CircuitBreaker;
use crate::stats::ClusterStats;

/// Counts of a cluster; carried over configuration changes by name.
#[derive(Debug, Default)]
pub struct ClusterState {
    pub connections: AtomicU32,
    /// Requests that wait for a connection.
    pub pending: AtomicU32,
    /// Requests in flight.
    pub requests: AtomicU32,
    /// Retries in flight.
    pub retries: AtomicU32,
    /// Turns of round robin.
    pub turn: AtomicU64,
    stats: OnceLock<Box<ClusterStats>>,
}

/// Which count a guard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Connection,
    /// A request that waits for a connection.
    Pending,
    Request,
    Retry,
}

/// One unit of a resource, given back on drop.
#[derive(Debug)]
pub struct Guard {
    state: Arc<ClusterState>,
    resource: Resource,
}

// === impl ClusterState ===

impl ClusterState {
    /// Takes one unit; `None` when the limit is reached.
    pub fn take(self: &Arc<Self>, resource: Resource, limits: &CircuitBreaker) -> Option<Guard> {
        let limit = self.limit(resource, limits);
        let count = self.count(resource);
        if count.fetch_add(1, Ordering::Relaxed) >= limit {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Guard {
            state: self.clone(),
            resource,
        })
    }

    /// Takes one unit, whatever the limit.
    pub fn take_anyway(self: &Arc<Self>, resource: Resource) -> Guard {
        self.count(resource).fetch_add(1, Ordering::Relaxed);
        Guard {
            state: self.clone(),
            resource,
        }
    }

    /// What is counted for people.
    pub fn stats(&self) -> &ClusterStats {
        self.stats.get_or_init(Box::default)
    }

    /// What was counted for people, where anything was.
    pub fn used_stats(&self) -> Option<&ClusterStats> {
        self.stats.get().map(|stats| &**stats)
    }

    /// How many units are left to take.
    pub fn remaining(&self, resource: Resource, limits: &CircuitBreaker) -> u32 {
        let taken = self.count(resource).load(Ordering::Relaxed);
        self.limit(resource, limits).saturating_sub(taken)
    }

    fn limit(&self, resource: Resource, limits: &CircuitBreaker) -> u32 {
        match resource {
            Resource::Connection => limits.connections_max,
            Resource::Pending => limits.pending_max,
            Resource::Request => limits.requests_max,
            Resource::Retry => match limits.retry_budget {
                None => limits.retries_max,
                Some(budget) => {
                    let active = self.requests.load(Ordering::Relaxed) + self.pending.load(Ordering::Relaxed);
                    let share = f64::from(active) * budget.percent / 100.0;
                    (share as u32).max(budget.min_concurrency)
                }
            },
        }
    }

    fn count(&self, resource: Resource) -> &AtomicU32 {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Request => &self.requests,
            Resource::Retry => &self.retries,
        }
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.state.count(self.resource).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::RetryBudget;

    #[test]
    fn limits_hold_and_guards_give_back() {
        let limits = CircuitBreaker {
            connections_max: 1,
            pending_max: 0,
            requests_max: 10,
            retries_max: 3,
            retry_budget: Some(RetryBudget {
                percent: 50.0,
                min_concurrency: 1,
            }),
            track_remaining: false,
        };
        let state = Arc::new(ClusterState::default());
        let first = state.take(Resource::Connection, &limits);
        assert!(first.is_some() && state.take(Resource::Connection, &limits).is_none());
        drop(first);
        assert!(state.take(Resource::Connection, &limits).is_some());
        assert!(state.take(Resource::Pending, &limits).is_none());
        let requests: Vec<_> = (0..4).map(|_| state.take(Resource::Request, &limits)).collect();
        let retries: Vec<_> = (0..3).map(|_| state.take(Resource::Retry, &limits).is_some()).collect();
        assert_eq!(retries, [true, true, true], "each was given back at once");
        let held: Vec<_> = (0..3).map(|_| state.take(Resource::Retry, &limits)).collect();
        assert_eq!(
            held.iter().filter(|guard| guard.is_some()).count(),
            2,
            "half of {} requests",
            requests.len()
        );
    }
}
