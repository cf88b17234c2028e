//! Istio's standard metrics: who called whom, how often, how it ended, how long it took and how much went over.

pub(crate) mod labels;
pub(crate) mod peer;
pub(crate) mod registry;
pub(crate) mod series;
pub(crate) mod shard;
