//! What the proxy tells about its traffic: access logs, metrics, spans.

pub mod access_log;
pub mod als;
mod als_entry;
pub mod collector;
pub mod http_stats;
pub mod istio;
pub mod log_filter;
pub mod trace;
