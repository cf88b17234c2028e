//! The bootstrap files that Weft and Envoy both run: routing, statistics and access log as pilot makes them for the demo.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::case::{Case, HOST};
use super::certificates::{Identity, ROOT};

/// Istio's default access log line.
const LOG_FORMAT: &str = "[%START_TIME%] \\\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\\\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \\\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\\\" \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \\\"%REQ(X-FORWARDED-FOR)%\\\" \
    \\\"%REQ(USER-AGENT)%\\\" \\\"%REQ(X-REQUEST-ID)%\\\" \\\"%REQ(:AUTHORITY)%\\\" \\\"%UPSTREAM_HOST%\\\" %UPSTREAM_CLUSTER% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\\n";

/// Which hop of a case a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// The only hop, or the client's side of a pair.
    Outbound,
    /// The server's side of a pair.
    Inbound,
}

/// What a file is made from.
pub(super) struct Inputs<'a> {
    pub(super) case: Case,
    pub(super) hop: Hop,
    pub(super) listen: SocketAddr,
    pub(super) upstream: SocketAddr,
    pub(super) dir: &'a Path,
}

// === impl Inputs ===

impl Inputs<'_> {
    /// The bootstrap file.
    pub(super) fn bootstrap(&self) -> String {
        let (direction, filter) = match (self.case, self.hop) {
            (Case::Tcp, _) => ("OUTBOUND", self.tcp_proxy()),
            (_, Hop::Outbound) => ("OUTBOUND", self.connection_manager(&outbound_routes())),
            (_, Hop::Inbound) => ("INBOUND", self.connection_manager(&inbound_routes())),
        };
        let clusters: String = ["v1", "v2", "canary"]
            .into_iter()
            .map(|subset| self.cluster(subset))
            .collect();
        format!(
            r#"node:
  id: "sidecar~127.0.0.1~bench.default~default.svc.cluster.local"
  cluster: bench.default
  metadata: {{WORKLOAD_NAME: bench, NAMESPACE: default, CLUSTER_ID: Kubernetes, LABELS: {{app: bench, version: v1}}}}
static_resources:
  listeners:
  - name: "{listen}"
    traffic_direction: {direction}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - {filter}{tls}
  clusters:{clusters}
"#,
            listen = self.listen,
            port = self.listen.port(),
            tls = self.downstream_tls(),
        )
    }

    fn access_log(&self) -> String {
        let path = self.dir.join(format!("access-{:?}.log", self.hop).to_lowercase());
        format!(
            r#"[{{name: envoy.access_loggers.file, typed_config: {{"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "{}", log_format: {{text_format_source: {{inline_string: "{LOG_FORMAT}"}}}}}}}}]"#,
            path.display()
        )
    }

    fn connection_manager(&self, routes: &str) -> String {
        format!(
            r#"name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          normalize_path: true
          use_remote_address: false
          access_log: {access_log}
          http_filters:
{filters}
          - {{name: envoy.filters.http.router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}
          route_config:
            name: http_proxy
            virtual_hosts:
            - name: "reviews.default.svc.cluster.local:80"
              domains: [reviews, reviews.default, reviews.default.svc.cluster.local]
              routes: [{{match: {{prefix: /}}, route: {{cluster: v1}}}}]
            - name: "{HOST}:80"
              domains: [callme, callme.default, "{HOST}", "{HOST}:80"]
              routes:
{routes}"#,
            access_log = self.access_log(),
            filters = self.istio_filters(),
        )
    }

    /// Istio's metrics as pilot configures them; stock Envoy does not have the filters and passes over them.
    fn istio_filters(&self) -> String {
        let method = "[{istio_headers: {}}]";
        let (exchange, fallback) = match self.hop {
            Hop::Outbound => (format!("{{upstream_propagation: {method}}}"), "{}"),
            Hop::Inbound => (
                format!("{{downstream_discovery: {method}}}"),
                "{disable_host_header_fallback: true}",
            ),
        };
        let filter = |name: &str, config: &str, value: &str| {
            format!(
                r#"          - {{name: {name}, is_optional: true, typed_config: {{"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/{config}, value: {value}}}}}"#
            )
        };
        [
            filter(
                "istio.metadata_exchange",
                "io.istio.http.peer_metadata.Config",
                &exchange,
            ),
            filter("istio.stats", "stats.PluginConfig", fallback),
        ]
        .join("\n")
    }

    fn tcp_proxy(&self) -> String {
        format!(
            r#"name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: v1
          access_log: {}"#,
            self.access_log()
        )
    }

    fn cluster(&self, subset: &str) -> String {
        format!(
            r#"
  - name: "{subset}"
    type: STATIC
    connect_timeout: 10s
    lb_policy: LEAST_REQUEST
    circuit_breakers: {{thresholds: [{{max_connections: 4294967295, max_pending_requests: 4294967295, max_requests: 4294967295, max_retries: 4294967295}}]}}
    load_assignment:
      cluster_name: "{subset}"
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
          metadata: {{filter_metadata: {{istio: {{workload: "callme-{subset};default;callme;{subset};Kubernetes;callme;{subset}"}}}}}}
    metadata: {{filter_metadata: {{istio: {{services: [{{host: {HOST}, name: callme, namespace: default}}]}}}}}}{tls}"#,
            port = self.upstream.port(),
            tls = self.upstream_tls(),
        )
    }

    fn certificate(&self, identity: Identity) -> String {
        format!(
            r#"tls_certificates: [{{certificate_chain: {{filename: "{chain}"}}, private_key: {{filename: "{key}"}}}}]"#,
            chain = self.dir.join(identity.chain()).display(),
            key = self.dir.join(identity.key()).display(),
        )
    }

    fn downstream_tls(&self) -> String {
        if self.hop == Hop::Outbound {
            return String::new();
        }
        format!(
            r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [istio-http/1.1, http/1.1]
            {certificate}
            validation_context: {{trusted_ca: {{filename: "{root}"}}}}"#,
            certificate = self.certificate(Identity::Server),
            root = self.dir.join(ROOT).display(),
        )
    }

    fn upstream_tls(&self) -> String {
        if self.case != Case::MtlsPair || self.hop == Hop::Inbound {
            return String::new();
        }
        format!(
            r#"
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: outbound_.80_._.{HOST}
        common_tls_context:
          alpn_protocols: [istio-http/1.1]
          {certificate}
          validation_context:
            trusted_ca: {{filename: "{root}"}}
            match_typed_subject_alt_names: [{{san_type: URI, matcher: {{exact: "{san}"}}}}]"#,
            certificate = self.certificate(Identity::Client),
            root = self.dir.join(ROOT).display(),
            san = Identity::Server.spiffe_id(),
        )
    }
}

