//! Istio's standard metrics: who called whom, how often, how it ended, how long it took and how much went over.

pub mod labels;
pub mod peer;
pub mod registry;
pub mod series;
pub mod shard;
