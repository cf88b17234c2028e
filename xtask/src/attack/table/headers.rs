//! Group B: headers that are read otherwise by the one and the other.

use crate::attack::row::{Attack, Group};

/// Lines of HTTP/1.1 behind the host. `edge` takes its clients for strangers, `deny-none` refuses `x-role: bad`.
#[rustfmt::skip]
const LINES: &[(&str, &str, &str)] = &[
    ("denied value", "deny-none", "x-role: bad\r\n"),
    ("denied value comes second", "deny-none", "x-role: good\r\nx-role: bad\r\n"),
    ("denied value comes first", "deny-none", "x-role: bad\r\nx-role: good\r\n"),
    ("denied value in a list", "deny-none", "x-role: good, bad\r\n"),
    ("denied value in upper case name", "deny-none", "X-ROLE: bad\r\n"),
    ("white space before a value", "deny-none", "x-role: \t bad\r\n"),
    ("white space behind a value", "deny-none", "x-role: bad \t\r\n"),
    ("form feed around a value", "deny-none", "x-role: \u{c}bad\u{c}\r\n"),
    ("line that goes on", "deny-none", "x-role:\r\n bad\r\n"),
    ("line that goes on by a tab", "deny-none", "x-role: good\r\n\tbad\r\n"),
    ("NUL in a value", "deny-none", "x-role: bad\0\r\n"),
    ("CR in a value", "deny-none", "x-role: bad\rx: y\r\n"),
    ("LF ends a line", "deny-none", "x-a: 1\nx-role: bad\r\n"),
    ("LF in a value", "plain", "x-a: 1\nx-b: 2\r\n"),
    ("space in a name", "plain", "x a: 1\r\n"),
    ("space behind a name", "plain", "x-a : 1\r\n"),
    ("tab behind a name", "plain", "x-a\t: 1\r\n"),
    ("no colon", "plain", "x-a\r\n"),
    ("empty name", "plain", ": 1\r\n"),
    ("name above ASCII", "plain", "x-\u{e4}: 1\r\n"),
    ("NUL in a name", "plain", "x-\0a: 1\r\n"),
    ("value above ASCII", "plain", "x-a: \u{e4}\u{ff}\r\n"),
    ("DEL in a value", "plain", "x-a: a\u{7f}b\r\n"),
    ("escape in a value", "plain", "x-a: \u{1b}[31m\r\n"),
    ("under score for dash", "plain", "content_length: 5\r\nx_forwarded_for: 1.2.3.4\r\n"),
    ("pseudo-header in HTTP/1.1", "plain", ":authority: secret.test\r\n"),
    (":path in HTTP/1.1", "plain", ":path: /other\r\n"),
    ("hop-by-hop by Connection", "plain", "connection: x-auth\r\nx-auth: 1\r\n"),
    ("Connection names host", "plain", "connection: host\r\n"),
    ("Connection names content-length", "plain", "connection: content-length\r\ncontent-length: 0\r\n"),
    ("Connection names transfer-encoding", "plain", "connection: transfer-encoding\r\n"),
    ("Connection names x-forwarded-proto", "plain", "connection: x-forwarded-proto\r\n"),
    ("Connection names x-forwarded-host", "plain", "connection: x-forwarded-host\r\nx-forwarded-host: a\r\n"),
    ("Connection names x-envoy-internal", "edge", "connection: x-envoy-internal\r\n"),
    ("Connection names x-request-id", "edge", "connection: x-request-id\r\n"),
    ("Connection names cookie", "plain", "connection: cookie\r\ncookie: a=b\r\n"),
    ("Connection names authorization", "plain", "connection: authorization\r\nauthorization: a\r\n"),
    ("Connection names a pseudo-header", "plain", "connection: :path\r\n"),
    ("Connection names what a rule reads", "deny-none", "connection: x-role\r\nx-role: bad\r\n"),
    ("Connection in three lines", "plain", "connection: a\r\nconnection: b, keep-alive\r\nconnection: c\r\na: 1\r\nb: 1\r\nc: 1\r\n"),
    ("many names in Connection", "plain", "connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,,,,,,\r\n"),
    ("te of two lines", "plain", "te: gzip\r\nte: trailers\r\n"),
    ("te with weights", "plain", "te: trailers;q=0.5, deflate\r\nconnection: te\r\n"),
    ("proxy-connection", "plain", "proxy-connection: keep-alive\r\n"),
    ("keep-alive", "plain", "keep-alive: timeout=5\r\nconnection: keep-alive\r\n"),
    ("proxy-authorization", "plain", "proxy-authorization: Basic x\r\n"),
    ("upgrade without Connection", "plain", "upgrade: websocket\r\n"),
    ("forged client certificate", "edge", "x-forwarded-client-cert: By=spiffe://a;URI=spiffe://b\r\n"),
    ("forged client certificate twice", "edge", "x-forwarded-client-cert: URI=spiffe://a\r\nX-Forwarded-Client-Cert: URI=spiffe://b\r\n"),
    ("forged address", "edge", "x-forwarded-for: 10.0.0.1\r\n"),
    ("forged address in two lines", "edge", "x-forwarded-for: 10.0.0.1\r\nx-forwarded-for: 127.0.0.1\r\n"),
    ("address that is none", "edge", "x-forwarded-for: \" , 'or 1=1\r\n"),
    ("forged scheme", "edge", "x-forwarded-proto: https\r\n"),
    ("scheme that is none", "edge", "x-forwarded-proto: gopher\r\n"),
    ("forged scheme twice", "edge", "x-forwarded-proto: https\r\nx-forwarded-proto: http\r\n"),
    ("forged original path", "edge", "x-envoy-original-path: /admin\r\n"),
    ("forged decorator", "edge", "x-envoy-decorator-operation: x\r\nx-envoy-downstream-service-cluster: y\r\nx-envoy-downstream-service-node: z\r\n"),
    ("forged time-out", "edge", "x-envoy-upstream-rq-timeout-ms: 1\r\nx-envoy-upstream-rq-per-try-timeout-ms: 1\r\nx-envoy-expected-rq-timeout-ms: 1\r\n"),
    ("forged retries", "edge", "x-envoy-max-retries: 100\r\nx-envoy-retry-on: 5xx\r\nx-envoy-retry-grpc-on: cancelled\r\n"),
    ("forged internal", "edge", "x-envoy-internal: true\r\n"),
    ("forged external address", "edge", "x-envoy-external-address: 1.2.3.4\r\n"),
    ("forged fault", "edge", "x-envoy-fault-abort-request: 503\r\nx-envoy-fault-delay-request: 1000\r\n"),
    ("forged alt stat", "edge", "x-envoy-upstream-alt-stat-name: x\r\nx-envoy-ip-tags: y\r\nx-envoy-force-trace: true\r\n"),
    ("forged hedge", "edge", "x-envoy-hedge-on-per-try-timeout: true\r\nx-envoy-immediate-health-check-fail: true\r\n"),
    ("forged original destination", "edge", "x-envoy-original-dst-host: 127.0.0.1:1\r\nx-envoy-original-method: DELETE\r\n"),
    ("forged attempt count", "edge", "x-envoy-attempt-count: 9\r\nx-envoy-degraded: 1\r\nx-envoy-overloaded: 1\r\n"),
    ("request id that forges a line", "edge", "x-request-id: \"}\\n{\r\n"),
    ("request id that is none", "edge", "x-request-id: ../../../etc\r\n"),
    ("user agent with quotes", "plain", "user-agent: \" 200 - \"forged\r\n"),
    ("cookie in two lines", "plain", "cookie: a=1\r\ncookie: b=2\r\n"),
    ("via", "plain", "via: 1.1 proxy\r\n"),
    ("range of many parts", "plain", "range: bytes=0-,0-,0-,0-,0-,0-\r\n"),
    ("expect that nobody knows", "plain", "expect: 200-ok\r\n"),
    ("expect twice", "plain", "expect: 100-continue\r\nexpect: 100-continue\r\n"),
    ("grpc-timeout too large", "plain", "content-type: application/grpc\r\ngrpc-timeout: 99999999999999999999S\r\n"),
    ("traceparent that is none", "plain", "traceparent: 00-zz-zz-zz\r\n"),
];

