//! Istio's standard metrics of connections, as configured: the same message as for requests (`istio.stats`, `stats.PluginConfig`).

pub use crate::model::filters::istio_stats::Config;
pub(super) use crate::model::filters::istio_stats::read;

/// A connection manager counts requests, by the filter of the same name in its own list.
#[expect(clippy::unnecessary_wraps, reason = "one of many")]
pub(super) fn not_before_http(_config: &Config) -> Option<&'static str> {
    Some("istio.stats belongs into the http_filters of a connection manager")
}
