//! The connected proxies: who they are, what they were sent, and what of it they refuse.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;
use weft_mesh::node::ProxyNode;
use weft_proto::ads::Kind;

use super::findings::RefusedResource;
use super::stream::Progress;

/// What is known of every connected proxy, for debug pages and statuses.
#[derive(Clone, Debug)]
pub struct Connections {
    proxies: Arc<Mutex<BTreeMap<u64, Connected>>>,
    next: Arc<AtomicU64>,
    /// Changes with what any of them refuses.
    refused: watch::Sender<()>,
}

/// One connected proxy.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Who it is.
    pub node: ProxyNode,
    /// What was agreed, by type.
    pub types: BTreeMap<Kind, Progress>,
    /// What it refuses.
    pub refused: Vec<RefusedResource>,
    /// When the last response of a type was sent.
    pub sent_at: BTreeMap<Kind, SystemTime>,
    /// Generation that it was served last.
    pub generation: u64,
    /// Number of the stream, unique in this process.
    pub id: u64,
    /// When it connected.
    pub since: SystemTime,
    /// Where it connected from.
    pub address: Option<SocketAddr>,
}

// === impl Connections ===

impl Connections {
    /// All connected proxies.
    pub fn all(&self) -> Vec<Connected> {
        self.proxies.lock().values().cloned().collect()
    }

    /// Changes when one of them refuses something else than before, or is gone with what it refused.
    pub fn refusals(&self) -> watch::Receiver<()> {
        self.refused.subscribe()
    }

    /// A number for one more stream.
    pub(super) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn insert(&self, connected: Connected) {
        let refuses = connected.refused.clone();
        let before = self.proxies.lock().insert(connected.id, connected);
        if before.map(|before| before.refused).unwrap_or_default() != refuses {
            self.refused.send_replace(());
        }
    }

    pub(super) fn remove(&self, id: u64) {
        let gone = self.proxies.lock().remove(&id);
        if gone.is_some_and(|gone| !gone.refused.is_empty()) {
            self.refused.send_replace(());
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            proxies: Arc::default(),
            next: Arc::default(),
            refused: watch::Sender::new(()),
        }
    }
}
