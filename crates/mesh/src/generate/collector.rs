//! The clusters that lead to the collector, by name.

/// Cluster of the collector's OTLP service.
pub(super) const SPANS: &str = "weft-telemetry-otlp";

/// Cluster of the collector's access-log service.
pub(super) const ACCESS_LOGS: &str = "weft-telemetry-als";
