//! `telemetry.istio.io` Telemetry: what proxies report (istio.io, "Telemetry").

use crate::meta::Labels;

/// A Telemetry object. Its parts are known to be there; nothing carries them out yet, which is reported on the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Labels of the workloads; all of the namespace where absent.
    pub selector: Option<Labels>,
    /// Parts that the object has: `metrics`, `tracing`, `accessLogging`.
    pub parts: Vec<&'static str>,
}
