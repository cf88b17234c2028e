//! What the proxy tells about its traffic: access logs, metrics, spans.

pub mod format;
pub mod render;
pub mod stream_info;
pub mod time_format;
