//! Filters that refuse traffic by policy. Where one of them is refused, what it was meant for is closed, whatever was there before
//! (decision 90).

use weft_proto::xds::google::protobuf::Any;

/// Their types (Envoy, "HTTP filters" and "Network filters").
const POLICIES: [&str; 9] = [
    "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
    "envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.oauth2.v3.OAuth2",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.network.client_ssl_auth.v3.ClientSSLAuth",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
];

/// Whether a filter's configuration is that of a policy.
pub(super) fn enforces(config: &Any) -> bool {
    let name = config.type_url.rsplit('/').next().unwrap_or_default();
    POLICIES.contains(&name)
}
