//! A finished request or connection as an entry of Envoy's access-log service.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::{Method, Version};
use tokio::time::Instant;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::data::accesslog::v3 as pb;
use weft_proto::xds::google::protobuf as wkt;

use crate::error::ResponseFlags;
use crate::model::tls::TlsVersion;
use crate::stream_info::connection::TlsInfo;
use crate::stream_info::{RequestFacts, StreamInfo};

/// The entry of a request.
pub(super) fn http(info: &StreamInfo) -> pb::HttpAccessLogEntry {
    let version = info.request.as_ref().map(|request| request.version).or(info.protocol);
    let protocol = match version {
        Some(Version::HTTP_10) => pb::http_access_log_entry::HttpVersion::Http10,
        Some(Version::HTTP_2) => pb::http_access_log_entry::HttpVersion::Http2,
        Some(_) => pb::http_access_log_entry::HttpVersion::Http11,
        None => pb::http_access_log_entry::HttpVersion::ProtocolUnspecified,
    };
    pb::HttpAccessLogEntry {
        common_properties: Some(common(info)),
        protocol_version: protocol as i32,
        request: info.request.as_ref().map(|facts| request(facts, info)),
        response: Some(pb::HttpResponseProperties {
            response_code: (info.response_code > 0).then(|| wkt::UInt32Value {
                value: u32::from(info.response_code),
            }),
            response_body_bytes: info.bytes_sent,
            response_code_details: info.details.as_deref().unwrap_or_default().to_owned(),
            response_headers: (info.response_headers.iter())
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            ..pb::HttpResponseProperties::default()
        }),
    }
}

/// The entry of a connection.
pub(super) fn tcp(info: &StreamInfo) -> pb::TcpAccessLogEntry {
    pb::TcpAccessLogEntry {
        common_properties: Some(common(info)),
        connection_properties: Some(pb::ConnectionProperties {
            received_bytes: info.bytes_received,
            sent_bytes: info.bytes_sent,
        }),
    }
}