/// Routes as a VirtualService of some size gives them; the request is matched by the last one.
fn outbound_routes() -> String {
    let mut routes = String::new();
    let mut add = |matching: &str, action: &str| {
        let _ = writeln!(routes, "              - {{match: {{{matching}}}, route: {{{action}}}}}");
    };
    add(
        r#"prefix: /, headers: [{name: user-agent, string_match: {safe_regex: {regex: ".*Canary.*"}}}]"#,
        "cluster: canary",
    );
    add(
        r#"prefix: /, headers: [{name: x-user, string_match: {exact: tester}}]"#,
        "cluster: v2",
    );
    add("path: /healthz", "cluster: v1, timeout: 1s");
    for name in ["accounts", "basket", "catalog", "reviews"] {
        add(&format!("path_separated_prefix: /{name}"), "cluster: v1, timeout: 5s");
    }
    add(
        "prefix: /",
        "weighted_clusters: {clusters: [{name: v1, weight: 80}, {name: v2, weight: 20}]}, timeout: 0s, retry_policy: {retry_on: \
         \"connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes\", num_retries: 2, \
         host_selection_retry_max_attempts: \"5\", retriable_status_codes: [503], retry_host_predicate: [{name: \
         envoy.retry_host_predicates.previous_hosts, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}",
    );
    routes
}

fn inbound_routes() -> String {
    "              - {match: {prefix: /}, route: {cluster: v1, timeout: 0s}}\n".to_owned()
}
