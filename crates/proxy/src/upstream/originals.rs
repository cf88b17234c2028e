//! Endpoints of original destinations: nobody lists them, so one worker remembers those that its clients went to.
//!
//! Belongs to one thread; nothing here is locked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::endpoint::{Endpoint, EndpointState};

/// Addresses that one worker remembers. What comes beyond is served without its connections being kept.
const REMEMBERED_MAX: usize = 4096;

/// An address that nobody went to for so long is forgotten, and its idle connections are closed.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// What a worker remembers.
#[derive(Debug, Default)]
pub struct Originals {
    known: RefCell<HashMap<(Arc<str>, SocketAddr), Known, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Known {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    used: Instant,
}

// === impl Originals ===

impl Originals {
    /// The endpoint of an address in a cluster.
    pub fn endpoint(&self, cluster: &Arc<Cluster>, address: SocketAddr, now: Instant) -> Arc<Endpoint> {
        let make = |state: Arc<EndpointState>| {
            let transport = &cluster.model.transport;
            Arc::new(Endpoint::original(address, transport, &cluster.contexts, state))
        };
        let mut known = self.known.borrow_mut();
        let room = known.len() < REMEMBERED_MAX;
        match known.get_mut(&(cluster.model.name.clone(), address)) {
            Some(entry) => {
                if !Arc::ptr_eq(&entry.cluster, cluster) {
                    entry.endpoint = make(entry.endpoint.state.clone());
                    entry.cluster = cluster.clone();
                }
                entry.used = now;
                entry.endpoint.clone()
            }
            None => {
                let endpoint = make(Arc::default());
                if room {
                    let entry = Known {
                        cluster: cluster.clone(),
                        endpoint: endpoint.clone(),
                        used: now,
                    };
                    known.insert((cluster.model.name.clone(), address), entry);
                }
                endpoint
            }
        }
    }

    /// Forgets what was not used for long; the idle timeouts of the rest by the id of their state. Called once a second.
    pub fn sweep(&self, now: Instant) -> HashMap<u64, Duration> {
        let mut known = self.known.borrow_mut();
        known.retain(|_, entry| now.saturating_duration_since(entry.used) < UNUSED_MAX);
        let timeout = |entry: &Known| (entry.endpoint.state.id, entry.cluster.model.idle_timeout);
        known.values().map(timeout).collect()
    }
}
