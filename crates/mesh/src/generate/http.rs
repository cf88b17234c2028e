//! HTTP connection managers, TCP proxies and their access logs.

use std::time::Duration;

use weft_proto::xds::envoy::config::accesslog::v3 as accesslog;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::access_loggers::file::v3 as file;
use weft_proto::xds::envoy::extensions::access_loggers::grpc::v3 as grpc;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use weft_proto::xds::google::protobuf as pb;

use super::authorization::Access;
use super::collector::ACCESS_LOGS;
use super::filters;
use super::istio;
use super::side::Side;
use super::tcp_limits::TcpLimits;
use super::tracing::tracing;
use super::wire::{ads, any, boolean, duration, grpc_service, network_filter};
use crate::view::ProxyView;

/// Istio's default access-log line.
const ACCESS_LOG_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
                                 %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                                 %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
                                 %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
                                 \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
                                 \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
                                 %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
                                 %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The same as JSON.
const ACCESS_LOG_JSON: &str = r#"{
  "start_time": "%START_TIME%",
  "route_name": "%ROUTE_NAME%",
  "method": "%REQ(:METHOD)%",
  "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  "protocol": "%PROTOCOL%",
  "response_code": "%RESPONSE_CODE%",
  "response_flags": "%RESPONSE_FLAGS%",
  "response_code_details": "%RESPONSE_CODE_DETAILS%",
  "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
  "bytes_received": "%BYTES_RECEIVED%",
  "bytes_sent": "%BYTES_SENT%",
  "duration": "%DURATION%",
  "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
  "user_agent": "%REQ(USER-AGENT)%",
  "request_id": "%REQ(X-REQUEST-ID)%",
  "authority": "%REQ(:AUTHORITY)%",
  "upstream_host": "%UPSTREAM_HOST%",
  "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
  "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
  "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
  "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
  "requested_server_name": "%REQUESTED_SERVER_NAME%",
  "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
}"#;

/// Header of the answer to a request that the callee's proxy could not deliver.
pub(super) const UNDELIVERED: &str = "x-weft-undelivered";

/// Where a connection manager gets its routes.
pub(super) enum Routes {
    Inline(Box<route::RouteConfiguration>),
    ByName(String),
}

/// The filter that serves HTTP, to whom policies let in.
pub(super) fn manager(
    view: &ProxyView,
    side: Side,
    stat_prefix: &str,
    routes: Routes,
    access: &Access,
) -> listener::Filter {
    use hcm::http_connection_manager as inner;
    let gateway = side == Side::Gateway;
    let forward = match side {
        Side::Gateway => inner::ForwardClientCertDetails::SanitizeSet,
        Side::Inbound => inner::ForwardClientCertDetails::AppendForward,
        Side::Outbound => inner::ForwardClientCertDetails::Sanitize,
    };
    let details = inner::SetCurrentClientCertDetails {
        subject: Some(boolean(true)),
        dns: true,
        uri: true,
        ..inner::SetCurrentClientCertDetails::default()
    };
    let message = hcm::HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(match routes {
            Routes::Inline(config) => hcm::http_connection_manager::RouteSpecifier::RouteConfig(*config),
            Routes::ByName(name) => hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
                config_source: Some(ads()),
                route_config_name: name,
            }),
        }),
        http_filters: istio::http_filters(view, side)
            .into_iter()
            .chain(access.requests())
            .chain(filters::listed(side))
            .collect(),
        access_log: request_logs(view),
        tracing: tracing(view),
        server_name: "istio-envoy".to_owned(),
        use_remote_address: Some(boolean(gateway)),
        normalize_path: Some(boolean(true)),
        path_with_escaped_slashes_action: inner::PathWithEscapedSlashesAction::KeepUnchanged as i32,
        stream_idle_timeout: Some(duration(Duration::ZERO)),
        proxy_100_continue: true,
        upgrade_configs: vec![inner::UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..inner::UpgradeConfig::default()
        }],
        forward_client_cert_details: forward as i32,
        set_current_client_cert_details: (side != Side::Outbound).then_some(details),
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: gateway,
            ..core::Http1ProtocolOptions::default()
        }),
        local_reply_config: (side == Side::Inbound).then(undelivered),
        ..hcm::HttpConnectionManager::default()
    };
    network_filter("envoy.filters.network.http_connection_manager", any(&message))
}

/// Says of a request that it never reached its application, so that the caller's proxy sends it elsewhere whatever its method: an
/// application that ends has closed its port before the last caller knows.
fn undelivered() -> hcm::LocalReplyConfig {
    let flags = vec!["UF".to_owned()];
    let filter =
        accesslog::access_log_filter::FilterSpecifier::ResponseFlagFilter(accesslog::ResponseFlagFilter { flags });
    let header = core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: UNDELIVERED.to_owned(),
            value: "true".to_owned(),
            ..core::HeaderValue::default()
        }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..core::HeaderValueOption::default()
    };
    hcm::LocalReplyConfig {
        mappers: vec![hcm::ResponseMapper {
            filter: Some(accesslog::AccessLogFilter {
                filter_specifier: Some(filter),
            }),
            headers_to_add: vec![header],
            ..hcm::ResponseMapper::default()
        }],
        ..hcm::LocalReplyConfig::default()
    }
}

