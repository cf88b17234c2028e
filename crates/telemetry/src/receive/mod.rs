//! What comes in: access logs of proxies, and spans over OTLP and Zipkin.

pub mod access_log;
pub mod otlp;
pub mod otlp_http;
pub mod zipkin;
