//! The HTTP connection manager and protocol options.

use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::filters::http::router::v3::Router;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_proto::xds::envoy::r#type::v3::Percent;
use weft_proto::xds::google::protobuf as wkt;

use super::access_log::{access_logs, log_filter};
use super::route_headers::additions;
use super::secret::envoy_grpc_cluster;
use super::{
    Path, Result, boolean, by_ads, duration, enumeration, header_name, holds, optional_duration, required,
    route_config, text, uint32, unpack,
};
use crate::model::filters::{self, ListedFilter};
use crate::model::http as model;
use crate::model::matcher::Fraction;

/// The connection manager, without its routes and filters: these are read apart (`route_source`, `http_filters`), since they may be taken
/// where it is not.
pub(super) fn connection_manager(
    source: &hcm::HttpConnectionManager,
    at: &Path,
) -> Result<model::HttpConnectionManager> {
    use hcm::http_connection_manager::CodecType;
    let common = source.common_http_protocol_options.unwrap_or_default();
    let at_common = at.field("common_http_protocol_options");
    let seconds = Duration::from_secs;
    let time = |value: Option<&weft_proto::xds::google::protobuf::Duration>, default, field: &str| {
        duration(value, default, &at.field(field))
    };
    let edge = edge(source, at)?;
    let http1 = source.http_protocol_options.as_ref();
    if http1.and_then(|http1| http1.allow_absolute_url) == Some(wkt::BoolValue { value: false }) {
        let at = at.field("http_protocol_options").field("allow_absolute_url");
        return Err(at.error("false is not supported: every server takes absolute URLs (RFC 9112, section 3.2.2)"));
    }
    Ok(model::HttpConnectionManager {
        stat_prefix: text(&source.stat_prefix),
        codec: match enumeration(source.codec_type, at, "codec_type")? {
            CodecType::Auto => model::Codec::Auto,
            CodecType::Http1 => model::Codec::Http1,
            CodecType::Http2 => model::Codec::Http2,
            CodecType::Http3 => return Err(at.field("codec_type").error("HTTP3 is not supported")),
        },
        routes: model::RouteSource::Rds(text("")),
        filters: Vec::new(),
        left_out: Vec::new(),
        access_logs: access_logs(&source.access_log, &at.field("access_log"))?,
        tracing: match &source.tracing {
            Some(tracing) => at.field("tracing").part(|at| tracing_config(tracing, at))?,
            None => None,
        },
        server_header: server_header(source, at)?,
        idle_timeout: duration(
            common.idle_timeout.as_ref(),
            seconds(3600),
            &at_common.field("idle_timeout"),
        )?,
        stream_idle_timeout: time(source.stream_idle_timeout.as_ref(), seconds(300), "stream_idle_timeout")?,
        request_timeout: time(source.request_timeout.as_ref(), Duration::ZERO, "request_timeout")?,
        request_headers_timeout: time(
            source.request_headers_timeout.as_ref(),
            Duration::ZERO,
            "request_headers_timeout",
        )?,
        delayed_close_timeout: time(
            source.delayed_close_timeout.as_ref(),
            seconds(1),
            "delayed_close_timeout",
        )?,
        proxy_100_continue: source.proxy_100_continue,
        drain_timeout: time(source.drain_timeout.as_ref(), seconds(5), "drain_timeout")?,
        connection_duration_max: optional_duration(
            common.max_connection_duration.as_ref(),
            &at_common.field("max_connection_duration"),
        )?,
        stream_duration_max: optional_duration(
            common.max_stream_duration.as_ref(),
            &at_common.field("max_stream_duration"),
        )?,
        requests_per_connection_max: uint32(common.max_requests_per_connection.as_ref(), 0),
        header_count_max: uint32(common.max_headers_count.as_ref(), 100),
        header_bytes_max: uint32(source.max_request_headers_kb.as_ref(), 60) as usize * 1024,
        use_remote_address: edge.use_remote_address,
        trusted_hops: edge.trusted_hops,
        skip_xff_append: edge.skip_xff_append,
        generate_request_id: boolean(source.generate_request_id.as_ref(), true),
        preserve_external_request_id: source.preserve_external_request_id,
        always_set_request_id_in_response: source.always_set_request_id_in_response,
        client_cert: edge.client_cert,
        via: (!source.via.is_empty()).then(|| text(&source.via)),
        normalize_path: edge.normalize_path,
        merge_slashes: edge.merge_slashes,
        escaped_slashes: edge.escaped_slashes,
        strip_port: edge.strip_port,
        strip_trailing_host_dot: edge.strip_trailing_host_dot,
        upgrades: upgrades(source),
        http1: http1_options(source.http_protocol_options.as_ref()),
        http2: http2_options(
            source.http2_protocol_options.as_ref(),
            &at.field("http2_protocol_options"),
        )?,
        suppress_envoy_headers: false,
        local_replies: local_replies(source, at)?,
    })
}