/// The filters that forward bytes, to clusters by weight, and count them where the proxy can.
pub(super) fn tcp(view: &ProxyView, stat_prefix: &str, clusters: &[(String, u32)]) -> Vec<listener::Filter> {
    use tcp_proxy::tcp_proxy as inner;
    let specifier = match clusters {
        [(only, _)] => inner::ClusterSpecifier::Cluster(only.clone()),
        several => inner::ClusterSpecifier::WeightedClusters(inner::WeightedCluster {
            clusters: several
                .iter()
                .map(|(name, weight)| inner::weighted_cluster::ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    ..inner::weighted_cluster::ClusterWeight::default()
                })
                .collect(),
        }),
    };
    let limits = TcpLimits::of(view, clusters);
    let message = tcp_proxy::TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(specifier),
        idle_timeout: limits.idle.map(duration),
        max_downstream_connection_duration: limits.longest.map(duration),
        access_log: connection_logs(view),
        ..tcp_proxy::TcpProxy::default()
    };
    let proxy = network_filter("envoy.filters.network.tcp_proxy", any(&message));
    istio::connection_filter(view).into_iter().chain([proxy]).collect()
}

/// Logs of requests: the file, and the collector where there is one.
fn request_logs(view: &ProxyView) -> Vec<accesslog::AccessLog> {
    let mut logs = access_log(view);
    logs.extend(collected(view).map(|common| {
        let message = grpc::HttpGrpcAccessLogConfig {
            common_config: Some(common),
            ..grpc::HttpGrpcAccessLogConfig::default()
        };
        log("envoy.access_loggers.http_grpc", any(&message))
    }));
    logs
}

/// Logs of connections: the same places.
fn connection_logs(view: &ProxyView) -> Vec<accesslog::AccessLog> {
    let mut logs = access_log(view);
    logs.extend(collected(view).map(|common| {
        let message = grpc::TcpGrpcAccessLogConfig {
            common_config: Some(common),
        };
        log("envoy.access_loggers.tcp_grpc", any(&message))
    }));
    logs
}

/// How the collector is reached, where there is one.
fn collected(view: &ProxyView) -> Option<grpc::CommonGrpcAccessLogConfig> {
    view.settings.collector.as_ref()?;
    Some(grpc::CommonGrpcAccessLogConfig {
        log_name: "weft".to_owned(),
        grpc_service: Some(grpc_service(ACCESS_LOGS)),
        transport_api_version: core::ApiVersion::V3 as i32,
        ..grpc::CommonGrpcAccessLogConfig::default()
    })
}

fn log(name: &str, config: pb::Any) -> accesslog::AccessLog {
    accesslog::AccessLog {
        name: name.to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(config)),
        ..accesslog::AccessLog::default()
    }
}

fn access_log(view: &ProxyView) -> Vec<accesslog::AccessLog> {
    use core::substitution_format_string::Format;
    let settings = &view.snapshot.settings.access_log;
    let path = settings.file.as_ref().unwrap_or(&view.settings.access_log_file);
    if path.is_empty() {
        return Vec::new();
    }
    let default = if settings.json {
        ACCESS_LOG_JSON
    } else {
        ACCESS_LOG_FORMAT
    };
    let text = settings.format.as_deref().unwrap_or(default);
    let object = settings.json.then(|| json_object(text)).flatten();
    let inline = || core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..core::DataSource::default()
    };
    let format = core::SubstitutionFormatString {
        format: Some(match object {
            Some(object) => Format::JsonFormat(object),
            None => Format::TextFormatSource(inline()),
        }),
        ..core::SubstitutionFormatString::default()
    };
    let message = file::FileAccessLog {
        path: path.clone(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    vec![accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(any(&message))),
        ..accesslog::AccessLog::default()
    }]
}

/// A JSON object of texts and objects, as formats of log lines are; the reader of the mesh configuration saw to that.
fn json_object(text: &str) -> Option<pb::Struct> {
    fn value(value: &serde_json::Value) -> pb::Value {
        let kind = match value {
            serde_json::Value::String(text) => pb::value::Kind::StringValue(text.clone()),
            serde_json::Value::Object(map) => pb::value::Kind::StructValue(object(map)),
            other @ (serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)) => pb::value::Kind::StringValue(other.to_string()),
        };
        pb::Value { kind: Some(kind) }
    }
    fn object(map: &serde_json::Map<String, serde_json::Value>) -> pb::Struct {
        pb::Struct {
            fields: map.iter().map(|(key, inner)| (key.clone(), value(inner))).collect(),
        }
    }
    serde_json::from_str::<serde_json::Value>(text)
        .ok()?
        .as_object()
        .map(object)
}