/// Request lines that are none, or nearly.
#[rustfmt::skip]
const REQUEST_LINES: &[(&str, &str)] = &[
    ("two spaces", "GET  /x HTTP/1.1"), ("tabs", "GET\t/x\tHTTP/1.1"), ("space at the end", "GET /x HTTP/1.1 "),
    ("space in front", " GET /x HTTP/1.1"), ("no version", "GET /x"), ("HTTP/0.9", "GET /x HTTP/0.9"), ("HTTP/1.2", "GET /x HTTP/1.2"),
    ("HTTP/2.0", "GET /x HTTP/2.0"), ("HTTP/1.10", "GET /x HTTP/1.10"), ("http/1.1", "GET /x http/1.1"), ("HTTP/1", "GET /x HTTP/1"),
    ("lower case method", "get /x HTTP/1.1"), ("method of signs", "!#$%&'*+-.^_`|~ /x HTTP/1.1"), ("method with a colon", "G:T /x HTTP/1.1"),
    ("method with quotes", "\"GET\" /x HTTP/1.1"), ("no method", "/x HTTP/1.1"), ("NUL in the method", "GE\0T /x HTTP/1.1"),
    ("very long method", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /x HTTP/1.1"),
    ("TRACE", "TRACE /x HTTP/1.1"), ("TRACK", "TRACK /x HTTP/1.1"), ("PRI", "PRI * HTTP/1.1"), ("OPTIONS *", "OPTIONS * HTTP/1.1"),
    ("CONNECT", "CONNECT e:80 HTTP/1.1"), ("CONNECT with a path", "CONNECT /x HTTP/1.1"), ("CONNECT without a port", "CONNECT e HTTP/1.1"),
    ("answer", "HTTP/1.1 200 OK"), ("CR in the target", "GET /x\ry HTTP/1.1"), ("NUL in the target", "GET /x\0y HTTP/1.1"),
    ("form feed", "GET\u{c}/x HTTP/1.1"), ("vertical tab", "GET /x\u{b}HTTP/1.1"), ("garbage", "\u{16}\u{3}\u{1}\u{2}\u{0}"),
];

/// Fields of HTTP/2, in their order.
type Pairs = &'static [(&'static str, &'static str)];

/// Fields of HTTP/2 behind the four that a request has.
#[rustfmt::skip]
const FIELDS: &[(&str, &str, Pairs)] = &[
    ("denied value comes second", "deny-none", &[("x-role", "good"), ("x-role", "bad")]),
    ("denied value comes first", "deny-none", &[("x-role", "bad"), ("x-role", "good")]),
    ("white space around a value", "deny-none", &[("x-role", " bad ")]),
    ("upper case name", "plain", &[("X-A", "1")]),
    ("upper case of what a rule reads", "deny-none", &[("X-Role", "bad")]),
    ("space in a name", "plain", &[("x a", "1")]),
    ("colon in a name", "plain", &[("x:a", "1")]),
    ("empty name", "plain", &[("", "1")]),
    ("NUL in a name", "plain", &[("x\0a", "1")]),
    ("CRLF in a name", "plain", &[("x\r\nx-role: bad\r\ny", "1")]),
    ("CRLF in a value", "plain", &[("x-a", "1\r\nx-role: bad")]),
    ("LF in a value", "plain", &[("x-a", "1\nx-role: bad")]),
    ("CR in a value", "plain", &[("x-a", "1\rx-role: bad")]),
    ("NUL in a value", "plain", &[("x-a", "1\0")]),
    ("whole request in a value", "plain", &[("x-a", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n")]),
    ("value above ASCII", "plain", &[("x-a", "\u{e4}\u{ff}")]),
    ("connection", "plain", &[("connection", "close")]),
    ("connection names another", "plain", &[("connection", "x-auth"), ("x-auth", "1")]),
    ("keep-alive", "plain", &[("keep-alive", "5")]),
    ("proxy-connection", "plain", &[("proxy-connection", "close")]),
    ("transfer-encoding", "plain", &[("transfer-encoding", "chunked")]),
    ("transfer-encoding identity", "plain", &[("transfer-encoding", "identity")]),
    ("upgrade", "plain", &[("upgrade", "websocket")]),
    ("http2-settings", "plain", &[("http2-settings", "AAMAAABk")]),
    ("te gzip", "plain", &[("te", "gzip")]),
    ("te trailers", "plain", &[("te", "trailers")]),
    ("te trailers and gzip", "plain", &[("te", "trailers, gzip")]),
    ("unknown pseudo-header", "plain", &[(":forged", "1")]),
    (":status in a request", "plain", &[(":status", "200")]),
    (":protocol without CONNECT", "plain", &[(":protocol", "websocket")]),
    ("pseudo-header behind a header", "plain", &[("x-a", "1"), (":path", "/second")]),
    ("second :path", "plain", &[(":path", "/second")]),
    ("second :method", "plain", &[(":method", "POST")]),
    ("second :scheme", "plain", &[(":scheme", "https")]),
    ("cookies in crumbs", "plain", &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]),
    ("cookie crumb with CRLF", "plain", &[("cookie", "a=1\r\nx: y"), ("cookie", "b=2")]),
    ("forged client certificate", "edge", &[("x-forwarded-client-cert", "URI=spiffe://a"), ("x-forwarded-client-cert", "URI=spiffe://b")]),
    ("forged address", "edge", &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "127.0.0.1")]),
    ("forged scheme", "edge", &[("x-forwarded-proto", "https")]),
    ("forged envoy headers", "edge", &[("x-envoy-original-path", "/admin"), ("x-envoy-internal", "true"), ("x-envoy-max-retries", "9")]),
    ("expect", "plain", &[("expect", "100-continue")]),
    ("trailer announces", "plain", &[("trailer", "content-length, host")]),
];

/// Heads of HTTP/2 as a whole.
#[rustfmt::skip]
const HEADS: &[(&str, &[(&str, &str)])] = &[
    ("no :method", &[(":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    ("no :scheme", &[(":method", "GET"), (":authority", "e"), (":path", "/x")]),
    ("no :path", &[(":method", "GET"), (":scheme", "http"), (":authority", "e")]),
    ("empty :path", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "")]),
    ("empty :method", &[(":method", ""), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    (":path of another scheme", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "http://secret.test/x")]),
    (":path without slash", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "x")]),
    (":path *", &[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "e"), (":path", "*")]),
    (":path with a space", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "/x HTTP/1.1\r\nx: y")]),
    (":path with spaces alone", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "/a b")]),
    (":path with CRLF", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "/x\r\nhost: secret.test")]),
    (":path with NUL", &[(":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "/x\0")]),
    (":method with a space", &[(":method", "GET /smuggled HTTP/1.1\r\nx:"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    (":method in lower case", &[(":method", "get"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    (":method of an answer", &[(":method", "HTTP/1.1"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    ("CONNECT", &[(":method", "CONNECT"), (":authority", "e:80")]),
    ("CONNECT with a path", &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    ("CONNECT with a protocol", &[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
    ("headers first", &[("x-a", "1"), (":method", "GET"), (":scheme", "http"), (":authority", "e"), (":path", "/x")]),
];

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = Vec::new();
    for (name, listener, lines) in LINES {
        let bytes: &'static str = Box::leak(format!("GET /x HTTP/1.1\r\nhost: e\r\n{lines}\r\n").into_boxed_str());
        rows.push(Attack::h1(Group::Headers, name, listener, bytes));
    }
    for (name, line) in REQUEST_LINES {
        let bytes: &'static str = Box::leak(format!("{line}\r\nhost: e\r\n\r\n").into_boxed_str());
        rows.push(Attack::h1(
            Group::Headers,
            &format!("request line: {name}"),
            "plain",
            bytes,
        ));
    }
    for (name, listener, more) in FIELDS {
        let mut fields = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "e"),
            (":path", "/x"),
        ];
        fields.extend_from_slice(more);
        rows.push(Attack::h2(
            Group::Headers,
            &format!("{name} by HTTP/2"),
            listener,
            &fields,
            "",
        ));
    }
    for (name, fields) in HEADS {
        rows.push(Attack::h2(
            Group::Headers,
            &format!("head of HTTP/2: {name}"),
            "plain",
            fields,
            "",
        ));
    }
    rows
}
