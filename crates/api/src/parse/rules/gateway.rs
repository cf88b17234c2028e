//! Rules of Gateway.

use crate::rule::Test::{All, AnySet, Filled, Is, IsUpper, Not, True};
use crate::rule::{Rule, Test, invalid, missing};

/// Of `spec`.
pub(in crate::parse) const SPEC: &[Rule] = &[
    missing(
        "selector",
        Not(&Filled("selector")),
        "name the labels of the gateway workloads, for example istio: ingressgateway",
    ),
    missing("servers", Not(&AnySet(&["servers"])), "give at least one server"),
];

/// Protocols whose servers have certificates.
pub(super) const SECURE: &[&str] = &["HTTPS", "TLS"];
/// Protocols in clear text. TCP is none of them: it may be terminated TLS.
pub(super) const CLEAR: &[&str] = &["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "UDP"];
/// All but HTTP.
pub(super) const NO_HTTP: &[&str] = &[
    "HTTPS", "TLS", "TCP", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "UDP",
];

/// Of `servers[]`.
pub(in crate::parse) const SERVER: &[Rule] = &[
    missing(
        "tls",
        All(&[IsUpper("port.protocol", SECURE), Not(&AnySet(&["tls"]))]),
        "HTTPS and TLS need a mode",
    ),
    invalid(
        "tls",
        All(&[
            AnySet(&["tls"]),
            IsUpper("port.protocol", CLEAR),
            Not(&True("tls.httpsRedirect")),
        ]),
        "has no effect on a protocol in clear text",
        "use protocol HTTPS or TLS",
    ),
    invalid(
        "tls",
        All(&[True("tls.httpsRedirect"), IsUpper("port.protocol", NO_HTTP)]),
        "httpsRedirect is for protocol HTTP",
        "move it to the HTTP server",
    ),
];

/// Of `servers[].port`.
pub(in crate::parse) const PORT: &[Rule] = &[invalid(
    "protocol",
    IsUpper("protocol", &["UDP"]),
    "UDP is not carried by gateways",
    "use HTTP, HTTPS, GRPC, HTTP2, TCP or TLS",
)];

const MUTUAL: Test = Is("mode", &["MUTUAL"]);
const TERMINATES: Test = Is("mode", &["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"]);
const ASKS_CLIENT: Test = Is("mode", &["MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL"]);
const CERTIFICATE: Test = All(&[AnySet(&["serverCertificate"]), AnySet(&["privateKey"])]);
const CREDENTIAL: Test = AnySet(&["credentialName"]);

/// Of `servers[].tls`: every mode has what it terminates with, and nothing that it does not use.
pub(in crate::parse) const TLS: &[Rule] = &[
    missing(
        "credentialName",
        All(&[TERMINATES, Not(&CREDENTIAL), Not(&CERTIFICATE)]),
        "or serverCertificate and privateKey with paths",
    ),
    invalid(
        "credentialName",
        All(&[TERMINATES, CREDENTIAL, AnySet(&["serverCertificate", "privateKey"])]),
        "excludes serverCertificate and privateKey",
        "keep one of them",
    ),
    missing(
        "caCertificates",
        All(&[MUTUAL, Not(&AnySet(&["credentialName", "caCertificates"]))]),
        "MUTUAL needs a CA for client certificates",
    ),
    invalid(
        "",
        All(&[
            Not(&TERMINATES),
            AnySet(&["credentialName", "serverCertificate", "privateKey"]),
        ]),
        "a certificate has no effect in this mode",
        "remove it, or use mode SIMPLE",
    ),
    checks_none("subjectAltNames", All(&[AnySet(&["subjectAltNames"]), CHECKS_NONE])),
    checks_none("caCertificates", All(&[AnySet(&["caCertificates"]), CHECKS_NONE])),
    invalid(
        "minProtocolVersion",
        All(&[
            Is("minProtocolVersion", &["TLSV1_3"]),
            Is("maxProtocolVersion", &["TLSV1_2"]),
        ]),
        "is above maxProtocolVersion",
        "swap the two",
    ),
];

const CHECKS_NONE: Test = All(&[Not(&ASKS_CLIENT), Not(&True("httpsRedirect"))]);

const fn checks_none(field: &'static str, refused: Test) -> Rule {
    invalid(
        field,
        refused,
        "checks no client: this mode asks for no client certificate",
        "remove it, or use mode MUTUAL",
    )
}
