//! Reader of `extensionProviders` of the mesh configuration, as far as they decide about requests.

use super::check;
use super::fields::Fields;
use super::report::Report;
use super::tree::{Node, Value};
use crate::authorization_policy::Wildcard;
use crate::diagnostic::{Severity, code};
use crate::extension_provider::{CheckProtocol, CheckedBody, ExtensionProvider, HttpCheck};

/// Most providers of a mesh.
const PROVIDERS_MAX: usize = 256;
/// Most headers that are named in a list.
const HEADERS_MAX: usize = 256;

/// Reads the list; providers of other kinds are reported, and so are those that cannot be read.
pub(super) fn providers(fields: &mut Fields<'_, '_>) -> Option<Vec<ExtensionProvider>> {
    fields.get("extensionProviders")?;
    fields.at_most("extensionProviders", PROVIDERS_MAX);
    Some(fields.list("extensionProviders", |report, node| {
        report.map(node, provider).flatten()
    }))
}

fn provider(fields: &mut Fields<'_, '_>) -> Option<ExtensionProvider> {
    let name = fields.required_text("name", "policies name the provider by it");
    let grpc = fields.map("envoyExtAuthzGrpc", |f| {
        let common = common(f)?;
        Some(ExtensionProvider {
            name: name.clone(),
            ..common
        })
    });
    let http = fields.map("envoyExtAuthzHttp", |f| {
        let how = http_check(f);
        let common = common(f)?;
        Some(ExtensionProvider {
            name: name.clone(),
            protocol: CheckProtocol::Http(Box::new(how)),
            ..common
        })
    });
    for (other, node) in fields.unread() {
        let at = node.at;
        fields.report().field(&other, |report| {
            let message = "is not carried out by this mesh and has no effect; the other settings apply";
            report.add(Severity::Warning, code::UNSUPPORTED_FIELD, at, message, "");
        });
    }
    fields.ignore_rest();
    grpc.or(http).flatten().filter(|provider| !provider.name.is_empty())
}

/// What both protocols have; in gRPC where nobody says otherwise.
fn common(fields: &mut Fields<'_, '_>) -> Option<ExtensionProvider> {
    let service = fields.required_text("service", "name its host, for example authz.default.svc.cluster.local");
    // A namespace may stand in front, to tell equal hosts apart.
    let host = service
        .rsplit_once('/')
        .map_or(service.as_str(), |(_, host)| host)
        .to_owned();
    let port = port(fields);
    let status = fields.text("statusOnError").filter(|text| !text.is_empty());
    let status_on_error = status.and_then(|text| {
        let read = text.parse::<u16>().ok().filter(|status| (200..600).contains(status));
        if read.is_none() {
            fields.invalid(
                "statusOnError",
                format!("{text:?} is no HTTP status"),
                "use one such as \"503\"",
            );
        }
        read
    });
    let body = fields.map("includeRequestBodyInCheck", |f| CheckedBody {
        max: f.number("maxRequestBytes", 1, u32::MAX).unwrap_or(1),
        partial: f.flag("allowPartialMessage").unwrap_or(false),
        as_bytes: f.flag("packAsBytes").unwrap_or(false),
    });
    let provider = ExtensionProvider {
        name: String::new(),
        host,
        port,
        timeout: fields.positive_duration("timeout"),
        fail_open: fields.flag("failOpen").unwrap_or(false),
        status_on_error,
        body,
        protocol: CheckProtocol::Grpc,
    };
    fields.pass_over_true("clearRouteCache", "the route that was chosen before stays");
    (!provider.host.is_empty() && port > 0).then_some(provider)
}

/// A number, in quotes or not: Istio's own examples have them.
fn port(fields: &mut Fields<'_, '_>) -> u16 {
    let read = fields.with("port", |report, node| {
        let text = match &node.value {
            Value::Scalar { text, .. } => text.as_str(),
            Value::List(_) | Value::Map(_) => "",
        };
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        if port.is_none() {
            report.invalid(node.at, "is no port", "write a number between 1 and 65535");
        }
        port
    });
    if read.is_none() {
        fields.missing("port", "name the port of the service");
    }
    read.flatten().unwrap_or(0)
}

fn http_check(fields: &mut Fields<'_, '_>) -> HttpCheck {
    let mut request_headers = headers(fields, "includeRequestHeadersInCheck");
    // The older name of the same.
    request_headers.extend(headers(fields, "includeHeadersInCheck"));
    let additional = fields.entries("includeAdditionalHeadersInCheck", |report, _, node| report.text(node));
    let path_prefix = fields.text_or("pathPrefix", "");
    if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
        fields.invalid("pathPrefix", "must begin with a slash", "");
    }
    HttpCheck {
        path_prefix,
        request_headers,
        additional_headers: additional.into_iter().collect(),
        to_upstream: headers(fields, "headersToUpstreamOnAllow"),
        to_client_on_deny: headers(fields, "headersToDownstreamOnDeny"),
        to_client_on_allow: headers(fields, "headersToDownstreamOnAllow"),
    }
}

fn headers(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<Wildcard> {
    fields.at_most(name, HEADERS_MAX);
    fields.list(name, header)
}

/// The name of a header, whole or with a `*` at one end.
fn header(report: &mut Report, node: &Node) -> Option<Wildcard> {
    let text = report.text(node)?.to_ascii_lowercase();
    let bare = text.trim_start_matches('*').trim_end_matches('*');
    if text != "*" && !check::is_header_name(bare) {
        report.invalid(
            node.at,
            format!("{text:?} is no name of a header"),
            "one * may stand at an end",
        );
        return None;
    }
    Some(Wildcard::parse(&text))
}
