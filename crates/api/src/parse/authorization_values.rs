//! Readers of the values of AuthorizationPolicy: texts with wildcards, addresses, ports, path templates, and conditions with their keys.

use ipnet::IpNet;

use super::check;
use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use crate::authorization_policy::{
    Condition, MetadataValue, OneOf, PathPattern, RequestPrincipal, ServiceAccount, Wildcard,
};

/// Most values of one field.
const VALUES_MAX: usize = 1024;
/// Longest value, in characters: as much of a path as a proxy takes.
const VALUE_LENGTH_MAX: usize = 4096;
/// Most names in the path of a claim.
const CLAIM_DEPTH_MAX: usize = 16;

const KEYS: [&str; 11] = [
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.principal",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// Values and what excludes.
pub(super) fn one_of<T>(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    not_name: &'static str,
    read: impl Fn(&mut Report, &Node) -> Option<T> + Copy,
) -> OneOf<T> {
    fields.at_most(name, VALUES_MAX);
    fields.at_most(not_name, VALUES_MAX);
    OneOf {
        values: fields.list(name, read),
        not_values: fields.list(not_name, read),
    }
}

/// A text that is not empty.
fn value(report: &mut Report, node: &Node) -> Option<String> {
    report.at_most(node, VALUE_LENGTH_MAX);
    let text = report.text(node)?;
    if text.is_empty() {
        report.invalid(node.at, "is empty", "use \"*\" for any value");
        return None;
    }
    Some(text)
}

/// A text with a wildcard at one end.
pub(super) fn wildcard(report: &mut Report, node: &Node) -> Option<Wildcard> {
    let text = value(report, node)?;
    let found = Wildcard::parse(&text);
    let rest = match &found {
        Wildcard::Present => "",
        Wildcard::Exact(rest) | Wildcard::Prefix(rest) | Wildcard::Suffix(rest) => rest,
    };
    if rest.contains('*') {
        let message = format!("{text:?} has a * that is no wildcard but a character like others");
        report.warn(node.at, message, "use one * at one end");
    }
    Some(found)
}

/// A SPIFFE id, as Istio has it without its scheme.
pub(super) fn principal(report: &mut Report, node: &Node) -> Option<Wildcard> {
    Some(match wildcard(report, node)? {
        Wildcard::Exact(id) => Wildcard::Exact(without_scheme(&id)),
        Wildcard::Prefix(id) => Wildcard::Prefix(without_scheme(&id)),
        found @ (Wildcard::Present | Wildcard::Suffix(_)) => found,
    })
}

fn without_scheme(id: &str) -> String {
    id.strip_prefix("spiffe://").unwrap_or(id).to_owned()
}

/// `ISSUER/SUBJECT`, cut at the last `/` since issuers are addresses (Istio: `requestPrincipalGenerator`).
pub(super) fn request_principal(report: &mut Report, node: &Node) -> Option<RequestPrincipal> {
    let text = value(report, node)?;
    let (issuer, subject) = match text.rsplit_once('/') {
        _ if text == "*" => (Wildcard::Present, Wildcard::Present),
        Some((issuer, subject)) if text.starts_with('*') => {
            (Wildcard::parse(issuer), Wildcard::Exact(subject.to_owned()))
        }
        Some((issuer, subject)) => (Wildcard::Exact(issuer.to_owned()), Wildcard::parse_end(subject)),
        None => match Wildcard::parse(&text) {
            subject @ Wildcard::Suffix(_) => (Wildcard::Present, subject),
            issuer @ Wildcard::Prefix(_) => (issuer, Wildcard::Present),
            // Istio takes it for an issuer whose subject is empty, which no token has.
            issuer @ (Wildcard::Present | Wildcard::Exact(_)) => (issuer, Wildcard::Exact(String::new())),
        },
    };
    Some(RequestPrincipal { issuer, subject })
}

/// A namespace; a `*` anywhere is any text.
pub(super) fn namespace(report: &mut Report, node: &Node) -> Option<String> {
    let text = value(report, node)?;
    if !text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '*')
    {
        let message = format!("{text:?} is not a namespace");
        report.invalid(node.at, message, "use small letters, digits, dashes and *");
        return None;
    }
    Some(text)
}

/// `NAME` or `NAMESPACE/NAME`, without wildcards.
pub(super) fn service_account(report: &mut Report, node: &Node) -> Option<ServiceAccount> {
    let text = value(report, node)?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text.as_str()),
    };
    let is_name = |name: &str| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !name.is_empty() && name.chars().all(known)
    };
    if !is_name(name) || !namespace.is_none_or(is_name) {
        let message = format!("{text:?} is not a service account");
        report.invalid(node.at, message, "use NAME or NAMESPACE/NAME, without wildcards");
        return None;
    }
    Some(ServiceAccount {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    })
}

/// An address, or a CIDR prefix.
pub(super) fn ip_block(report: &mut Report, node: &Node) -> Option<IpNet> {
    let text = value(report, node)?;
    let block = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    if block.is_err() {
        let message = format!("{text:?} is neither an IP address nor a CIDR prefix");
        report.invalid(node.at, message, "for example 10.0.0.0/8 or 2001:db8::1");
    }
    block.ok()
}

/// A port, as text.
pub(super) fn port(report: &mut Report, node: &Node) -> Option<u16> {
    let text = value(report, node)?;
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        report.invalid(
            node.at,
            format!("{text:?} is not a port"),
            "use a number from 1 to 65535",
        );
    }
    port
}

