//! What the proxy tells about its traffic: access logs, metrics, spans.

pub mod access_log;
pub mod als;
mod als_entry;
pub mod collector;
pub mod counters;
mod digits;
pub mod format;
pub mod http_stats;
pub mod istio;
pub mod log_filter;
pub mod notes;
pub mod prometheus;
pub mod render;
pub mod stats;
pub mod stream_info;
pub mod time_format;
pub mod trace;
