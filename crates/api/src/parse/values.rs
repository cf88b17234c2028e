//! Readers of the values that several kinds share.

use super::fields::Fields;
use super::report::Report;
use super::rules::shared;
use super::tree::{Node, Value};
use super::{check, format};
use crate::diagnostic::{Severity, code};
use crate::matching::{Destination, ExportTo, HeaderOps, Headers, NamespaceScope, Percent, StringMatch, ValueMatch};
use crate::meta::Labels;
use crate::protocol::Protocol;
use crate::rule::Rule;

/// Most hosts of one object (Istio's limit).
const HOSTS_MAX: usize = 256;
/// Longest host: a DNS name with a wildcard in front and a dot at the end.
const HOST_LENGTH_MAX: usize = 256;
/// Most labels of one selector (Istio's limit).
const LABELS_MAX: usize = 256;
/// Longest value of a label (Kubernetes, "Labels and Selectors").
const LABEL_LENGTH_MAX: usize = 63;
/// No protocol has a longer name.
const PROTOCOL_LENGTH_MAX: usize = 16;

/// `{exact|prefix|regex: text}`.
pub(super) fn string_match(report: &mut Report, node: &Node) -> Option<StringMatch> {
    string_match_by(report, node, &[])
}

/// Like [`string_match`], with further rules.
pub(super) fn string_match_by(report: &mut Report, node: &Node, further: &'static [Rule]) -> Option<StringMatch> {
    let read = report.map(node, |f| {
        f.rules(shared::STRING_MATCH);
        f.rules(further);
        matched(f)
    });
    match read? {
        ValueMatch::Value(value) => Some(value),
        ValueMatch::Present => None,
    }
}

/// Like [`string_match`]; an empty object means: present.
pub(super) fn value_match(report: &mut Report, node: &Node) -> Option<ValueMatch> {
    report.map(node, matched)
}

fn matched(fields: &mut Fields<'_, '_>) -> ValueMatch {
    fields.rules(shared::VALUE_MATCH);
    let exact = fields.text("exact").map(StringMatch::Exact);
    let prefix = fields.text("prefix").map(StringMatch::Prefix);
    let regex = pattern(fields, "regex").map(StringMatch::Regex);
    match exact.or(prefix).or(regex) {
        Some(value) => ValueMatch::Value(value),
        None => ValueMatch::Present,
    }
}

/// A regular expression, checked to compile.
pub(super) fn pattern(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let pattern = fields.text(name)?;
    if let Err(reason) = check::regex(&pattern) {
        let message = format!("{pattern:?} is not a regular expression: {reason}");
        fields.invalid(name, message, "use RE2 syntax (no look-around, no back-references)");
        return None;
    }
    Some(pattern)
}

/// `headers: {request: {...}, response: {...}}`.
pub(super) fn headers(fields: &mut Fields<'_, '_>) -> Headers {
    fields
        .map("headers", |f| Headers {
            request: f.map("request", header_ops).unwrap_or_default(),
            response: f.map("response", header_ops).unwrap_or_default(),
        })
        .unwrap_or_default()
}

fn header_ops(fields: &mut Fields<'_, '_>) -> HeaderOps {
    HeaderOps {
        set: fields.entries("set", header_value),
        add: fields.entries("add", header_value),
        remove: fields.list("remove", |report, node| {
            let name = report.text(node)?;
            header_name(report, node, &name).then_some(name)
        }),
    }
}

fn header_value(report: &mut Report, name: &str, node: &Node) -> Option<String> {
    let value = report.text(node)?;
    if !check::is_header_value(&value) {
        report.invalid(
            node.at,
            "has characters that a header may not have",
            "use printable characters",
        );
        return None;
    }
    if let Err(reason) = format::check(&value) {
        report.invalid(node.at, reason, "write %% for the sign itself");
        return None;
    }
    header_name(report, node, name).then_some(value)
}

/// Whether a header may be changed; reports if not.
fn header_name(report: &mut Report, node: &Node, name: &str) -> bool {
    if !check::is_header_name(name) {
        report.invalid(
            node.at,
            format!("{name:?} is not a header name"),
            "use letters, digits and dashes",
        );
        return false;
    }
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let hint = "use rewrite.authority or rewrite.uri";
        report.invalid(node.at, format!("{name} may not be changed as a header"), hint);
        return false;
    }
    true
}

/// `destination: {host, subset, port: {number}}`.
pub(super) fn destination(fields: &mut Fields<'_, '_>) -> Option<Destination> {
    if fields.get("destination").is_none() {
        fields.missing("destination", "name a host");
        return None;
    }
    fields.map("destination", |f| Destination {
        at: f.at,
        host: host(f, "host", false),
        subset: f.text("subset"),
        port: f.map("port", |f| {
            f.refuse("name", "give the number");
            f.required_port("number")
        }),
    })
}

