//! What the proxy tells about its traffic: access logs, metrics, spans.

pub(crate) mod access_log;
pub(crate) mod als;
mod als_entry;
pub(crate) mod collector;
pub(crate) mod http_stats;
pub(crate) mod istio;
pub(crate) mod log_filter;
pub(crate) mod trace;