/// A path, or a template: segments of which `{*}` is any one and `{**}`, the last wildcard, any number (Istio:
/// `CheckValidPathTemplate`).
pub(super) fn path(report: &mut Report, node: &Node) -> Option<PathPattern> {
    let text = value(report, node)?;
    if !text.contains("{*}") && !text.contains("{**}") {
        return wildcard(report, node).map(PathPattern::Text);
    }
    match template_fault(&text) {
        None => Some(PathPattern::Template(text)),
        Some(fault) => {
            let message = format!("{text:?} is not a path template: {fault}");
            report.invalid(node.at, message, "for example /users/{*}/files/{**}");
            None
        }
    }
}

/// What is wrong with a template.
fn template_fault(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix('/') else {
        return Some("it does not start with /");
    };
    let mut any = false;
    for segment in rest.split('/') {
        match segment {
            "{*}" | "{**}" if any => return Some("{**} is not the last wildcard"),
            "{*}" => {}
            "{**}" => any = true,
            _ if segment.contains(['*', '{', '}']) => return Some("a wildcard is not a whole segment"),
            // Envoy takes these characters in templates (RFC 3986, `pchar`).
            _ if !segment
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=".contains(c)) =>
            {
                return Some("a segment has a character that templates cannot have");
            }
            _ => {}
        }
    }
    None
}

/// `{key, values, notValues}`.
pub(super) fn condition(fields: &mut Fields<'_, '_>) -> Option<Condition> {
    let key = fields.required_text("key", "name an attribute, for example source.namespace");
    let of_texts = |f: &mut Fields<'_, '_>| one_of(f, "values", "notValues", wildcard);
    let found = match key.as_str() {
        "source.ip" => Condition::SourceIp(one_of(fields, "values", "notValues", ip_block)),
        "remote.ip" => Condition::RemoteIp(one_of(fields, "values", "notValues", ip_block)),
        "destination.ip" => Condition::DestinationIp(one_of(fields, "values", "notValues", ip_block)),
        "destination.port" => Condition::DestinationPort(one_of(fields, "values", "notValues", port)),
        "source.namespace" => Condition::SourceNamespace(one_of(fields, "values", "notValues", namespace)),
        "source.principal" => Condition::SourcePrincipal(one_of(fields, "values", "notValues", principal)),
        "source.serviceAccount" => {
            Condition::SourceServiceAccount(one_of(fields, "values", "notValues", service_account))
        }
        "request.auth.principal" => {
            Condition::RequestPrincipal(one_of(fields, "values", "notValues", request_principal))
        }
        "request.auth.audiences" => Condition::Claim(vec!["aud".to_owned()], of_texts(fields)),
        "request.auth.presenter" => Condition::Claim(vec!["azp".to_owned()], of_texts(fields)),
        "connection.sni" => Condition::Sni(of_texts(fields)),
        _ => named(fields, &key)?,
    };
    if fields.is_without("values") && fields.is_without("notValues") {
        fields.missing("values", "give values or notValues");
    }
    Some(found)
}

/// A condition whose key has a name in brackets.
fn named(fields: &mut Fields<'_, '_>, key: &str) -> Option<Condition> {
    let (attribute, names) = brackets(key);
    match (attribute, names.as_deref()) {
        ("request.headers", Some([name])) if check::is_header_name(name) || is_pseudo(name) => {
            let values = one_of(fields, "values", "notValues", wildcard);
            return Some(Condition::Header((*name).to_owned(), values));
        }
        ("request.auth.claims", Some(path)) if !path.is_empty() && path.len() <= CLAIM_DEPTH_MAX => {
            let path = path.iter().map(|name| (*name).to_owned()).collect();
            return Some(Condition::Claim(path, one_of(fields, "values", "notValues", wildcard)));
        }
        (filter, Some([name])) if filter.starts_with("experimental.envoy.filters.") => {
            return Some(Condition::Metadata {
                filter: filter.trim_start_matches("experimental.").to_owned(),
                key: (*name).to_owned(),
                values: one_of(fields, "values", "notValues", metadata_value),
            });
        }
        _ => {}
    }
    // What they are of is not known, and they are no unknown fields.
    fields.texts("values");
    fields.texts("notValues");
    if !key.is_empty() {
        let hint = match crate::suggest::nearest(key, KEYS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!(
                "the attributes are {}, request.headers[NAME], request.auth.claims[NAME] and experimental.envoy.filters.FILTER[NAME]",
                KEYS.join(", ")
            ),
        };
        fields.invalid("key", format!("{key:?} is not an attribute"), hint);
    }
    None
}

fn is_pseudo(name: &str) -> bool {
    name.strip_prefix(':').is_some_and(check::is_header_name)
}

fn metadata_value(report: &mut Report, node: &Node) -> Option<MetadataValue> {
    let text = value(report, node)?;
    let item = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match item {
        Some("") => {
            report.invalid(node.at, "is an empty list", "use [*] for any item");
            None
        }
        Some(item) => Some(MetadataValue::Item(Wildcard::parse(item))),
        None => Some(MetadataValue::Text(Wildcard::parse(&text))),
    }
}

/// What stands before brackets, and what in each of them; nothing where they do not fit.
fn brackets(key: &str) -> (&str, Option<Vec<&str>>) {
    let Some((attribute, rest)) = key.split_once('[') else {
        return (key, None);
    };
    let Some(rest) = rest.strip_suffix(']') else {
        return (attribute, None);
    };
    let names: Vec<&str> = rest.split("][").collect();
    let fit = names.iter().all(|name| !name.is_empty() && !name.contains(['[', ']']));
    (attribute, fit.then_some(names))
}

// === impl Wildcard ===

impl Wildcard {
    /// A text whose wildcard can be at its end alone.
    fn parse_end(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Present,
            Some(rest) => Self::Prefix(rest.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }
}