/// A host that must be there; the empty text after a report.
pub(super) fn host(fields: &mut Fields<'_, '_>, name: &'static str, wildcard: bool) -> String {
    let host = fields.required_text(
        name,
        "name a service, for example reviews or reviews.prod.svc.cluster.local",
    );
    if !host.is_empty()
        && let Err(reason) = check::host(&host, wildcard)
    {
        fields.invalid(name, format!("{host:?} {reason}"), "");
    }
    host
}

/// A list of hosts, wildcards allowed; at least one. What is no host at all is a matter of `rules`.
pub(super) fn hosts(fields: &mut Fields<'_, '_>, name: &'static str, rules: &'static [Rule]) -> Vec<String> {
    if fields.get(name).is_none() {
        fields.missing(name, "name at least one host");
    }
    fields.rules(rules);
    fields.at_most(name, HOSTS_MAX);
    fields.list(name, |report, node| {
        let host = report.text(node)?;
        report.at_most(node, HOST_LENGTH_MAX);
        if let Err(reason) = check::host(&host, true) {
            if check::is_host(&host) {
                report.invalid(node.at, format!("{host:?} {reason}"), "");
            }
            return None;
        }
        Some(host)
    })
}

/// `exportTo`.
pub(super) fn export_to(fields: &mut Fields<'_, '_>) -> ExportTo {
    ExportTo(fields.list("exportTo", |report, node| {
        let text = report.text(node)?;
        let scope = NamespaceScope::parse(&text);
        if let NamespaceScope::Named(name) = &scope
            && !check::is_dns_label(name)
        {
            let hint = "use \"*\" (all), \".\" (this namespace), \"~\" (none) or a namespace";
            report.invalid(node.at, format!("{text:?} is not a namespace"), hint);
            return None;
        }
        Some(scope)
    }))
}

/// A selector in the two shapes that Istio has (`labels` or `matchLabels`). An empty one is reported and left out.
pub(super) fn selector(fields: &mut Fields<'_, '_>, name: &'static str, inner: &'static str) -> Option<Labels> {
    let labels = fields.map(name, |f| labels(f, inner))?;
    (!labels.is_empty()).then_some(labels)
}

/// Labels without wildcards; none where one is wrong, since what stands in for the object must not select less than was meant.
pub(super) fn labels(fields: &mut Fields<'_, '_>, name: &'static str) -> Labels {
    let written_out = fields.rules(shared::labels(name));
    fields.at_most(name, LABELS_MAX);
    let labels = fields.entries(name, |report, _, node| {
        report.at_most(node, LABEL_LENGTH_MAX);
        report.text(node)
    });
    labels.into_iter().filter(|_| written_out).collect()
}

/// A percentage from 0 to 100.
pub(super) fn percent(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<Percent> {
    fields
        .with(name, |report, node| {
            report.asked(|| super::trace::Question::Number(0, 100));
            let number = match &node.value {
                Value::Scalar { text, plain: true } => text.parse::<f64>().ok(),
                Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
            };
            match number {
                Some(number) if (0.0..=100.0).contains(&number) => Some(Percent(number)),
                _ => {
                    let message = format!("{} is not a percentage", super::report::shown(node));
                    report.invalid(node.at, message, "use a number from 0 to 100");
                    None
                }
            }
        })
        .flatten()
}

/// Weights of a split: present on all of several.
pub(super) fn weights(report: &mut Report, at: crate::meta::Position, weights: &[Option<u32>]) -> Vec<u32> {
    match weights {
        [] => Vec::new(),
        // A single destination gets everything, whatever its weight (istio.io, HTTPRouteDestination).
        [single] => vec![single.filter(|weight| *weight > 0).unwrap_or(100)],
        several => {
            let total: u64 = several.iter().flatten().map(|weight| u64::from(*weight)).sum();
            if total > u64::from(u32::MAX) {
                report.invalid(at, "the weights add up to more than 4294967295", "use smaller weights");
            } else if total > 0 && several.contains(&None) {
                let message = "a destination without a weight gets no traffic beside others";
                report.add(
                    Severity::Warning,
                    code::SCHEMA_WARNING,
                    at,
                    message,
                    "give each destination a weight",
                );
            }
            several.iter().map(|weight| weight.unwrap_or(0)).collect()
        }
    }
}

/// A protocol name as Istio's ports have it, in any case.
pub(super) fn protocol(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<Protocol> {
    fields.at_most(name, PROTOCOL_LENGTH_MAX);
    let text = fields.text(name)?;
    let protocol = Protocol::parse(&text);
    if protocol.is_none() {
        let hint = match crate::suggest::nearest(&text, Protocol::NAMES.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("use one of {}", Protocol::NAMES.join(", ")),
        };
        fields.invalid(name, format!("{text:?} is not a protocol"), hint);
    }
    protocol
}
