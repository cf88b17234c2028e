//! Readiness as a set of named blockers: the process is ready once every one of them was released.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Shared readiness of one process; clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    blockers: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    count: Arc<watch::Sender<usize>>,
}

/// Something that the process still waits for; released on drop.
#[derive(Debug)]
pub struct Blocker {
    id: u64,
    readiness: Readiness,
}

// === impl Readiness ===

impl Readiness {
    /// A process with no blocker, which is ready.
    pub fn new() -> Self {
        Self {
            blockers: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Holds readiness back until the returned value is dropped.
    pub fn block(&self, name: &'static str) -> Blocker {
        let mut blockers = self.blockers.lock();
        let id = blockers.last_key_value().map_or(0, |(last, _)| last + 1);
        blockers.insert(id, name);
        self.count.send_replace(blockers.len());
        Blocker {
            id,
            readiness: self.clone(),
        }
    }

    /// What the process still waits for, in the order of blocking; empty when it is ready.
    pub fn pending(&self) -> Vec<&'static str> {
        self.blockers.lock().values().copied().collect()
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        *self.count.borrow() == 0
    }

    /// Resolves when nothing is waited for any more.
    pub async fn ready(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Blocker ===

impl Drop for Blocker {
    fn drop(&mut self) {
        let mut blockers = self.readiness.blockers.lock();
        blockers.remove(&self.id);
        self.readiness.count.send_replace(blockers.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_blocker_goes() {
        let readiness = Readiness::new();
        let first = readiness.block("config");
        let second = readiness.block("certificate");
        assert_eq!(readiness.pending(), ["config", "certificate"]);
        drop(first);
        assert!(!readiness.is_ready());
        drop(second);
        readiness.ready().await;
        assert!(readiness.is_ready() && readiness.pending().is_empty());
    }
}
