//! Counters that filters make by name, found again by the same name when a configuration replaces another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Scope, Stat};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Counters by scope and name within it.
type ByName = BTreeMap<(Scope, Box<str>), Arc<Counter>>;

/// All counters of the process that were asked for by name.
#[derive(Debug, Default)]
pub struct Counters {
    all: Mutex<ByName>,
}

/// Counters of each cluster, by its name in statistics: read for every request, replaced for every new cluster.
#[derive(Debug)]
pub(crate) struct PerCluster<T>(ArcSwap<HashMap<Arc<str>, Arc<T>>>);

// === impl PerCluster ===

impl<T> Default for PerCluster<T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<T> PerCluster<T> {
    /// Those of a cluster; they are made when it comes for the first time.
    pub(crate) fn of(&self, name: &Arc<str>, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.0.load().get(name) {
            return known.clone();
        }
        let made = Arc::new(make());
        self.0.rcu(|clusters| {
            let mut clusters = HashMap::clone(clusters);
            clusters.insert(name.clone(), made.clone());
            clusters
        });
        made
    }
}

// === impl Counter ===

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl Counters ===

impl Counters {
    /// The counter of a name. It takes a lock: ask when a configuration is compiled, or the first time that something happens.
    pub fn get(&self, scope: &Scope, name: &str) -> Arc<Counter> {
        let mut all = self.all.lock();
        all.entry((scope.clone(), name.into())).or_default().clone()
    }

    /// What they say.
    pub fn stats(&self) -> Vec<Stat> {
        let all = self.all.lock();
        let stat = |((scope, name), counter): (&(Scope, Box<str>), &Arc<Counter>)| {
            Stat::counter(scope, name.to_string(), counter.get())
        };
        all.iter().map(stat).collect()
    }
}