/// What decides whom and what policies and routes take a request for.
pub(super) fn edge(source: &hcm::HttpConnectionManager, at: &Path) -> Result<model::Edge> {
    Ok(model::Edge {
        use_remote_address: boolean(source.use_remote_address.as_ref(), false),
        trusted_hops: source.xff_num_trusted_hops,
        skip_xff_append: source.skip_xff_append,
        client_cert: client_cert(source, at)?,
        normalize_path: boolean(source.normalize_path.as_ref(), false),
        merge_slashes: source.merge_slashes,
        escaped_slashes: escaped_slashes(source, at)?,
        strip_port: strip_port(source),
        strip_trailing_host_dot: source.strip_trailing_host_dot,
    })
}

/// Headers of the proxy's own answers.
fn local_replies(source: &hcm::HttpConnectionManager, at: &Path) -> Result<Vec<model::LocalReply>> {
    let at = at.field("local_reply_config").field("mappers");
    let mappers = source.local_reply_config.iter().flat_map(|config| &config.mappers);
    let one = |(index, mapper): (usize, &hcm::ResponseMapper)| {
        let at = at.index(index);
        let filter = required(mapper.filter.as_ref(), &at, "filter")?;
        Ok(model::LocalReply {
            filter: log_filter(filter, &at.field("filter"))?,
            headers: additions(&mapper.headers_to_add, &at.field("headers_to_add"))?,
        })
    };
    { mappers }.enumerate().map(one).collect()
}

/// What `http_filters` says.
pub(super) struct Filters {
    pub router: Router,
    pub before: Vec<ListedFilter>,
    pub left_out: Vec<Arc<str>>,
}

/// The router's options, and the filters before it; it must be there, and last, as in Envoy.
pub(super) fn http_filters(source: &hcm::HttpConnectionManager, at: &Path) -> Result<Filters> {
    let mut router = None;
    let mut before = Vec::new();
    let mut left_out = Vec::new();
    for (index, filter) in source.http_filters.iter().enumerate() {
        let at = at.index(index);
        let any = filter_config(filter).ok_or_else(|| at.field("typed_config").error("is required"))?;
        if router.is_some() {
            return Err(at.error("the router must be the last filter"));
        }
        let at_config = at.field("typed_config");
        if holds::<Router>(any) {
            if filter.disabled {
                return Err(at.field("disabled").error("the last filter cannot be disabled"));
            }
            router = Some(unpack::<Router>(any, &at_config)?);
            continue;
        }
        // A filter that is known is never left out, however optional it is.
        match filters::read(any, &at_config)? {
            Some(config) => before.push(ListedFilter {
                name: text(&filter.name),
                disabled: filter.disabled,
                config,
            }),
            None if filters::is_for_routes(any, &at_config) => {
                return Err(at_config.error(format!("{} is for routes, the list has another", any.type_url)));
            }
            None if filter.is_optional => left_out.push(text(&filter.name)),
            None => return Err(at_config.error(format!("{} is not supported", any.type_url))),
        }
    }
    Ok(Filters {
        router: router.ok_or_else(|| at.error("the last filter must be envoy.filters.http.router"))?,
        before,
        left_out,
    })
}

/// What configures a filter of the list.
pub(super) fn filter_config(filter: &hcm::HttpFilter) -> Option<&wkt::Any> {
    match &filter.config_type {
        Some(hcm::http_filter::ConfigType::TypedConfig(any)) => Some(any),
        Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) | None => None,
    }
}

