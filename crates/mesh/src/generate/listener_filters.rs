//! Filters of listeners: what they find out about a connection before a chain is chosen for it.

use weft_proto::xds::envoy::config::listener::v3 as pb;
use weft_proto::xds::envoy::extensions::filters::listener::{http_inspector, original_dst, tls_inspector};
use weft_proto::xds::google::protobuf::Any;

use super::wire::any;

/// The plaintext protocols that the inspector of HTTP tells.
pub(super) const PLAIN_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Takes the original destination from the kernel.
pub(super) fn original_destination() -> pb::ListenerFilter {
    let config = any(&original_dst::v3::OriginalDst::default());
    named("envoy.filters.listener.original_dst", config)
}

/// Tells TLS from plaintext.
pub(super) fn tls_inspector() -> pb::ListenerFilter {
    let config = any(&tls_inspector::v3::TlsInspector::default());
    named("envoy.filters.listener.tls_inspector", config)
}

/// Tells HTTP from other plaintext.
pub(super) fn http_inspector() -> pb::ListenerFilter {
    let config = any(&http_inspector::v3::HttpInspector::default());
    named("envoy.filters.listener.http_inspector", config)
}

fn named(name: &str, config: Any) -> pb::ListenerFilter {
    pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(config)),
        ..pb::ListenerFilter::default()
    }
}
