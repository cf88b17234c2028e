//! What nginx and HAProxy run: the same job as the bootstrap file says, in their own words.

use super::case::{Case, HOST};
use super::certificates::{Identity, ROOT};
use super::envoy_config::{Hop, Inputs};

/// Prefixes that the peers look at before the route that matches, as many as the bootstrap file has.
const PREFIXES: [&str; 4] = ["accounts", "basket", "catalog", "reviews"];

/// nginx's file: one process, buffered access log, keep-alive to the backend.
pub(super) fn nginx(inputs: &Inputs<'_>, stream_module: Option<&str>) -> String {
    let dir = inputs.dir.display();
    let hop = format!("{:?}", inputs.hop).to_lowercase();
    let module = stream_module
        .map(|path| format!("load_module {path};\n"))
        .unwrap_or_default();
    let head = format!(
        "{module}daemon off;\nmaster_process off;\nworker_processes 1;\npid {dir}/nginx-{hop}.pid;\n\
         error_log {dir}/nginx-{hop}-error.log;\n\
         events {{ worker_connections 4096; }}\n"
    );
    if inputs.case == Case::Tcp {
        return format!(
            "{head}stream {{\n  log_format basic '$remote_addr [$time_local] $status $bytes_sent $bytes_received $session_time';\n  \
             access_log {dir}/nginx-{hop}-access.log basic buffer=64k flush=10s;\n  server {{ listen {}; proxy_pass {}; }}\n}}\n",
            inputs.listen, inputs.upstream
        );
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {dir}/nginx-{hop}-{kind};\n"))
        .concat();
    let (listen, scheme, tls) = nginx_tls(inputs);
    let proxy = format!("{{ proxy_pass {scheme}://$subset; }}");
    let locations: String = PREFIXES
        .map(|prefix| format!("    location /{prefix}/ {proxy}\n"))
        .concat();
    format!(
        r#"{head}http {{
{temporary}  access_log {dir}/nginx-{hop}-access.log combined buffer=64k flush=10s;
  keepalive_requests 1000000000;
  upstream v1 {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  upstream v2 {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  split_clients $request_id $weighted {{ 80% v1; * v2; }}
  map $http_user_agent $subset {{ default $weighted; "~Canary" v2; }}
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Request-Id $request_id;
  server {{
    listen {listen};
    server_name {HOST};
{tls}    location = /healthz {proxy}
{locations}    location / {proxy}
  }}
}}
"#,
        upstream = inputs.upstream,
    )
}

fn nginx_tls(inputs: &Inputs<'_>) -> (String, &'static str, String) {
    let file = |name: &str| inputs.dir.join(name).display().to_string();
    let listen = inputs.listen;
    match (inputs.case, inputs.hop) {
        (Case::MtlsPair, Hop::Outbound) => {
            let tls = format!(
                "    proxy_ssl_certificate {};\n    proxy_ssl_certificate_key {};\n    \
                 proxy_ssl_trusted_certificate {};\n    proxy_ssl_verify on;\n    \
                 proxy_ssl_name {HOST};\n    proxy_ssl_protocols TLSv1.3;\n",
                file(&Identity::Client.chain()),
                file(&Identity::Client.key()),
                file(ROOT)
            );
            (listen.to_string(), "https", tls)
        }
        (Case::MtlsPair, Hop::Inbound) => {
            let tls = format!(
                "    ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_client_certificate {};\n    \
                 ssl_verify_client on;\n    ssl_protocols TLSv1.3;\n",
                file(&Identity::Server.chain()),
                file(&Identity::Server.key()),
                file(ROOT)
            );
            (format!("{listen} ssl"), "http", tls)
        }
        (Case::Http2, _) => (format!("{listen} http2"), "http", String::new()),
        (Case::Http1 | Case::Tcp, _) => (listen.to_string(), "http", String::new()),
    }
}

/// HAProxy's file: one thread, log lines to stdout (a file), keep-alive to the backend.
pub(super) fn haproxy(inputs: &Inputs<'_>) -> String {
    let file = |name: &str| inputs.dir.join(name).display().to_string();
    let (mut bind, mut server) = (String::new(), String::new());
    match (inputs.case, inputs.hop) {
        (Case::Http2, _) => bind.push_str(" proto h2"),
        (Case::MtlsPair, Hop::Outbound) => {
            let (bundle, root) = (file(&Identity::Client.bundle()), file(ROOT));
            server = format!(
                " ssl crt {bundle} ca-file {root} verify required verifyhost {HOST} sni str({HOST}) alpn http/1.1"
            );
        }
        (Case::MtlsPair, Hop::Inbound) => {
            bind = format!(
                " ssl crt {} ca-file {} verify required alpn http/1.1",
                file(&Identity::Server.bundle()),
                file(ROOT)
            );
        }
        (Case::Http1 | Case::Tcp, _) => {}
    }
    let (mode, log) = if inputs.case == Case::Tcp {
        ("tcp", "tcplog")
    } else {
        ("http", "httplog")
    };
    let rules = if inputs.case == Case::Tcp {
        String::new()
    } else {
        let prefixes: String = PREFIXES
            .map(|prefix| format!("  use_backend v1 if {{ path_beg /{prefix}/ }}\n"))
            .concat();
        format!(
            "  option forwardfor\n  unique-id-format %{{+X}}o%ci%cp%Ts%rt\n  unique-id-header X-Request-Id\n  \
             acl canary req.hdr(user-agent) -m reg Canary\n  use_backend v2 if canary\n  \
             use_backend v2 if {{ req.hdr(x-user) tester }}\n  use_backend v1 if {{ path /healthz }}\n{prefixes}"
        )
    };
    let (listen, upstream) = (inputs.listen, inputs.upstream);
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n  log stdout format raw local0 info\n\
         defaults\n  mode {mode}\n  log global\n  option {log}\n  timeout connect 10s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\n\
         frontend in\n  bind {listen}{bind}\n{rules}  default_backend weighted\n\
         backend weighted\n  server s1 {upstream}{server} weight 80\n  server s2 {upstream}{server} weight 20\n\
         backend v1\n  server s1 {upstream}{server}\nbackend v2\n  server s2 {upstream}{server}\n"
    )
}
