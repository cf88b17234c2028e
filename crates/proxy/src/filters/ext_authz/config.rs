//! A service that decides whether requests may pass, as configured (`envoy.filters.http.ext_authz`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::filters::http::ext_authz::v3 as pb;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::matcher::string_matcher;
use crate::model::convert::rbac::metadata_matcher;
use crate::model::convert::secret::envoy_grpc;
use crate::model::convert::{
    Path, Result, duration, header_name, holds, optional_duration, required, runtime_share, status, text, unpack,
};
use crate::model::matcher::{Fraction, StringMatcher};
use crate::model::rbac::MetadataMatcher;

/// How long a service has where nothing is said, as in Envoy.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Shared by the filter and its model: it is large.
pub type Config = Arc<Settings>;

/// What is asked of whom, and what follows (Envoy `ext_authz.v3.ExtAuthz`).
#[derive(Clone, Debug)]
pub struct Settings {
    pub service: Service,
    /// How much of bodies the service sees.
    pub body: Option<BodySettings>,
    /// Requests pass where the service fails.
    pub failure_mode_allow: bool,
    /// Upstream is told of such requests.
    pub failure_mode_allow_header: bool,
    /// Status where the service fails and requests do not pass then.
    pub status_on_error: StatusCode,
    /// Requests that the service is asked about; all where nothing is said.
    pub enabled: Option<Fraction>,
    /// Dynamic metadata of those requests; all where nothing is said.
    pub enabled_metadata: Option<MetadataMatcher>,
    /// Requests that it is not asked about are refused instead of let through.
    pub deny_at_disable: bool,
    /// The service is shown the client's certificate.
    pub include_peer_certificate: bool,
    /// The service is told the server name of TLS.
    pub include_tls_session: bool,
    /// Namespaces of dynamic metadata that the service is told.
    pub metadata_namespaces: Vec<String>,
    pub headers: HeaderChoice,
    /// Behind `ext_authz.` in the names of its counters; with a dot at its end unless it is empty.
    pub stat_prefix: String,
    /// Longest body of a refusal that is passed on, in bytes; zero is without bound.
    pub denied_body_bytes_max: usize,
}

/// Who is asked, and in which protocol.
#[derive(Clone, Debug)]
pub enum Service {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcService),
    /// A request of HTTP that resembles the client's.
    Http(Box<HttpService>),
}

#[derive(Clone, Debug)]
pub struct GrpcService {
    pub cluster: Arc<str>,
    /// Host that the service is asked as.
    pub authority: HeaderValue,
    pub timeout: Duration,
    /// Headers of every question.
    pub metadata: HeaderMap,
}

#[derive(Clone, Debug)]
pub struct HttpService {
    pub cluster: Arc<str>,
    pub timeout: Duration,
    /// In front of the client's path.
    pub path_prefix: String,
    /// Instead of the client's path, where not empty.
    pub path_override: String,
    /// Headers of every question.
    pub headers_to_add: Vec<(HeaderName, HeaderValue)>,
    /// Headers of a permission that the request gets instead of its own.
    pub upstream: Vec<StringMatcher>,
    /// Headers of a permission that the request gets beside its own.
    pub upstream_append: Vec<StringMatcher>,
    /// Headers of a refusal that the client gets; all where nothing is said.
    pub client: Option<Vec<StringMatcher>>,
    /// Headers of a permission that the client gets.
    pub client_on_success: Vec<StringMatcher>,
    /// Headers of a permission that become dynamic metadata.
    pub metadata: Vec<StringMatcher>,
}

/// Which headers of requests the service is told.
#[derive(Clone, Debug, Default)]
pub struct HeaderChoice {
    /// Those; where nothing is said, all over gRPC and few over HTTP.
    pub allowed: Option<Vec<StringMatcher>>,
    /// But never those.
    pub disallowed: Vec<StringMatcher>,
}

/// How much of a body a service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySettings {
    pub bytes_max: usize,
    /// A longer body is shown in part instead of refused.
    pub allow_partial: bool,
    /// Over gRPC as bytes instead of text.
    pub as_bytes: bool,
}

