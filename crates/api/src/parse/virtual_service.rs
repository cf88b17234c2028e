//! Reader of VirtualService and its HTTP rules.

use base64::Engine as _;

use super::fields::Fields;
use super::report::Report;
use super::rules::{shared, virtual_service as rules};
use super::trace::Question;
use super::tree::{Node, Value};
use super::{values, virtual_service_filters as filters, virtual_service_l4 as l4};
use crate::diagnostic::{Severity, code};
use crate::matching::{StringMatch, ValueMatch};
use crate::meta::Position;
use crate::virtual_service::{
    DirectResponse, HttpAction, HttpDestination, HttpMatch, HttpRoute, MESH_GATEWAY, Redirect, RedirectPort, Retries,
    RetryOn, Rewrite, VirtualService,
};

/// Most rules of one protocol.
const RULES_MAX: usize = 2048;
/// Most matches of one rule.
pub(super) const MATCHES_MAX: usize = 256;
/// Most destinations of one rule.
pub(super) const DESTINATIONS_MAX: usize = 128;

/// Longest body of a direct response (Istio's limit).
const BODY_BYTES_MAX: usize = 1 << 20;

/// Envoy's retry conditions for HTTP and gRPC (Envoy router filter, `x-envoy-retry-on` and `x-envoy-retry-grpc-on`) that the
/// mesh carries out.
const RETRY_CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Beginning of the name of what is no header but a claim of a token.
const CLAIMS: &str = "@request.auth.claims";

/// Answer to requests of a rule that nobody carries out.
const UNAVAILABLE: u16 = 503;

/// Reads `spec`.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> VirtualService {
    let hosts = values::hosts(fields, "hosts", shared::HOSTS);
    fields.rules(rules::SPEC);
    for name in ["http", "tls", "tcp"] {
        fields.at_most(name, RULES_MAX);
    }
    let mut gateways = fields.texts("gateways");
    if gateways.is_empty() {
        gateways.push(MESH_GATEWAY.to_owned());
    }
    let virtual_service = VirtualService {
        export_to: values::export_to(fields),
        http: fields.list("http", |report, node| report.map(node, http_route)),
        tls: fields.list("tls", |report, node| report.map(node, l4::tls_route)),
        tcp: fields.list("tcp", |report, node| report.map(node, l4::tcp_route)),
        hosts,
        gateways,
    };
    hidden_rules(fields.report(), &virtual_service.http);
    virtual_service
}

/// Reports rules that can never match because an earlier one takes everything.
fn hidden_rules(report: &mut Report, rules: &[HttpRoute]) {
    let takes_all = |rule: &HttpRoute| {
        rule.matches.is_empty()
            || rule.matches.iter().any(|one| {
                let all = HttpMatch {
                    at: one.at,
                    name: one.name.clone(),
                    uri: one
                        .uri
                        .clone()
                        .filter(|uri| *uri != StringMatch::Prefix("/".to_owned())),
                    ..HttpMatch::default()
                };
                all.uri.is_none()
                    && *one
                        == HttpMatch {
                            uri: one.uri.clone(),
                            ..all
                        }
            })
    };
    let Some(first) = rules.iter().position(takes_all).filter(|_| !report.is_broken()) else {
        return;
    };
    for (i, rule) in rules.iter().enumerate().skip(first + 1) {
        report.field(&format!("http[{i}]"), |report| {
            let message = format!("is never reached: http[{first}] matches every request");
            let hint = "move the rule without conditions to the end";
            report.add(Severity::Warning, code::UNREACHABLE_RULE, rule.at, message, hint);
        });
    }
}

fn http_route(fields: &mut Fields<'_, '_>) -> HttpRoute {
    let at = fields.at;
    fields.rules(rules::HTTP);
    fields.at_most("match", MATCHES_MAX);
    let matches = fields.list("match", |report, node| report.map(node, http_match));
    let rewrite = fields.map("rewrite", rewrite);
    let action = action(fields);
    fields.typed("delegate", Question::Object);
    let delegates = fields.close(
        "delegate",
        "requests that meet this rule get 503",
        "write the rules of the delegate into this object",
    );
    let route = HttpRoute {
        at,
        name: fields.text("name"),
        action: if delegates {
            HttpAction::DirectResponse(unavailable())
        } else {
            action
        },
        timeout: fields.duration("timeout"),
        retries: fields.map("retries", retries),
        headers: values::headers(fields),
        fault: fields.map("fault", filters::fault),
        cors: fields.map("corsPolicy", filters::cors),
        matches,
        rewrite,
    };
    for name in [
        "mirror",
        "mirrors",
        "mirrorPercentage",
        "mirrorPercent",
        "mirror_percent",
    ] {
        fields.pass_over(name, "no copies of requests are sent");
    }
    route
}

