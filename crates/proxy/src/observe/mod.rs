//! What the proxy tells about its traffic: access logs, metrics, spans.

pub mod format;
