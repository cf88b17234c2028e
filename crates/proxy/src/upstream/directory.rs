//! The clusters of the running configuration by name, for what is not traffic: requests have theirs with their routes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::cluster::Cluster;

/// Clusters by name.
pub(crate) type ClustersByName = HashMap<Arc<str>, Arc<Cluster>>;

/// The clusters of the running configuration, replaced whole with it.
#[derive(Debug, Default)]
pub struct ClusterDirectory {
    current: ArcSwap<ClustersByName>,
}

// === impl ClusterDirectory ===

impl ClusterDirectory {
    /// Replaces all of them.
    pub fn store(&self, clusters: Arc<ClustersByName>) {
        self.current.store(clusters);
    }

    /// The cluster of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.current.load().get(name).cloned()
    }
}