fn unavailable() -> DirectResponse {
    DirectResponse {
        status: UNAVAILABLE,
        body: Vec::new(),
    }
}

fn action(fields: &mut Fields<'_, '_>) -> HttpAction {
    fields.rules(shared::WEIGHTS);
    fields.at_most("route", DESTINATIONS_MAX);
    let routes_at = fields.place("route");
    let routes = fields.list("route", |report, node| report.map(node, http_destination).flatten());
    let given: Vec<Option<u32>> = routes.iter().map(|(_, weight)| *weight).collect();
    let weights = fields
        .report()
        .field("route", |report| values::weights(report, routes_at, &given));
    let destinations = routes
        .into_iter()
        .zip(weights)
        .map(|((destination, _), weight)| HttpDestination { weight, ..destination })
        .collect();
    let redirect = fields.map("redirect", redirect);
    let response = fields.map("directResponse", direct_response);
    match (redirect, response) {
        (Some(redirect), _) => HttpAction::Redirect(redirect),
        (None, Some(response)) => HttpAction::DirectResponse(response),
        (None, None) => HttpAction::Route(destinations),
    }
}

fn http_destination(fields: &mut Fields<'_, '_>) -> Option<(HttpDestination, Option<u32>)> {
    let at = fields.at;
    let destination = values::destination(fields);
    let weight = fields.count("weight");
    let headers = values::headers(fields);
    Some((
        HttpDestination {
            at,
            destination: destination?,
            weight: 0,
            headers,
        },
        weight,
    ))
}

fn http_match(fields: &mut Fields<'_, '_>) -> HttpMatch {
    let mut found = HttpMatch {
        at: fields.at,
        name: fields.text("name"),
        uri: fields
            .with("uri", |report, node| values::string_match_by(report, node, rules::URI))
            .flatten(),
        scheme: fields.with("scheme", values::string_match).flatten(),
        method: fields.with("method", values::string_match).flatten(),
        authority: fields.with("authority", values::string_match).flatten(),
        headers: fields.entries("headers", header_match),
        without_headers: fields.entries("withoutHeaders", header_match),
        query_params: fields.entries("queryParams", |report, _, node| values::value_match(report, node)),
        port: fields.port("port"),
        source_labels: values::labels(fields, "sourceLabels"),
        source_namespace: fields.text("sourceNamespace"),
        gateways: fields.texts("gateways"),
        ignore_uri_case: fields.flag("ignoreUriCase").unwrap_or(false),
        never: false,
    };
    found.never = claims(fields, "headers") | claims(fields, "withoutHeaders");
    for (name, _) in found.headers.iter_mut().chain(&mut found.without_headers) {
        name.make_ascii_lowercase();
    }
    fields.pass_over("statPrefix", "requests are counted by their cluster and service alone");
    found
}

/// Whether a match looks at claims of a token, which nobody checks: reported, and such a match never holds.
fn claims(fields: &mut Fields<'_, '_>, name: &'static str) -> bool {
    let Some(Value::Map(entries)) = fields.get(name).map(|node| &node.value) else {
        return false;
    };
    let of_claims: Vec<(String, Position)> = (entries.iter().filter(|entry| entry.key.starts_with(CLAIMS)))
        .map(|entry| (entry.key.clone(), entry.at))
        .collect();
    for (key, at) in &of_claims {
        fields.report().field(name, |report| {
            report.field(key, |report| {
                let message = "matching on JWT claims is not supported by this mesh yet, so no request meets this match; the rest \
                               of the object applies";
                report.part(code::UNSUPPORTED_FIELD, *at, message, "remove the match");
            });
        });
    }
    !of_claims.is_empty()
}