/// Where routes come from; `None` where a route configuration in the listener is refused.
pub(super) fn route_source(source: &hcm::HttpConnectionManager, at: &Path) -> Result<Option<model::RouteSource>> {
    use hcm::http_connection_manager::RouteSpecifier;
    match &source.route_specifier {
        Some(RouteSpecifier::RouteConfig(config)) => {
            let config = at.field("route_config").part(|at| route_config(config, at))?;
            Ok(config.map(|config| model::RouteSource::Inline(config.into())))
        }
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            let config = required(rds.config_source.as_ref(), &at, "config_source")?;
            by_ads(Some(config), &at.field("config_source"))?;
            Ok(Some(model::RouteSource::Rds(text(&rds.route_config_name))))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(at.field("scoped_routes").error("is not supported")),
        None => Err(at.error("needs route_config or rds")),
    }
}

fn server_header(source: &hcm::HttpConnectionManager, at: &Path) -> Result<model::ServerHeader> {
    use hcm::http_connection_manager::ServerHeaderTransformation as Mode;
    let name = if source.server_name.is_empty() {
        "envoy"
    } else {
        &source.server_name
    };
    Ok(
        match enumeration(source.server_header_transformation, at, "server_header_transformation")? {
            Mode::Overwrite => model::ServerHeader::Overwrite(text(name)),
            Mode::AppendIfAbsent => model::ServerHeader::AppendIfAbsent(text(name)),
            Mode::PassThrough => model::ServerHeader::PassThrough,
        },
    )
}

fn client_cert(source: &hcm::HttpConnectionManager, at: &Path) -> Result<model::ForwardClientCert> {
    use hcm::http_connection_manager::ForwardClientCertDetails as Mode;
    let details = source.set_current_client_cert_details.unwrap_or_default();
    Ok(model::ForwardClientCert {
        mode: match enumeration(source.forward_client_cert_details, at, "forward_client_cert_details")? {
            Mode::Sanitize => model::XfccMode::Sanitize,
            Mode::ForwardOnly => model::XfccMode::ForwardOnly,
            Mode::AppendForward => model::XfccMode::AppendForward,
            Mode::SanitizeSet => model::XfccMode::SanitizeSet,
            Mode::AlwaysForwardOnly => model::XfccMode::AlwaysForwardOnly,
        },
        subject: boolean(details.subject.as_ref(), false),
        cert: details.cert,
        chain: details.chain,
        dns: details.dns,
        uri: details.uri,
    })
}

fn escaped_slashes(source: &hcm::HttpConnectionManager, at: &Path) -> Result<model::EscapedSlashes> {
    use hcm::http_connection_manager::PathWithEscapedSlashesAction as Action;
    let value = source.path_with_escaped_slashes_action;
    Ok(match enumeration(value, at, "path_with_escaped_slashes_action")? {
        Action::ImplementationSpecificDefault | Action::KeepUnchanged => model::EscapedSlashes::Keep,
        Action::RejectRequest => model::EscapedSlashes::Reject,
        Action::UnescapeAndRedirect => model::EscapedSlashes::UnescapeAndRedirect,
        Action::UnescapeAndForward => model::EscapedSlashes::UnescapeAndForward,
    })
}

fn strip_port(source: &hcm::HttpConnectionManager) -> model::StripPort {
    use hcm::http_connection_manager::StripPortMode;
    match source.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(true)) => model::StripPort::Any,
        _ if source.strip_matching_host_port => model::StripPort::Matching,
        _ => model::StripPort::No,
    }
}

fn upgrades(source: &hcm::HttpConnectionManager) -> Vec<model::Upgrade> {
    let upgrade = |config: &hcm::http_connection_manager::UpgradeConfig| model::Upgrade {
        protocol: text(&config.upgrade_type.to_ascii_lowercase()),
        enabled: boolean(config.enabled.as_ref(), true),
        ends_here: false,
    };
    source.upgrade_configs.iter().map(upgrade).collect()
}