/// What a route tells.
#[derive(Clone, Debug)]
pub enum RouteConfig {
    /// The service is not asked.
    Off,
    On {
        /// What the service is told of the route; less specific levels add to it.
        extensions: BTreeMap<String, String>,
        /// What it sees of bodies, where the route says it: `Some(None)` is nothing.
        body: Option<Option<BodySettings>>,
    },
}

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::ExtAuthz>(any) {
        return Ok(None);
    }
    let source: pb::ExtAuthz = unpack(any, at)?;
    let service = match required(source.services.as_ref(), at, "grpc_service")? {
        pb::ext_authz::Services::GrpcService(service) => Service::Grpc(grpc(service, &at.field("grpc_service"))?),
        pb::ext_authz::Services::HttpService(service) => {
            Service::Http(Box::new(http(service, &at.field("http_service"))?))
        }
    };
    let status_on_error = match &source.status_on_error {
        None => StatusCode::FORBIDDEN,
        Some(code) => status(
            u32::try_from(code.code).unwrap_or_default(),
            &at.field("status_on_error"),
        )?,
    };
    let prefix = &source.stat_prefix;
    Ok(Some(Arc::new(Settings {
        service,
        body: body(source.with_request_body.as_ref(), &at.field("with_request_body"))?,
        failure_mode_allow: source.failure_mode_allow,
        failure_mode_allow_header: source.failure_mode_allow_header_add,
        status_on_error,
        enabled: runtime_share(source.filter_enabled.as_ref(), &at.field("filter_enabled"))?,
        enabled_metadata: (source.filter_enabled_metadata.as_ref())
            .map(|matcher| metadata_matcher(matcher, &at.field("filter_enabled_metadata")))
            .transpose()?,
        deny_at_disable: flag(source.deny_at_disable.as_ref(), &at.field("deny_at_disable"))?,
        include_peer_certificate: source.include_peer_certificate,
        include_tls_session: source.include_tls_session,
        metadata_namespaces: source.metadata_context_namespaces.clone(),
        headers: HeaderChoice {
            allowed: optional_matchers(source.allowed_headers.as_ref(), &at.field("allowed_headers"))?,
            disallowed: matchers(source.disallowed_headers.as_ref(), &at.field("disallowed_headers"))?,
        },
        stat_prefix: if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}.")
        },
        denied_body_bytes_max: usize::try_from(source.max_denied_response_body_bytes).unwrap_or(usize::MAX),
    })))
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    if !holds::<pb::ExtAuthzPerRoute>(any) {
        return Ok(None);
    }
    let source: pb::ExtAuthzPerRoute = unpack(any, at)?;
    let settings = match required(source.r#override.as_ref(), at, "check_settings")? {
        pb::ext_authz_per_route::Override::Disabled(true) => return Ok(Some(RouteConfig::Off)),
        pb::ext_authz_per_route::Override::Disabled(false) => {
            return Err(at.field("disabled").error("must be true where it is said"));
        }
        pb::ext_authz_per_route::Override::CheckSettings(settings) => settings,
    };
    let at = at.field("check_settings");
    let at_body = at.field("with_request_body");
    let own = body(settings.with_request_body.as_ref(), &at_body)?;
    if own.is_some() && settings.disable_request_body_buffering {
        return Err(at_body.error("and disable_request_body_buffering exclude each other"));
    }
    let says = own.is_some() || settings.disable_request_body_buffering;
    Ok(Some(RouteConfig::On {
        extensions: settings.context_extensions.clone().into_iter().collect(),
        body: says.then_some(own),
    }))
}

fn grpc(source: &core::GrpcService, at: &Path) -> Result<GrpcService> {
    let service = envoy_grpc(source, at)?;
    let at_envoy = at.field("envoy_grpc");
    let authority = if service.authority.is_empty() {
        &service.cluster_name
    } else {
        &service.authority
    };
    let mut metadata = HeaderMap::new();
    for (index, header) in source.initial_metadata.iter().enumerate() {
        let (name, value) = pair(header, &at.field("initial_metadata").index(index))?;
        metadata.append(name, value);
    }
    Ok(GrpcService {
        cluster: text(&service.cluster_name),
        authority: HeaderValue::from_str(authority)
            .map_err(|_| at_envoy.field("authority").error(format!("{authority:?} is no host")))?,
        timeout: duration(source.timeout.as_ref(), TIMEOUT, &at.field("timeout"))?,
        metadata,
    })
}

