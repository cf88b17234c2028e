//! Policies of action CUSTOM: rules of access that only choose, and a filter that asks the provider about what they have chosen (Istio:
//! `pilot/pkg/security/authz/builder`).

use std::collections::HashMap;
use std::time::Duration;

use weft_api::authorization_policy::Wildcard;
use weft_api::extension_provider::{CheckProtocol, ExtensionProvider, HttpCheck};
use weft_proto::cluster_name::{ClusterName, Outbound};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::rbac::v3 as pb;
use weft_proto::xds::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use weft_proto::xds::envoy::extensions::filters::http::rbac::v3 as rbac;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;
use weft_proto::xds::envoy::r#type::v3::HttpStatus;

use super::{HTTP, matchers, sorted};
use crate::generate::wire::{any, duration};

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
/// Prefix of what the rules leave (Istio's).
const SHADOW_PREFIX: &str = "istio_ext_authz_";
/// What the names of chosen rules begin with (Istio's).
const RULE_PREFIX: &str = "istio-ext-authz";
/// How long a provider has where it does not say (Istio's).
const TIMEOUT: Duration = Duration::from_secs(600);

/// The filters that choose and ask.
pub(super) fn filters(provider: &ExtensionProvider, policies: HashMap<String, pb::Policy>) -> [HttpFilter; 2] {
    let policies = policies.into_iter();
    let chosen = rbac::Rbac {
        shadow_rules: Some(pb::Rbac {
            action: pb::rbac::Action::Deny as i32,
            policies: policies
                .map(|(name, policy)| (format!("{RULE_PREFIX}-{name}"), policy))
                .collect(),
            ..pb::Rbac::default()
        }),
        shadow_rules_stat_prefix: SHADOW_PREFIX.to_owned(),
        ..rbac::Rbac::default()
    };
    let filter = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    };
    [
        filter(HTTP, sorted(&chosen)),
        filter(EXT_AUTHZ, any(&question(provider))),
    ]
}

fn question(provider: &ExtensionProvider) -> ext_authz::ExtAuthz {
    let outbound = Outbound::new(provider.port, None, &provider.host);
    let cluster = ClusterName::Outbound(outbound).to_string();
    let timeout = provider.timeout.unwrap_or(TIMEOUT);
    let (services, allowed_headers) = match &provider.protocol {
        CheckProtocol::Grpc => {
            let envoy = core::grpc_service::EnvoyGrpc {
                cluster_name: cluster,
                authority: provider.host.clone(),
                ..core::grpc_service::EnvoyGrpc::default()
            };
            let service = core::GrpcService {
                timeout: Some(duration(timeout)),
                target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
                ..core::GrpcService::default()
            };
            (ext_authz::ext_authz::Services::GrpcService(service), None)
        }
        CheckProtocol::Http(check) => {
            let uri = core::HttpUri {
                uri: format!("http://{}", provider.host),
                timeout: Some(duration(timeout)),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
            };
            let service = http_service(check, uri);
            (
                ext_authz::ext_authz::Services::HttpService(service),
                names(&check.request_headers),
            )
        }
    };
    ext_authz::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        services: Some(services),
        allowed_headers,
        failure_mode_allow: provider.fail_open,
        status_on_error: provider
            .status_on_error
            .map(|code| HttpStatus { code: i32::from(code) }),
        with_request_body: provider.body.map(|body| ext_authz::BufferSettings {
            max_request_bytes: body.max,
            allow_partial_message: body.partial,
            pack_as_bytes: body.as_bytes,
        }),
        filter_enabled_metadata: Some(chosen()),
        include_peer_certificate: true,
        ..ext_authz::ExtAuthz::default()
    }
}

fn http_service(check: &HttpCheck, uri: core::HttpUri) -> ext_authz::HttpService {
    let added = check.additional_headers.iter().map(|(key, value)| core::HeaderValue {
        key: key.clone(),
        value: value.clone(),
        ..core::HeaderValue::default()
    });
    ext_authz::HttpService {
        server_uri: Some(uri),
        path_prefix: check.path_prefix.clone(),
        authorization_request: Some(ext_authz::AuthorizationRequest {
            headers_to_add: added.collect(),
            ..ext_authz::AuthorizationRequest::default()
        }),
        authorization_response: Some(ext_authz::AuthorizationResponse {
            allowed_upstream_headers: names(&check.to_upstream),
            allowed_client_headers: names(&check.to_client_on_deny),
            allowed_client_headers_on_success: names(&check.to_client_on_allow),
            ..ext_authz::AuthorizationResponse::default()
        }),
        ..ext_authz::HttpService::default()
    }
}

fn names(headers: &[Wildcard]) -> Option<matcher::ListStringMatcher> {
    (!headers.is_empty()).then(|| matcher::ListStringMatcher {
        patterns: headers.iter().map(matchers::string).collect(),
    })
}

/// What the rules leave of a request that they choose.
fn chosen() -> matcher::MetadataMatcher {
    let key = format!("{SHADOW_PREFIX}shadow_effective_policy_id");
    matcher::MetadataMatcher {
        filter: HTTP.to_owned(),
        path: vec![matcher::metadata_matcher::PathSegment {
            segment: Some(matcher::metadata_matcher::path_segment::Segment::Key(key)),
        }],
        value: Some(matchers::text(&Wildcard::Prefix(RULE_PREFIX.to_owned()))),
        invert: false,
    }
}
