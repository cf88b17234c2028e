//! What the proxy tells about its traffic: access logs, metrics, spans.

pub mod access_log;
pub mod als;
mod als_entry;
pub mod format;
pub mod http_stats;
pub mod log_filter;
pub mod render;
pub mod stream_info;
pub mod time_format;