fn header_match(report: &mut Report, name: &str, node: &Node) -> Option<ValueMatch> {
    if name.starts_with(CLAIMS) {
        return None;
    }
    if !super::check::is_field(name) {
        report.invalid(
            node.at,
            format!("{name:?} is not a header name"),
            "use letters, digits and dashes",
        );
        return None;
    }
    values::value_match(report, node)
}

fn redirect(fields: &mut Fields<'_, '_>) -> Redirect {
    fields.rules(rules::REDIRECT);
    let number = fields.port("port").map(RedirectPort::Number);
    let derived = fields.choice(
        "derivePort",
        &[
            ("FROM_PROTOCOL_DEFAULT", RedirectPort::ProtocolDefault),
            ("FROM_REQUEST_PORT", RedirectPort::Request),
        ],
    );
    let code = fields.number("redirectCode", 301, 308);
    let code = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(301);
    Redirect {
        uri: fields.text("uri"),
        prefix_rewrite: fields.text("prefixRewrite"),
        authority: fields.text("authority"),
        port: number.or(derived),
        scheme: fields
            .choice("scheme", &[("http", "http"), ("https", "https")])
            .map(str::to_owned),
        code,
    }
}

fn direct_response(fields: &mut Fields<'_, '_>) -> DirectResponse {
    fields.rules(rules::DIRECT_RESPONSE);
    let status = fields
        .number("status", 200, 599)
        .and_then(|status| u16::try_from(status).ok());
    let body = fields.map("body", |f| {
        f.rules(rules::BODY);
        let text = f.text("string").map(String::into_bytes);
        let bytes = f.text("bytes").and_then(|encoded| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
            if decoded.is_err() {
                f.invalid("bytes", "is not base64", "use string for plain text");
            }
            decoded.ok()
        });
        text.or(bytes).unwrap_or_default()
    });
    let body = body.unwrap_or_default();
    if body.len() > BODY_BYTES_MAX {
        fields.invalid(
            "body",
            format!("has {} bytes, more than 1 MiB", body.len()),
            "serve it from a workload",
        );
    }
    DirectResponse {
        status: status.unwrap_or(200),
        body,
    }
}

fn rewrite(fields: &mut Fields<'_, '_>) -> Rewrite {
    fields.rules(rules::REWRITE);
    let authority = fields.text("authority");
    Rewrite {
        uri: fields.text("uri"),
        authority,
        uri_regex: fields
            .map("uriRegexRewrite", |f| {
                f.rules(rules::REGEX_REWRITE);
                let pattern = values::pattern(f, "match");
                let replacement = f.text("rewrite").unwrap_or_default();
                if !super::check::is_substitution(&replacement) {
                    let hint = "write \\1 for the first group, and \\\\ for a backslash";
                    f.invalid("rewrite", "has a backslash that names no group", hint);
                }
                Some((pattern?, replacement))
            })
            .flatten(),
    }
}

fn retries(fields: &mut Fields<'_, '_>) -> Retries {
    fields.rules(rules::RETRIES);
    fields.pass_over_true("retryRemoteLocalities", "endpoints of every locality are tried anyway");
    let attempts = fields.with("attempts", |report, node| {
        report
            .integer(node, 0, i32::MAX.into())
            .and_then(|number| u32::try_from(number).ok())
    });
    Retries {
        attempts: attempts.flatten().unwrap_or(0),
        per_try_timeout: fields.duration("perTryTimeout").filter(|timeout| !timeout.is_zero()),
        on: fields.with("retryOn", retry_on).flatten(),
        ignore_previous_hosts: fields.flag("retryIgnorePreviousHosts"),
        backoff: fields.positive_duration("backoff"),
    }
}

fn retry_on(report: &mut Report, node: &Node) -> Option<RetryOn> {
    let Value::Scalar { text, .. } = &node.value else {
        return report.text(node).map(|_| RetryOn::default());
    };
    let mut on = RetryOn::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<u16>() {
            Ok(status) if (100..=599).contains(&status) => on.status_codes.push(status),
            _ if RETRY_CONDITIONS.contains(&word) => on.conditions.push(word.to_owned()),
            _ => {
                let hint = match crate::suggest::nearest(word, RETRY_CONDITIONS.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("use {} or status codes", RETRY_CONDITIONS.join(", ")),
                };
                report.invalid(node.at, format!("{word:?} is not a retry condition"), hint);
                return None;
            }
        }
    }
    Some(on)
}
