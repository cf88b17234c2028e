//! `networking.istio.io` VirtualService: which requests to which hosts go where.

use std::time::Duration;

use crate::matching::{Destination, ExportTo, Headers, Percent, StringMatch, ValueMatch};
use crate::meta::{Labels, Position};

/// The reserved gateway name that stands for every sidecar.
pub const MESH_GATEWAY: &str = "mesh";

/// Routing rules for hosts (istio.io, "Virtual Service").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// Hosts as written; short names are relative to the object's namespace.
    pub hosts: Vec<String>,
    /// Gateways as written (`name`, `ns/name`, or `mesh`); never empty: the default is `mesh`.
    pub gateways: Vec<String>,
    /// Who may see the rules.
    pub export_to: ExportTo,
    /// HTTP rules, first match wins.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS that is passed through, by SNI.
    pub tls: Vec<TlsRoute>,
    /// Rules for TCP.
    pub tcp: Vec<TcpRoute>,
}

/// One rule of `spec.http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// Where the rule is written.
    pub at: Position,
    /// Name, for access logs.
    pub name: Option<String>,
    /// Any of these; empty matches everything.
    pub matches: Vec<HttpMatch>,
    /// What happens to a matching request.
    pub action: HttpAction,
    /// Changes path or authority before forwarding.
    pub rewrite: Option<Rewrite>,
    /// The whole request, retries included; `None` and zero are no limit.
    pub timeout: Option<Duration>,
    /// `None` is the mesh default.
    pub retries: Option<Retries>,
    /// Header changes for all destinations.
    pub headers: Headers,
    /// Faults to inject.
    pub fault: Option<Fault>,
    /// Which other origins' scripts may call.
    pub cors: Option<CorsPolicy>,
}

/// Faults that are injected on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Delay of a share of requests.
    pub delay: Option<(Duration, Percent)>,
    /// Answer to a share of requests, instead of forwarding.
    pub abort: Option<(FaultAbort, Percent)>,
}

/// What an injected answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAbort {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status code.
    Grpc(u32),
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// Origins of which one must match.
    pub allow_origins: Vec<StringMatch>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: Vec<String>,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: Vec<String>,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Max-Age`.
    pub max_age: Option<Duration>,
    /// `Access-Control-Allow-Credentials`.
    pub allow_credentials: Option<bool>,
    /// What happens to preflights of other origins: forwarded (`None` and `true`) or answered without permission.
    pub forward_unmatched: Option<bool>,
}

/// What an HTTP rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAction {
    /// Forward, split by weight.
    Route(Vec<HttpDestination>),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer from here.
    DirectResponse(DirectResponse),
}

/// One weighted destination of an HTTP rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDestination {
    /// Where it is written.
    pub at: Position,
    pub destination: Destination,
    /// Share of the traffic in relation to the sum; a single destination without weight gets all.
    pub weight: u32,
    /// Header changes for this destination.
    pub headers: Headers,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// Where it is written.
    pub at: Position,
    /// Name, joined to the rule's in access logs.
    pub name: Option<String>,
    /// Path without the query.
    pub uri: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    /// Headers, names in lower case.
    pub headers: Vec<(String, ValueMatch)>,
    /// Headers that must not match, names in lower case.
    pub without_headers: Vec<(String, ValueMatch)>,
    pub query_params: Vec<(String, ValueMatch)>,
    /// Port that the client addressed.
    pub port: Option<u16>,
    /// Labels of the client's workload.
    pub source_labels: Labels,
    /// Namespace of the client's workload.
    pub source_namespace: Option<String>,
    /// Narrows the rule's gateways; empty means the object's.
    pub gateways: Vec<String>,
    /// `uri` without regard to case; only exact and prefix.
    pub ignore_uri_case: bool,
    /// It asks for something that this mesh cannot tell, so that no request meets it.
    pub never: bool,
}

/// Answer 3xx.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// New path, or new prefix with `prefix_rewrite`.
    pub uri: Option<String>,
    /// Replaces only the matched prefix.
    pub prefix_rewrite: Option<String>,
    pub authority: Option<String>,
    pub port: Option<RedirectPort>,
    pub scheme: Option<String>,
    /// 301, 302, 303, 307 or 308; 301 where not said.
    pub code: u16,
}

/// Port of a redirect's location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    Number(u16),
    /// 80 or 443, by the scheme.
    ProtocolDefault,
    /// The one of the request.
    Request,
}

/// An answer without an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body, at most 1 MiB.
    pub body: Vec<u8>,
}

/// Changes of path and authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// New path (exact match) or prefix (prefix match).
    pub uri: Option<String>,
    pub authority: Option<String>,
    /// RE2 pattern over the path and its replacement with `\1` groups.
    pub uri_regex: Option<(String, String)>,
}

/// Retry policy of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// Retries after the first try; 0 turns them off.
    pub attempts: u32,
    /// Limit of each try; `None` is the rule's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Conditions and status codes; `None` is the mesh default.
    pub on: Option<RetryOn>,
    /// Try another endpoint than the one that failed; `None` is yes.
    pub ignore_previous_hosts: Option<bool>,
    /// Base of the exponential back-off; `None` is 25 ms.
    pub backoff: Option<Duration>,
}

/// The list `retryOn`, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// Envoy's condition names, known to exist.
    pub conditions: Vec<String>,
    /// Bare integers of the list.
    pub status_codes: Vec<u16>,
}

/// One rule of `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoute {
    /// Where the rule is written.
    pub at: Position,
    /// Any of these; never empty.
    pub matches: Vec<TlsMatch>,
    pub route: Vec<L4Destination>,
}

/// One rule of `spec.tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRoute {
    /// Where the rule is written.
    pub at: Position,
    /// Any of these; empty matches everything.
    pub matches: Vec<L4Match>,
    pub route: Vec<L4Destination>,
}

/// Conditions on a TLS connection that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsMatch {
    /// SNI names or `*.` wildcards; never empty.
    pub sni_hosts: Vec<String>,
    pub l4: L4Match,
}

/// Conditions on a connection that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L4Match {
    /// Where it is written.
    pub at: Position,
    /// Port that the client addressed.
    pub port: Option<u16>,
    /// Labels of the client's workload.
    pub source_labels: Labels,
    /// Namespace of the client's workload.
    pub source_namespace: Option<String>,
    /// Narrows the rule's gateways; empty means the object's.
    pub gateways: Vec<String>,
    /// It asks for something that this mesh cannot tell, so that no connection meets it.
    pub never: bool,
}

/// One weighted destination of a TCP or TLS rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L4Destination {
    /// Where it is written.
    pub at: Position,
    pub destination: Destination,
    /// Share of the connections in relation to the sum.
    pub weight: u32,
}

// === impl VirtualService ===

impl VirtualService {
    /// Every destination with the path of its field.
    pub fn destinations(&self) -> Vec<(String, &Destination)> {
        let mut found = Vec::new();
        for (i, rule) in self.http.iter().enumerate() {
            if let HttpAction::Route(route) = &rule.action {
                for (j, to) in route.iter().enumerate() {
                    found.push((format!("spec.http[{i}].route[{j}].destination"), &to.destination));
                }
            }
        }
        for (i, rule) in self.tls.iter().enumerate() {
            for (j, to) in rule.route.iter().enumerate() {
                found.push((format!("spec.tls[{i}].route[{j}].destination"), &to.destination));
            }
        }
        for (i, rule) in self.tcp.iter().enumerate() {
            for (j, to) in rule.route.iter().enumerate() {
                found.push((format!("spec.tcp[{i}].route[{j}].destination"), &to.destination));
            }
        }
        found
    }
}
