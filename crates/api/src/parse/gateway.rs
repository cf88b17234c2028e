//! Reader of Gateway.

use super::fields::Fields;
use super::report::Report;
use super::rules::gateway as rules;
use super::tree::Node;
use super::{check, values};
use crate::gateway::{Gateway, Server, ServerHost, ServerTls, ServerTlsMode, TlsVersion};
use crate::matching::NamespaceScope;
use crate::protocol::Protocol;

/// What becomes of a server that asks for a protection that the mesh does not have.
const UNSERVED: &str = "this server is not served";

/// Most servers of one gateway.
const SERVERS_MAX: usize = 4096;

/// Reads `spec`.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> Gateway {
    let selector = values::labels(fields, "selector");
    fields.rules(rules::SPEC);
    fields.at_most("servers", SERVERS_MAX);
    Gateway {
        selector,
        servers: fields.list("servers", |report, node| report.map(node, server)),
    }
}

fn server(fields: &mut Fields<'_, '_>) -> Server {
    let at = fields.at;
    fields.rules(rules::SERVER);
    fields.pass_over("defaultEndpoint", "requests go where VirtualServices say");
    if fields.get("port").is_none() {
        fields.missing("port", "give number, name and protocol");
    }
    let port = fields.map("port", port).unwrap_or((0, String::new(), None));
    let (tls, unusable) = match fields.map("tls", tls) {
        Some((tls, unusable)) => (Some(tls), unusable),
        None => (None, false),
    };
    let bound = bind(fields);
    let hosts = fields.list("hosts", server_host);
    if fields.get("hosts").is_none() {
        fields.missing("hosts", "name at least one host, or \"*\"");
    }
    Server {
        at,
        name: fields.text("name"),
        port: port.0,
        port_name: port.1,
        protocol: port.2.unwrap_or(Protocol::Tcp),
        bind: None,
        hosts,
        tls,
        closed: unusable || bound,
    }
}

fn port(fields: &mut Fields<'_, '_>) -> (u16, String, Option<Protocol>) {
    fields.pass_over("targetPort", "number is the port that is served");
    let number = fields.required_port("number");
    let name = fields.required_text("name", "name the port, for example http");
    if fields.get("protocol").is_none() {
        fields.missing("protocol", "use HTTP, HTTPS, GRPC, HTTP2, TCP or TLS");
    }
    fields.rules(rules::PORT);
    (number, name, values::protocol(fields, "protocol"))
}

/// Whether there is an address to listen on that cannot be kept to. Where a gateway listens is the workload's matter, so only "everywhere"
/// fits.
fn bind(fields: &mut Fields<'_, '_>) -> bool {
    let bind = fields.text("bind").unwrap_or_default();
    let hint = "remove it; the gateway workload says where it listens";
    !matches!(bind.as_str(), "" | "0.0.0.0" | "::") && fields.close("bind", UNSERVED, hint)
}

/// `host` or `namespace/host`.
fn server_host(report: &mut Report, node: &Node) -> Option<ServerHost> {
    let text = report.text(node)?;
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (NamespaceScope::parse(namespace), host),
        None => (NamespaceScope::All, text.as_str()),
    };
    if let Err(reason) = check::host(host, true) {
        report.invalid(node.at, format!("{host:?} {reason}"), "");
        return None;
    }
    Some(ServerHost {
        namespace,
        host: host.trim_end_matches('.').to_ascii_lowercase(),
    })
}

/// TLS, and whether it asks for a protection that there is not.
fn tls(fields: &mut Fields<'_, '_>) -> (ServerTls, bool) {
    let at = fields.at;
    fields.rules(rules::TLS);
    let mut unusable = false;
    for name in [
        "credentialNames",
        "caCertCredentialName",
        "caCrl",
        "tlsCertificates",
        "verifyCertificateSpki",
        "verifyCertificateHash",
    ] {
        unusable |= fields.close(name, UNSERVED, "remove it");
    }
    for name in ["cipherSuites", "ecdhCurves"] {
        fields.pass_over(
            name,
            "suites with forward secrecy and authenticated encryption are offered, and no others",
        );
    }
    let https_redirect = fields.flag("httpsRedirect").unwrap_or(false);
    let mode_text = fields.with("mode", |_, node| super::report::shown(node));
    let mode = match mode_text.as_deref() {
        Some("AUTO_PASSTHROUGH" | "OPTIONAL_MUTUAL") => {
            unusable |= fields.close("mode", UNSERVED, "use PASSTHROUGH, SIMPLE, MUTUAL or ISTIO_MUTUAL");
            None
        }
        _ => fields.choice(
            "mode",
            &[
                ("PASSTHROUGH", ServerTlsMode::Passthrough),
                ("SIMPLE", ServerTlsMode::Simple),
                ("MUTUAL", ServerTlsMode::Mutual),
                ("ISTIO_MUTUAL", ServerTlsMode::IstioMutual),
            ],
        ),
    };
    let tls = ServerTls {
        at,
        https_redirect,
        // The protocol default of the enum in Istio's API is PASSTHROUGH.
        mode: mode.unwrap_or(ServerTlsMode::Passthrough),
        credential_name: fields.text("credentialName"),
        server_certificate: fields.text("serverCertificate"),
        private_key: fields.text("privateKey"),
        ca_certificates: fields.text("caCertificates"),
        subject_alt_names: fields.texts("subjectAltNames"),
        min_version: version(fields, "minProtocolVersion", &mut unusable),
        max_version: version(fields, "maxProtocolVersion", &mut unusable),
    };
    without_effect(fields, &tls);
    (tls, unusable)
}

/// What is harmless, but not what its author thinks.
fn without_effect(fields: &mut Fields<'_, '_>, tls: &ServerTls) {
    if tls.mode == ServerTlsMode::Mutual && tls.credential_name.is_some() {
        for name in fields.set_of(&["caCertificates"]) {
            fields.warn(
                name,
                "has no effect beside credentialName",
                "put ca.crt into the Secret",
            );
        }
    }
    if matches!(tls.mode, ServerTlsMode::IstioMutual | ServerTlsMode::Passthrough) && !tls.https_redirect {
        for name in fields.set_of(&["minProtocolVersion", "maxProtocolVersion"]) {
            fields.warn(
                name,
                "has no effect in this mode",
                "remove it, or use mode SIMPLE or MUTUAL",
            );
        }
    }
}

fn version(fields: &mut Fields<'_, '_>, name: &'static str, unusable: &mut bool) -> Option<TlsVersion> {
    let text = fields.with(name, |_, node| super::report::shown(node))?;
    match text.as_str() {
        "TLS_AUTO" => None,
        "TLSV1_0" | "TLSV1_1" if name == "minProtocolVersion" => {
            fields.warn(name, "TLS below 1.2 is not offered; 1.2 is the lowest", "use TLSV1_2");
            Some(TlsVersion::V1_2)
        }
        "TLSV1_0" | "TLSV1_1" => {
            *unusable |= fields.close(name, UNSERVED, "use TLSV1_2 or TLSV1_3");
            None
        }
        _ => fields.choice(name, &[("TLSV1_2", TlsVersion::V1_2), ("TLSV1_3", TlsVersion::V1_3)]),
    }
}