fn common(info: &StreamInfo) -> pb::AccessLogCommon {
    let started = info.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let upstream = info.upstream_host.as_ref().and_then(|host| host.parse().ok());
    pb::AccessLogCommon {
        sample_rate: 1.0,
        downstream_remote_address: Some(address(info.remote_addr)),
        downstream_local_address: Some(address(info.connection.local_addr)),
        downstream_direct_remote_address: Some(address(info.connection.direct_remote_addr)),
        tls_properties: info.connection.tls.as_ref().map(|tls| tls_properties(tls, info)),
        start_time: Some(wkt::Timestamp {
            seconds: i64::try_from(started.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(started.subsec_nanos()).unwrap_or(0),
        }),
        time_to_last_rx_byte: since(info, info.request_done_at),
        time_to_first_upstream_rx_byte: since(info, info.response_began_at),
        time_to_last_downstream_tx_byte: since(info, info.finished_at),
        duration: since(info, info.finished_at),
        upstream_remote_address: upstream.map(address),
        upstream_local_address: info.upstream_local.map(address),
        upstream_cluster: info
            .upstream_cluster
            .as_ref()
            .map(|cluster| cluster.name.to_string())
            .unwrap_or_default(),
        response_flags: Some(flags(info.flags)),
        upstream_transport_failure_reason: info.transport_failure.as_deref().unwrap_or_default().to_owned(),
        route_name: info.route_name.as_deref().unwrap_or_default().to_owned(),
        upstream_request_attempt_count: info.attempts,
        custom_tags: client_tags(info),
        ..pb::AccessLogCommon::default()
    }
}

/// The workload of the client, where it told; the collector has only the certificate otherwise, which names an account.
fn client_tags(info: &StreamInfo) -> std::collections::HashMap<String, String> {
    let workload = info.client_workload.iter();
    { workload }
        .map(|workload| ("source_workload".to_owned(), workload.name.to_string()))
        .collect()
}

fn request(facts: &RequestFacts, info: &StreamInfo) -> pb::HttpRequestProperties {
    let header = |name: &str| {
        let value = facts.headers.iter().find(|(kept, _)| kept == name);
        value
            .map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    };
    pb::HttpRequestProperties {
        request_method: method(&facts.method) as i32,
        scheme: facts.scheme.as_str().to_owned(),
        authority: String::from_utf8_lossy(facts.authority.as_bytes()).into_owned(),
        path: facts.path.as_str().to_owned(),
        user_agent: header("user-agent"),
        forwarded_for: header("x-forwarded-for"),
        request_id: header("x-request-id"),
        original_path: header("x-envoy-original-path"),
        request_body_bytes: info.bytes_received,
        ..pb::HttpRequestProperties::default()
    }
}

fn tls_properties(tls: &TlsInfo, info: &StreamInfo) -> pb::TlsProperties {
    use pb::tls_properties::certificate_properties::SubjectAltName;
    use pb::tls_properties::certificate_properties::subject_alt_name::San;
    use pb::tls_properties::{CertificateProperties, TlsVersion as Version};
    let uri = |uri: &std::sync::Arc<str>| SubjectAltName {
        san: Some(San::Uri(uri.to_string())),
    };
    let version = match tls.version {
        TlsVersion::V1_2 => Version::TlSv12,
        TlsVersion::V1_3 => Version::TlSv13,
    };
    pb::TlsProperties {
        tls_version: version as i32,
        tls_sni_hostname: info.connection.server_name.as_deref().unwrap_or_default().to_owned(),
        local_certificate_properties: tls.local_uri_san.as_ref().map(|own| CertificateProperties {
            subject_alt_name: vec![uri(own)],
            ..CertificateProperties::default()
        }),
        peer_certificate_properties: tls.peer.as_ref().map(|peer| CertificateProperties {
            subject_alt_name: peer.uri_sans.iter().map(uri).collect(),
            subject: peer.subject.to_string(),
            ..CertificateProperties::default()
        }),
        ..pb::TlsProperties::default()
    }
}

fn flags(flags: ResponseFlags) -> pb::ResponseFlags {
    pb::ResponseFlags {
        no_healthy_upstream: flags.contains(ResponseFlags::NO_HEALTHY_UPSTREAM),
        upstream_connection_failure: flags.contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE),
        upstream_overflow: flags.contains(ResponseFlags::UPSTREAM_OVERFLOW),
        no_route_found: flags.contains(ResponseFlags::NO_ROUTE_FOUND),
        upstream_retry_limit_exceeded: flags.contains(ResponseFlags::RETRY_LIMIT_EXCEEDED),
        no_cluster_found: flags.contains(ResponseFlags::NO_CLUSTER_FOUND),
        duration_timeout: flags.contains(ResponseFlags::DURATION_TIMEOUT),
        downstream_connection_termination: flags.contains(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION),
        upstream_request_timeout: flags.contains(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT),
        local_reset: flags.contains(ResponseFlags::LOCAL_RESET),
        upstream_remote_reset: flags.contains(ResponseFlags::UPSTREAM_REMOTE_RESET),
        upstream_connection_termination: flags.contains(ResponseFlags::UPSTREAM_CONNECTION_TERMINATION),
        stream_idle_timeout: flags.contains(ResponseFlags::STREAM_IDLE_TIMEOUT),
        downstream_protocol_error: flags.contains(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR),
        upstream_protocol_error: flags.contains(ResponseFlags::UPSTREAM_PROTOCOL_ERROR),
        unauthorized_details: flags.contains(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE).then_some(
            pb::response_flags::Unauthorized {
                reason: pb::response_flags::unauthorized::Reason::ExternalService as i32,
            },
        ),
        ..pb::ResponseFlags::default()
    }
}

fn method(method: &Method) -> core::RequestMethod {
    let known = [
        (Method::GET, core::RequestMethod::Get),
        (Method::HEAD, core::RequestMethod::Head),
        (Method::POST, core::RequestMethod::Post),
        (Method::PUT, core::RequestMethod::Put),
        (Method::DELETE, core::RequestMethod::Delete),
        (Method::CONNECT, core::RequestMethod::Connect),
        (Method::OPTIONS, core::RequestMethod::Options),
        (Method::TRACE, core::RequestMethod::Trace),
        (Method::PATCH, core::RequestMethod::Patch),
    ];
    let found = known.into_iter().find(|(name, _)| name == method);
    found.map_or(core::RequestMethod::MethodUnspecified, |(_, method)| method)
}

fn since(info: &StreamInfo, at: Option<Instant>) -> Option<wkt::Duration> {
    let passed: Duration = at?.saturating_duration_since(info.started_at);
    Some(wkt::Duration {
        seconds: i64::try_from(passed.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(passed.subsec_nanos()).unwrap_or(0),
    })
}

fn address(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(
                address.port(),
            ))),
            ..core::SocketAddress::default()
        })),
    }
}
