//! What cases are made of. Both proxies carry all that is configured here.

/// Fields of the connection manager, as JSON.
#[rustfmt::skip]
pub(super) const MANAGERS: &[&str] = &[
    r#"{"normalize_path": true}"#,
    r#"{"merge_slashes": true}"#,
    r#"{"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}"#,
    r#"{"path_with_escaped_slashes_action": "REJECT_REQUEST"}"#,
    r#"{"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"}"#,
    r#"{"use_remote_address": true}"#,
    r#"{"use_remote_address": true, "xff_num_trusted_hops": 1}"#,
    r#"{"http_protocol_options": {"accept_http_10": true}}"#,
    r#"{"http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "old"}}"#,
    r#"{"server_header_transformation": "PASS_THROUGH"}"#,
    r#"{"server_header_transformation": "APPEND_IF_ABSENT"}"#,
    r#"{"strip_any_host_port": true}"#,
    r#"{"strip_trailing_host_dot": true}"#,
    r#"{"upgrade_configs": [{"upgrade_type": "websocket"}]}"#,
    r#"{"preserve_external_request_id": true}"#,
    r#"{"generate_request_id": false}"#,
    r#"{"common_http_protocol_options": {"max_headers_count": 8}}"#,
    r#"{"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}"#,
    r#"{"via": "proxy"}"#,
    r#"{"skip_xff_append": true}"#,
];

/// Routes, as JSON; `a` is the cluster. The last one fits all.
#[rustfmt::skip]
pub(super) const ROUTES: &[&str] = &[
    r#"{"match": {"path": "/exact"}, "route": {"cluster": "a"}}"#,
    r#"{"match": {"prefix": "/p"}, "route": {"cluster": "a", "prefix_rewrite": "/q"}}"#,
    r#"{"match": {"prefix": "/a/"}, "route": {"cluster": "a", "prefix_rewrite": "/"}}"#,
    r#"{"match": {"safe_regex": {"regex": "/a/[^/]+/c"}}, "route": {"cluster": "a"}}"#,
    r#"{"match": {"safe_regex": {"regex": "/a.*"}}, "route": {"cluster": "a", "regex_rewrite": {"pattern": {"regex": "^/a(.*)$"}, "substitution": "/b\\1"}}}"#,
    r#"{"match": {"path_separated_prefix": "/a"}, "route": {"cluster": "a", "host_rewrite_literal": "rewritten"}}"#,
    r#"{"match": {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}, "route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "x-added", "value": "%REQ(x-a)%"}}]}"#,
    r#"{"match": {"prefix": "/", "headers": [{"name": "x-a", "present_match": true}]}, "direct_response": {"status": 403, "body": {"inline_string": "no"}}}"#,
    r#"{"match": {"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "direct_response": {"status": 418}}"#,
    r#"{"match": {"prefix": "/r"}, "redirect": {"host_redirect": "other", "path_redirect": "/x"}}"#,
    r#"{"match": {"prefix": "/r"}, "redirect": {"https_redirect": true, "prefix_rewrite": "/s", "strip_query": true}}"#,
    r#"{"match": {"prefix": "/x"}, "route": {"cluster": "a", "timeout": "0.3s"}}"#,
    r#"{"match": {"prefix": "/x"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "5xx,reset", "num_retries": 1}}}"#,
    r#"{"match": {"prefix": "/x"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "gateway-error,retriable-status-codes", "retriable_status_codes": [404], "num_retries": 2}}}"#,
    r#"{"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "a"}}"#,
    r#"{"match": {"prefix": "/exact", "case_sensitive": false}, "route": {"cluster": "a", "auto_host_rewrite": false}, "response_headers_to_remove": ["x-b"], "response_headers_to_add": [{"header": {"key": "x-c", "value": "%RESPONSE_CODE%"}}]}"#,
    r#"{"match": {"prefix": "/"}, "route": {"cluster": "a"}}"#,
];

/// Fields of the cluster, as JSON.
#[rustfmt::skip]
pub(super) const CLUSTERS: &[&str] = &[
    r#"{"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}}"#,
    r#"{"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http_protocol_options": {}}, "common_http_protocol_options": {"max_requests_per_connection": 1}}}}"#,
    r#"{"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}"#,
];

pub(super) const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

pub(super) const TARGETS: &[&str] = &[
    "/",
    "/exact",
    "/EXACT",
    "/p/1",
    "/pq",
    "/a",
    "/a/",
    "/a/b/c",
    "/a/b/c?q=1",
    "/r/1?q=2",
    "/x/y?q=1&q=2",
    "/x",
    "/?q=1",
    "/own/x",
];

#[rustfmt::skip]
pub(super) const ODD_TARGETS: &[&str] = &[
    "//", "/a//b", "/a/../b", "/a/./b", "/%61/b", "/a%2fb", "/a%5cb", "/a%2Fb%2f..", "/a/..;/b", "/%", "/%zz", "/a%00", "/a?b?c", "/a?%zz",
    "/a b", "/a\u{e4}", "/a<b>", "/a\"b", "/a{b}", "/a\\b", "/a|b^c`", "/a#b", "http://e/a", "http://e", "http://other:80/a?b", "HTTP://E/a", "*", "a",
    "/../a", "/a/..", "/.", "/a;b=c/d", "/a?/../b", "/a/%2e%2e/b", "/~a", "/a+b", "/a,b", "/a:b@c",
];

pub(super) const HOSTS: &[&str] = &[
    "E",
    "e:80",
    "e.",
    "e:",
    "[::1]",
    "127.0.0.1:1",
    "e:99999",
    "a@e",
    "",
    "a b",
    "e,f",
];