fn http(source: &pb::HttpService, at: &Path) -> Result<HttpService> {
    let uri = required(source.server_uri.as_ref(), at, "server_uri")?;
    let at_uri = at.field("server_uri");
    let Some(core::http_uri::HttpUpstreamType::Cluster(cluster)) = &uri.http_upstream_type else {
        return Err(at_uri.field("cluster").error("is required"));
    };
    let timeout = optional_duration(uri.timeout.as_ref(), &at_uri.field("timeout"))?;
    if !source.path_prefix.is_empty() && !source.path_override.is_empty() {
        return Err(at.field("path_override").error("and path_prefix exclude each other"));
    }
    for (field, path) in [
        ("path_prefix", &source.path_prefix),
        ("path_override", &source.path_override),
    ] {
        if !path.is_empty() && !path.starts_with('/') {
            return Err(at.field(field).error("must begin with a slash"));
        }
    }
    let none = pb::AuthorizationRequest::default();
    let request = source.authorization_request.as_ref().unwrap_or(&none);
    let at_added = at.field("authorization_request").field("headers_to_add");
    let added = request.headers_to_add.iter().enumerate();
    let none = pb::AuthorizationResponse::default();
    let response = source.authorization_response.as_ref().unwrap_or(&none);
    let at_response = at.field("authorization_response");
    let list = |list: &Option<matcher::ListStringMatcher>, field| matchers(list.as_ref(), &at_response.field(field));
    Ok(HttpService {
        cluster: text(cluster),
        timeout: timeout.ok_or_else(|| at_uri.field("timeout").error("is required"))?,
        path_prefix: source.path_prefix.clone(),
        path_override: source.path_override.clone(),
        headers_to_add: added
            .map(|(index, header)| pair(header, &at_added.index(index)))
            .collect::<Result<_>>()?,
        upstream: list(&response.allowed_upstream_headers, "allowed_upstream_headers")?,
        upstream_append: list(
            &response.allowed_upstream_headers_to_append,
            "allowed_upstream_headers_to_append",
        )?,
        client: optional_matchers(
            response.allowed_client_headers.as_ref(),
            &at_response.field("allowed_client_headers"),
        )?,
        client_on_success: list(
            &response.allowed_client_headers_on_success,
            "allowed_client_headers_on_success",
        )?,
        metadata: list(&response.dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?,
    })
}

fn pair(source: &core::HeaderValue, at: &Path) -> Result<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&source.value);
    let value = value.map_err(|_| at.field("value").error("has control characters"))?;
    Ok((header_name(&source.key, &at.field("key"))?, value))
}

fn body(source: Option<&pb::BufferSettings>, at: &Path) -> Result<Option<BodySettings>> {
    let Some(source) = source else { return Ok(None) };
    if source.max_request_bytes == 0 {
        return Err(at.field("max_request_bytes").error("must be above 0"));
    }
    Ok(Some(BodySettings {
        bytes_max: usize::try_from(source.max_request_bytes).unwrap_or(usize::MAX),
        allow_partial: source.allow_partial_message,
        as_bytes: source.pack_as_bytes,
    }))
}

/// What a runtime flag has where no runtime says otherwise.
fn flag(source: Option<&core::RuntimeFeatureFlag>, at: &Path) -> Result<bool> {
    let Some(source) = source else { return Ok(false) };
    let value = required(source.default_value.as_ref(), at, "default_value")?;
    Ok(value.value)
}

fn matchers(source: Option<&matcher::ListStringMatcher>, at: &Path) -> Result<Vec<StringMatcher>> {
    Ok(optional_matchers(source, at)?.unwrap_or_default())
}

fn optional_matchers(source: Option<&matcher::ListStringMatcher>, at: &Path) -> Result<Option<Vec<StringMatcher>>> {
    let Some(source) = source else { return Ok(None) };
    let at = at.field("patterns");
    let patterns = source.patterns.iter().enumerate();
    let read = patterns.map(|(index, pattern)| string_matcher(pattern, &at.index(index)));
    read.collect::<Result<_>>().map(Some)
}
