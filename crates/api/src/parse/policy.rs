//! Readers of RequestAuthentication and Telemetry.

use super::fields::Fields;
use super::report::Report;
use super::rules::policy as rules;
use super::tree::Node;
use super::values;
use crate::diagnostic::{Severity, code};
use crate::request_authentication::{JwtRule, RequestAuthentication};
use crate::telemetry::Telemetry;

/// `selector`; `targetRefs` need Gateway API objects, which select nothing yet.
fn selector(fields: &mut Fields<'_, '_>) -> Option<crate::meta::Labels> {
    fields.refuse("targetRefs", "use selector");
    fields.refuse("targetRef", "use selector");
    values::selector(fields, "selector", "matchLabels")
}

/// A RequestAuthentication without `spec`: says nothing of tokens.
pub(super) fn no_rules() -> RequestAuthentication {
    RequestAuthentication {
        selector: None,
        rules: Vec::new(),
    }
}

/// Reads `spec` of a RequestAuthentication.
pub(super) fn request_authentication(fields: &mut Fields<'_, '_>) -> RequestAuthentication {
    RequestAuthentication {
        selector: selector(fields),
        rules: fields.list("jwtRules", |report, node| report.map(node, jwt_rule)),
    }
}

fn jwt_rule(fields: &mut Fields<'_, '_>) -> JwtRule {
    fields.ignore(&["timeout", "spaceDelimitedClaims", "presence"]);
    fields.rules(rules::JWT_RULE);
    JwtRule {
        issuer: fields.required_text("issuer", "name the issuer of the tokens"),
        audiences: fields.texts("audiences"),
        jwks_uri: fields.text("jwksUri"),
        jwks: fields.text("jwks"),
        from_headers: fields.list("fromHeaders", |report, node| {
            report.map(node, |f| {
                let name = f.required_text("name", "name the header");
                (name, f.text("prefix").unwrap_or_default())
            })
        }),
        from_params: fields.texts("fromParams"),
        from_cookies: fields.texts("fromCookies"),
        forward_original_token: fields.flag("forwardOriginalToken").unwrap_or(false),
        output_payload_to_header: fields.text("outputPayloadToHeader"),
        output_claims_to_headers: fields.list("outputClaimToHeaders", |report, node| {
            report.map(node, |f| {
                let header = f.required_text("header", "name the header");
                (header, f.required_text("claim", "name the claim"))
            })
        }),
    }
}

/// Reads `spec` of a Telemetry object: which parts it has. Each is reported as not carried out.
pub(super) fn telemetry(fields: &mut Fields<'_, '_>) -> Telemetry {
    let selector = selector(fields);
    let mut parts = Vec::new();
    for part in ["metrics", "tracing", "accessLogging"] {
        let not_yet = |report: &mut Report, node: &Node| {
            let message = "is not carried out by this mesh yet and has no effect";
            report.add(Severity::Warning, code::UNSUPPORTED_FIELD, node.at, message, "");
        };
        if fields.with(part, not_yet).is_some() {
            parts.push(part);
        }
    }
    Telemetry { selector, parts }
}