#[rustfmt::skip]
pub(super) const REQUEST_LINES: &[&str] = &[
    "x-a: 1", "x-a: 2", "X-A: 1", "x-a:1", "x-a:  1  ", "x_a: 1", "x-empty:", "accept: */*", "user-agent: u", "user-agent:", "cookie: a=1", "cookie: b=2",
    "connection: close", "connection: keep-alive", "connection: x-a", "Connection: Close", "connection: upgrade\r\nupgrade: websocket",
    "connection: upgrade\r\nupgrade: h2c", "te: trailers", "te: gzip", "expect: 100-continue", "x-forwarded-for: 1.2.3.4", "x-forwarded-for: 1.2.3.4, 5.6.7.8",
    "x-forwarded-proto: https", "x-forwarded-proto: x", "x-forwarded-host: h", "x-forwarded-port: 1", "x-request-id: abc", "x-envoy-internal: true",
    "x-envoy-expected-rq-timeout-ms: 5", "x-envoy-upstream-rq-timeout-ms: 500", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 1",
    "x-envoy-original-path: /o", "x-forwarded-client-cert: URI=a", "proxy-connection: close", "keep-alive: 1", "via: 1.1 x", "content-type: application/grpc",
    "content-type: text/plain", "accept-encoding: gzip", "range: bytes=0-1", "host: second", "content-length: 0", "x-a : 1", "x a: 1", "x-a", " x-a: 1",
    "x-a: 1\r\n 2", "x-a: \u{e4}", "x-a: a\tb", "x-a: a\u{1}b", "authorization: Basic x", "origin: http://o", "date: now", "server: s", "trailer: t",
    "max-forwards: 1", "forwarded: for=1.2.3.4", "if-none-match: x", "x-b: 1, 2", "x-b: 3",
];

/// Lines that become fields of HTTP/2.
#[rustfmt::skip]
pub(super) const FIELD_LINES: &[&str] = &[
    "x-a: 1", "x-a: 2", "X-A: 1", "x_a: 1", "x-empty:", "accept: */*", "user-agent: u", "cookie: a=1", "cookie: b=2", "connection: close", "te: trailers",
    "te: gzip", "expect: 100-continue", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https", "x-request-id: abc", "x-envoy-internal: true",
    "x-envoy-original-path: /o", "x-forwarded-client-cert: URI=a", "via: 1.1 x", "content-type: application/grpc", "content-type: text/plain",
    "accept-encoding: gzip", "host: second", "x a: 1", "x-a: a\u{1}b", "x-a: \u{e4}", "authorization: Basic x", "transfer-encoding: chunked", "upgrade: websocket",
    "x-b: 1, 2", "x-b: 3", "content-length: 2", "date: now", "server: s",
];

pub(super) const BODIES: &[&str] = &[
    "",
    "a",
    "ok",
    "hello",
    "hello, a longer body with several words in it",
    "GET / HTTP/1.1\r\n\r\n",
];
pub(super) const CHUNKS: &[&str] = &[
    "1\r\na\r\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "05\r\nhello\r\n",
    "A\r\n0123456789\r\n",
    "a\r\n0123456789\r\n",
];
pub(super) const CHUNK_ENDS: &[&str] = &[
    "0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\nt: 1\r\n\r\n",
    "000\r\n\r\n",
    "0;x\r\n\r\n",
    "0\r\nt: 1\r\nu: 2\r\n\r\n",
    "0\r\nhost: x\r\n\r\n",
];

/// The end of a head, and a body that does not fit it.
#[rustfmt::skip]
pub(super) const BROKEN_BODIES: &[&str] = &[
    "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello", "content-length: x\r\n\r\n", "content-length: -1\r\n\r\n",
    "content-length: 5, 5\r\n\r\nhello", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "transfer-encoding: gzip\r\n\r\n", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\nzz\r\n", "transfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "transfer-encoding: identity\r\ncontent-length: 2\r\n\r\nok", "content-length: 0\r\n\r\n",
];

#[rustfmt::skip]
pub(super) const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK", "HTTP/1.1 201 Created", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 301 Moved", "HTTP/1.1 400 Bad", "HTTP/1.1 404 Not Found",
    "HTTP/1.1 418 Teapot", "HTTP/1.1 500 Oops", "HTTP/1.1 502 Bad", "HTTP/1.1 503 Busy", "HTTP/1.1 504 Late", "HTTP/1.0 200 OK", "HTTP/1.1 200", "HTTP/1.1 200 ",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 999 What", "garbage",
];

#[rustfmt::skip]
pub(super) const ANSWER_LINES: &[&str] = &[
    "x-b: 1", "x-b: 2", "X-B: 3", "server: s", "date: never", "connection: close", "connection: keep-alive", "connection: x-b", "keep-alive: 5", "set-cookie: a=1",
    "set-cookie: b=2", "location: /l", "content-type: text/plain", "content-type: application/grpc", "grpc-status: 5", "x-envoy-upstream-service-time: 5",
    "x-envoy-overloaded: true", "via: 1.1 x", "upgrade: h2c", "proxy-connection: close", "trailer: t", "etag: x", "vary: accept", "x-b : 1", "x b: 1", "x-b: a\u{1}b", "x-b: \u{e4}",
    "x_b: 1", "x-empty:", "content-length: 9", "transfer-encoding: chunked", "x-request-id: abc", "alt-svc: h3", "retry-after: 1",
];