pub(super) fn http1_options(source: Option<&core::Http1ProtocolOptions>) -> model::Http1Options {
    let Some(source) = source else {
        return model::Http1Options {
            allow_absolute_url: true,
            ..model::Http1Options::default()
        };
    };
    model::Http1Options {
        allow_absolute_url: boolean(source.allow_absolute_url.as_ref(), true),
        accept_http10: source.accept_http_10,
        custom_methods: source.allow_custom_methods,
        default_host_http10: (!source.default_host_for_http_10.is_empty())
            .then(|| text(&source.default_host_for_http_10)),
        preserve_case: false,
        enable_trailers: false,
    }
}

pub(super) fn http2_options(source: Option<&core::Http2ProtocolOptions>, at: &Path) -> Result<model::Http2Options> {
    let default = model::Http2Options::default();
    let Some(source) = source else {
        return Ok(default);
    };
    let keepalive = source.connection_keepalive.unwrap_or_default();
    let at = at.field("connection_keepalive");
    Ok(model::Http2Options {
        concurrent_streams_max: uint32(source.max_concurrent_streams.as_ref(), default.concurrent_streams_max),
        stream_window_bytes: uint32(source.initial_stream_window_size.as_ref(), default.stream_window_bytes),
        connection_window_bytes: uint32(
            source.initial_connection_window_size.as_ref(),
            default.connection_window_bytes,
        ),
        keepalive_interval: optional_duration(keepalive.interval.as_ref(), &at.field("interval"))?,
        keepalive_timeout: duration(
            keepalive.timeout.as_ref(),
            default.keepalive_timeout,
            &at.field("timeout"),
        )?,
        allow_connect: source.allow_connect,
    })
}

fn tracing_config(source: &hcm::http_connection_manager::Tracing, at: &Path) -> Result<model::Tracing> {
    use weft_proto::xds::envoy::config::trace::v3 as trace;
    let provider = required(source.provider.as_ref(), at, "provider")?;
    let at_provider = at.field("provider").field("typed_config");
    let Some(trace::tracing::http::ConfigType::TypedConfig(any)) = &provider.config_type else {
        return Err(at_provider.error("is required"));
    };
    let provider: trace::OpenTelemetryConfig = unpack(any, &at_provider)?;
    let service = required(provider.grpc_service.as_ref(), &at_provider, "grpc_service")?;
    let share = |percent: Option<&Percent>| Fraction {
        parts_per_million: percent.map_or(1_000_000, |p| (p.value.clamp(0.0, 100.0) * 10_000.0).round() as u32),
    };
    let mut tags = Vec::with_capacity(source.custom_tags.len());
    for (index, tag) in source.custom_tags.iter().enumerate() {
        let at = at.field("custom_tags").index(index);
        tags.extend(at.part(|at| custom_tag(tag, at))?);
    }
    Ok(model::Tracing {
        collector_cluster: envoy_grpc_cluster(service, &at_provider.field("grpc_service"))?,
        service_name: (!provider.service_name.is_empty()).then(|| text(&provider.service_name)),
        random_sampling: share(source.random_sampling.as_ref()),
        overall_sampling: share(source.overall_sampling.as_ref()),
        client_sampling: share(source.client_sampling.as_ref()),
        tags,
        path_tag_bytes_max: uint32(source.max_path_tag_length.as_ref(), 256) as usize,
    })
}

fn custom_tag(source: &weft_proto::xds::envoy::r#type::tracing::v3::CustomTag, at: &Path) -> Result<model::CustomTag> {
    use weft_proto::xds::envoy::r#type::tracing::v3::custom_tag::Type;
    let value = match &source.r#type {
        Some(Type::Literal(literal)) => model::TagValue::Literal(text(&literal.value)),
        Some(Type::Environment(environment)) => model::TagValue::Environment {
            name: text(&environment.name),
            default: text(&environment.default_value),
        },
        Some(Type::RequestHeader(header)) => model::TagValue::RequestHeader {
            name: header_name(&header.name, &at.field("request_header").field("name"))?,
            default: text(&header.default_value),
        },
        _ => return Err(at.error("needs literal, environment or request_header")),
    };
    Ok(model::CustomTag {
        name: text(&source.tag),
        value,
    })
}
