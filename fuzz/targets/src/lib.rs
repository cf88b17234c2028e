//! What is fuzzed. A target is a function of bytes that must not panic, and that says so where it finds a rule broken.
//!
//! `cargo xtask fuzz` runs them with a coverage-guided fuzzer; a test of this crate replays `fuzz/corpus`.

mod configuration;
mod mesh;
mod reports;
mod wire;

/// A function of bytes under a name, which is also that of its folder of seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// What the bytes are taken for.
    pub about: &'static str,
    pub run: fn(&[u8]),
}

/// Every target, in the order of their names.
#[rustfmt::skip]
pub const TARGETS: &[Target] = &[
    Target { name: "access_log_format", about: "a format of the access log", run: configuration::access_log_format },
    Target { name: "access_log_stream", about: "a message of Envoy's access log service", run: reports::access_log_stream },
    Target { name: "bootstrap", about: "an Envoy bootstrap, YAML or JSON", run: configuration::bootstrap },
    Target { name: "client_hello", about: "the first bytes of a connection", run: wire::client_hello },
    Target { name: "csr", about: "a certificate signing request in PEM", run: mesh::csr },
    Target { name: "dns", about: "a query to the DNS beside the application", run: wire::dns },
    Target { name: "duration", about: "a duration of Istio's or the Gateway API's", run: mesh::duration },
    Target { name: "http1_answer", about: "an answer of HTTP/1", run: wire::http1_answer },
    Target { name: "http1_body", about: "a body in chunks", run: wire::http1_body },
    Target { name: "http1_request", about: "requests of HTTP/1", run: wire::http1_request },
    Target { name: "http2_frames", about: "frames of a client of HTTP/2", run: wire::http2_frames },
    Target { name: "istio_json", about: "an object as a server gives it", run: mesh::istio_json },
    Target { name: "istio_yaml", about: "objects of users, read, checked and made a mesh", run: mesh::istio_yaml },
    Target { name: "join_token", about: "a token by which a workload joins", run: mesh::join_token },
    Target { name: "otlp", about: "spans over OTLP", run: reports::otlp },
    Target { name: "path", about: "a request's path", run: wire::path },
    Target { name: "proxy_protocol", about: "a header of the PROXY protocol", run: wire::proxy_protocol },
    Target { name: "regex", about: "a regular expression of a route, and a path", run: configuration::regex },
    Target { name: "xds_cluster", about: "a cluster over xDS", run: configuration::xds_cluster },
    Target { name: "xds_endpoints", about: "endpoints over xDS", run: configuration::xds_endpoints },
    Target { name: "xds_listener", about: "a listener over xDS", run: configuration::xds_listener },
    Target { name: "xds_routes", about: "routes over xDS", run: configuration::xds_routes },
    Target { name: "xds_secret", about: "a secret over xDS", run: configuration::xds_secret },
    Target { name: "zipkin", about: "spans in Zipkin's JSON", run: reports::zipkin },
];

/// Bytes as text, and nothing where they are none.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
