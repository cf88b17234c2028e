//! `security.istio.io` RequestAuthentication: whose tokens requests may carry (istio.io, "Request Authentication").

use crate::meta::Labels;

/// A RequestAuthentication. A request with a token that no rule accepts is refused; one without a token is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAuthentication {
    /// Labels of the workloads; all of the namespace where absent.
    pub selector: Option<Labels>,
    /// Issuers that are accepted.
    pub rules: Vec<JwtRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtRule {
    /// `iss` of its tokens.
    pub issuer: String,
    /// Accepted audiences; any where empty.
    pub audiences: Vec<String>,
    /// Where its keys are; by OpenID discovery where neither this nor `jwks` is given.
    pub jwks_uri: Option<String>,
    pub jwks: Option<String>,
    /// Headers with tokens, each with the prefix before the token.
    pub from_headers: Vec<(String, String)>,
    /// Query parameters with tokens.
    pub from_params: Vec<String>,
    /// Cookies with tokens.
    pub from_cookies: Vec<String>,
    /// Whether the token goes on to the application.
    pub forward_original_token: bool,
    /// Header for the verified payload.
    pub output_payload_to_header: Option<String>,
    /// Headers for single claims: header, claim.
    pub output_claims_to_headers: Vec<(String, String)>,
}
