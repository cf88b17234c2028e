//! In which order a mesh ends: what brings requests in first, what others need last.

use crate::mesh::record::Kind;

/// Kinds that end together, in order.
pub(crate) const TIERS: [&[Kind]; 3] = [
    &[Kind::Gateway],
    &[Kind::App, Kind::Sidecar, Kind::Envoy, Kind::SdsAgent],
    &[Kind::Citadel, Kind::Pilot, Kind::Telemetry],
];
