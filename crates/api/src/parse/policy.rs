//! Readers of AuthorizationPolicy, RequestAuthentication and Telemetry.

use super::fields::Fields;
use super::report::Report;
use super::rules::policy as rules;
use super::tree::Node;
use super::values;
use crate::authorization_policy::{Action, AuthorizationPolicy, Condition, OneOf, Operation, Rule, Source};
use crate::diagnostic::{Severity, code};
use crate::request_authentication::{JwtRule, RequestAuthentication};
use crate::telemetry::Telemetry;

/// An AuthorizationPolicy without `spec`: lets nothing through.
pub(super) fn closed() -> AuthorizationPolicy {
    AuthorizationPolicy {
        selector: None,
        action: Action::Allow,
        rules: Vec::new(),
    }
}

/// Reads `spec` of an AuthorizationPolicy.
pub(super) fn authorization_policy(fields: &mut Fields<'_, '_>) -> AuthorizationPolicy {
    let action = fields.choice(
        "action",
        &[
            ("ALLOW", Action::Allow),
            ("DENY", Action::Deny),
            ("AUDIT", Action::Audit),
            ("CUSTOM", Action::Custom),
        ],
    );
    fields.map("provider", |f| f.text("name"));
    let policy = AuthorizationPolicy {
        selector: selector(fields),
        action: action.unwrap_or(Action::Allow),
        rules: fields.list("rules", |report, node| report.map(node, rule)),
    };
    if policy.action == Action::Deny && policy.rules.is_empty() {
        fields.warn(
            "rules",
            "are empty, so nothing is denied",
            "use `rules: [{}]` to deny everything",
        );
    }
    policy
}

/// `selector`; `targetRefs` need Gateway API objects, which select nothing yet.
fn selector(fields: &mut Fields<'_, '_>) -> Option<crate::meta::Labels> {
    fields.refuse("targetRefs", "use selector");
    fields.refuse("targetRef", "use selector");
    values::selector(fields, "selector", "matchLabels")
}

fn rule(fields: &mut Fields<'_, '_>) -> Rule {
    Rule {
        from: fields.list("from", |report, node| {
            report.map(node, |f| f.map("source", source)).flatten()
        }),
        to: fields.list("to", |report, node| {
            report.map(node, |f| f.map("operation", operation)).flatten()
        }),
        when: fields.list("when", |report, node| report.map(node, condition)),
    }
}

fn one_of(fields: &mut Fields<'_, '_>, name: &'static str, not_name: &'static str) -> OneOf {
    OneOf {
        values: fields.texts(name),
        not_values: fields.texts(not_name),
    }
}

fn source(fields: &mut Fields<'_, '_>) -> Source {
    Source {
        principals: one_of(fields, "principals", "notPrincipals"),
        request_principals: one_of(fields, "requestPrincipals", "notRequestPrincipals"),
        namespaces: one_of(fields, "namespaces", "notNamespaces"),
        service_accounts: one_of(fields, "serviceAccounts", "notServiceAccounts"),
        trust_domains: one_of(fields, "trustDomains", "notTrustDomains"),
        ip_blocks: one_of(fields, "ipBlocks", "notIpBlocks"),
        remote_ip_blocks: one_of(fields, "remoteIpBlocks", "notRemoteIpBlocks"),
    }
}

fn operation(fields: &mut Fields<'_, '_>) -> Operation {
    Operation {
        hosts: one_of(fields, "hosts", "notHosts"),
        ports: one_of(fields, "ports", "notPorts"),
        methods: one_of(fields, "methods", "notMethods"),
        paths: one_of(fields, "paths", "notPaths"),
    }
}

fn condition(fields: &mut Fields<'_, '_>) -> Condition {
    Condition {
        key: fields.required_text("key", "name an attribute, for example source.namespace"),
        values: one_of(fields, "values", "notValues"),
    }
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
