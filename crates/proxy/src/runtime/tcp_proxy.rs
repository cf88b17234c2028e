//! A compiled TCP proxy: its clusters looked up.

use std::sync::Arc;

use crate::model::listener as model;
use crate::observe::access_log::CompiledLog;
use crate::upstream::cluster::Cluster;

/// A TCP proxy of a filter chain.
#[derive(Debug)]
pub struct TcpProxy {
    pub model: model::TcpProxy,
    pub logs: Vec<CompiledLog>,
    /// Sums of weights with their clusters; `None` where one does not exist.
    targets: Vec<(u64, Option<Arc<Cluster>>)>,
}

// === impl TcpProxy ===

impl TcpProxy {
    /// Looks the clusters up.
    pub fn new(
        model: model::TcpProxy,
        logs: Vec<CompiledLog>,
        find: impl Fn(&Arc<str>) -> Option<Arc<Cluster>>,
    ) -> Self {
        let mut sum = 0;
        let targets = model.clusters.iter().map(|target| {
            sum += u64::from(target.weight);
            (sum, find(&target.cluster))
        });
        Self {
            targets: targets.collect(),
            model,
            logs,
        }
    }

    /// The cluster of a connection. `random` is uniform over all 64-bit numbers.
    pub fn choose(&self, random: u64) -> Option<&Arc<Cluster>> {
        let total = self.targets.last()?.0.max(1);
        let at = self.targets.partition_point(|(sum, _)| *sum <= random % total);
        self.targets.get(at)?.1.as_ref()
    }
}
