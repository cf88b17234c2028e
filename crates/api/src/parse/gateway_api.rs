//! Readers of the Gateway API's kinds. The server checks their schema, so fields that are of no interest are passed over.

use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use crate::gateway_api::{
    GatewayClass, KubernetesGateway, Listener, Reference, ReferenceGrant, Route, RouteKind, RouteMatch, RouteRule,
};
use crate::kind::Group;
use crate::matching::StringMatch;

const GROUP: &str = Group::GatewayApi.name();

/// Reads `spec` of a GatewayClass.
pub(super) fn class(fields: &mut Fields<'_, '_>) -> GatewayClass {
    let controller = fields.required_text("controllerName", "name the controller");
    fields.ignore(&["description", "parametersRef"]);
    GatewayClass { controller }
}

/// Reads `spec` of a Gateway.
pub(super) fn gateway(fields: &mut Fields<'_, '_>) -> KubernetesGateway {
    fields.ignore(&[
        "addresses",
        "allowedListeners",
        "backendTLS",
        "infrastructure",
        "tls",
        "defaultScope",
    ]);
    KubernetesGateway {
        class: fields.required_text("gatewayClassName", "name the class"),
        listeners: fields.list("listeners", |report, node| report.map(node, listener)),
    }
}

fn listener(fields: &mut Fields<'_, '_>) -> Listener {
    fields.ignore(&["allowedRoutes"]);
    let tls = fields.map("tls", |f| {
        let passthrough = f.text("mode").as_deref() == Some("Passthrough");
        let certificates = f.list("certificateRefs", |report, node| {
            report.map(node, |f| {
                let found = (f.text("namespace"), f.required_text("name", "name the Secret"));
                f.ignore_rest();
                found
            })
        });
        f.ignore_rest();
        (passthrough, certificates)
    });
    let (passthrough, certificates) = tls.unwrap_or_default();
    Listener {
        at: fields.at,
        name: fields.required_text("name", "routes refer to listeners by name"),
        hostname: fields.text("hostname").filter(|host| !host.is_empty()),
        port: fields.required_port("port"),
        protocol: fields.required_text("protocol", "one of HTTP, HTTPS, TLS, TCP, UDP"),
        passthrough,
        certificates,
    }
}

/// Reads `spec` of a route.
pub(super) fn route(fields: &mut Fields<'_, '_>, kind: RouteKind) -> Route {
    fields.ignore(&["useDefaultGateways"]);
    Route {
        kind,
        parents: fields.list("parentRefs", |report, node| {
            report.map(node, |f| reference(f, (GROUP, "Gateway")))
        }),
        hostnames: fields.texts("hostnames"),
        rules: fields.list("rules", |report, node| report.map(node, |f| rule(f, kind))),
    }
}

fn rule(fields: &mut Fields<'_, '_>, kind: RouteKind) -> RouteRule {
    let rule = RouteRule {
        at: fields.at,
        matches: fields.list("matches", |report, node| report.map(node, |f| route_match(f, kind))),
        filters: fields.list("filters", |report, node| {
            report.map(node, |f| {
                let kind = f.required_text("type", "name the type of the filter");
                f.ignore_rest();
                kind
            })
        }),
        backends: fields.list("backendRefs", |report, node| {
            report.map(node, |f| {
                let weight = f.count("weight").unwrap_or(1);
                (reference(f, ("", "Service")), weight)
            })
        }),
    };
    fields.ignore_rest();
    rule
}

fn route_match(fields: &mut Fields<'_, '_>, kind: RouteKind) -> RouteMatch {
    let (path, method) = if kind == RouteKind::Grpc {
        let found = fields.map("method", |f| {
            let exact = f.text("type").is_none_or(|kind| kind == "Exact");
            let wrap = if exact { StringMatch::Exact } else { StringMatch::Regex };
            (f.text("service").map(wrap), f.text("method"))
        });
        found.unwrap_or_default()
    } else {
        let path = fields.map("path", |f| {
            let kind = f.text("type");
            let value = f.text("value").unwrap_or_else(|| "/".to_owned());
            match kind.as_deref() {
                Some("Exact") => StringMatch::Exact(value),
                Some("RegularExpression") => StringMatch::Regex(value),
                Some(_) | None => StringMatch::Prefix(value),
            }
        });
        (path, fields.text("method"))
    };
    RouteMatch {
        path,
        method,
        headers: fields.list("headers", named),
        query: fields.list("queryParams", named),
    }
}

fn named(report: &mut Report, node: &Node) -> Option<(String, StringMatch)> {
    report.map(node, |f| {
        let regex = f.text("type").as_deref() == Some("RegularExpression");
        let value = f.text("value").unwrap_or_default();
        let name = f.required_text("name", "name it");
        let wrap = if regex { StringMatch::Regex } else { StringMatch::Exact };
        (name, wrap(value))
    })
}

fn reference(fields: &mut Fields<'_, '_>, (group, kind): (&str, &str)) -> Reference {
    let found = Reference {
        group: fields.text_or("group", group),
        kind: fields.text_or("kind", kind),
        namespace: fields.text("namespace"),
        name: fields.required_text("name", "name the object"),
        section: fields.text("sectionName"),
        port: fields.port("port"),
    };
    fields.ignore_rest();
    found
}

/// Reads `spec` of a ReferenceGrant.
pub(super) fn grant(fields: &mut Fields<'_, '_>) -> ReferenceGrant {
    ReferenceGrant {
        from: fields.list("from", |report, node| {
            report.map(node, |f| {
                let group = f.text_or("group", "");
                let kind = f.required_text("kind", "name the kind");
                (group, kind, f.required_text("namespace", "name the namespace"))
            })
        }),
        to: fields.list("to", |report, node| {
            report.map(node, |f| {
                let group = f.text_or("group", "");
                (group, f.required_text("kind", "name the kind"), f.text("name"))
            })
        }),
    }
}
