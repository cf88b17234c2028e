//! Group A: paths and hosts that a rule reads otherwise than whoever comes after it.

use crate::attack::row::{Attack, Group};

/// Other ways to say `/admin`, which is refused, and what a reader of paths stumbles over.
#[rustfmt::skip]
const PATHS: &[&str] = &[
    "/admin", "/admin/", "/admin?x", "/admin#x", "/admin;x", "/admin;x=1/y", "/admin%", "/admin%00", "/admin%20", "/admin%0d%0a",
    "//admin", "///admin", "/./admin", "/.//admin", "/x/../admin", "/x/..//admin", "/x/./../admin", "/../admin", "/..;/admin",
    "/x/..;/admin", "/x/..;a=b/admin", "/.;/admin", "/;/admin", "/x;/../admin", "/%2e/admin", "/%2E/admin", "/x/%2e%2e/admin",
    "/x/%2e./admin", "/x/.%2e/admin", "/x/%252e%252e/admin", "/x%2f..%2fadmin", "/x%2F../admin", "/%2fadmin", "/%2Fadmin", "/%5cadmin",
    "/%5Cadmin", "/x%5c..%5cadmin", "\\admin", "/\\admin", "/x\\..\\admin", "/%252fadmin", "/%c0%afadmin", "/%c0%ae%c0%ae/admin",
    "/%ef%bc%8fadmin", "/%00/../admin", "/x%00/../admin", "/%61dmin", "/%41dmin", "/ADMIN", "/Admin", "/adm%69n", "/adm%49n",
    "/admi%6e/", "/x/%2e%2e%2fadmin", "/x/..%2fadmin", "/x/..%5cadmin", "/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin",
    "/public//../admin", "/public/..//admin", "/public%2f..%2fadmin", "/public/%2e%2e%2fadmin", "/public/x/../../admin",
    "/public/{**}", "/public/*", "/public/\u{c3}\u{a4}/../../admin", "/public/%zz/../../admin", "/public?/../admin", "/public#/../admin",
    "admin", "*", "//", "/", "/%", "/%2", "/x/...", "/x/..", "/x/.", "?admin", "#admin", "/a b", "/a\tb", "/a\u{7f}b", "/a\u{80}b",
    "http://e/admin", "HTTP://e/admin", "http://e//admin", "http://e", "http://e?/admin", "http://e#/admin", "http:///admin", "http:/admin",
    "https://e/admin", "ftp://e/admin", "http://u@e/admin", "http://e:80/admin", "http://e:99999/admin", "e/admin", "e:80",
];

/// Listeners that refuse `/admin` (`deny`) or allow `/public` alone (`allow`), with the path as it came, or as Istio's modes make it.
const POLICIES: [&str; 10] = [
    "deny-none",
    "deny-base",
    "deny-merge",
    "deny-decode",
    "deny-reject",
    "allow-none",
    "allow-base",
    "allow-merge",
    "allow-decode",
    "allow-reject",
];

/// Other ways to say the host `secret.test`, which is refused.
#[rustfmt::skip]
const HOSTS: &[(&str, &str)] = &[
    ("itself", "GET /h HTTP/1.1\r\nhost: secret.test\r\n\r\n"),
    ("upper case", "GET /h HTTP/1.1\r\nhost: SECRET.test\r\n\r\n"),
    ("trailing dot", "GET /h HTTP/1.1\r\nhost: secret.test.\r\n\r\n"),
    ("port 80", "GET /h HTTP/1.1\r\nhost: secret.test:80\r\n\r\n"),
    ("another port", "GET /h HTTP/1.1\r\nhost: secret.test:8080\r\n\r\n"),
    ("empty port", "GET /h HTTP/1.1\r\nhost: secret.test:\r\n\r\n"),
    ("port that is none", "GET /h HTTP/1.1\r\nhost: secret.test:http\r\n\r\n"),
    ("port too large", "GET /h HTTP/1.1\r\nhost: secret.test:65536\r\n\r\n"),
    ("negative port", "GET /h HTTP/1.1\r\nhost: secret.test:-1\r\n\r\n"),
    ("two ports", "GET /h HTTP/1.1\r\nhost: secret.test:80:80\r\n\r\n"),
    ("user", "GET /h HTTP/1.1\r\nhost: u@secret.test\r\n\r\n"),
    ("path in it", "GET /h HTTP/1.1\r\nhost: secret.test/x\r\n\r\n"),
    ("query in it", "GET /h HTTP/1.1\r\nhost: secret.test?x\r\n\r\n"),
    ("comma", "GET /h HTTP/1.1\r\nhost: a.test, secret.test\r\n\r\n"),
    ("space", "GET /h HTTP/1.1\r\nhost: a.test secret.test\r\n\r\n"),
    ("tab", "GET /h HTTP/1.1\r\nhost: secret.test\t\r\n\r\n"),
    ("percent", "GET /h HTTP/1.1\r\nhost: secret%2etest\r\n\r\n"),
    ("brackets", "GET /h HTTP/1.1\r\nhost: [secret.test]\r\n\r\n"),
    ("quotes", "GET /h HTTP/1.1\r\nhost: \"secret.test\"\r\n\r\n"),
    ("back-slash", "GET /h HTTP/1.1\r\nhost: secret.test\\x\r\n\r\n"),
    ("NUL", "GET /h HTTP/1.1\r\nhost: secret.test\0x\r\n\r\n"),
    ("above ASCII", "GET /h HTTP/1.1\r\nhost: secret.test\u{ff}\r\n\r\n"),
    ("none", "GET /h HTTP/1.1\r\nx: y\r\n\r\n"),
    ("empty", "GET /h HTTP/1.1\r\nhost:\r\n\r\n"),
    ("two, the first is it", "GET /h HTTP/1.1\r\nhost: secret.test\r\nhost: a.test\r\n\r\n"),
    ("two, the second is it", "GET /h HTTP/1.1\r\nhost: a.test\r\nhost: secret.test\r\n\r\n"),
    ("twice the same", "GET /h HTTP/1.1\r\nhost: a.test\r\nhost: a.test\r\n\r\n"),
    ("line that goes on", "GET /h HTTP/1.1\r\nhost: a.test\r\n secret.test\r\n\r\n"),
    ("space before the colon", "GET /h HTTP/1.1\r\nhost : secret.test\r\n\r\n"),
    ("space before the name", "GET /h HTTP/1.1\r\n host: secret.test\r\nhost: a.test\r\n\r\n"),
    ("absolute form wins over host", "GET http://secret.test/h HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("host behind an absolute form", "GET http://a.test/h HTTP/1.1\r\nhost: secret.test\r\n\r\n"),
    ("absolute form with a user", "GET http://u:p@secret.test/h HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("absolute form with a user that looks like a host", "GET http://a.test@secret.test/h HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("absolute form in upper case", "GET HTTP://SECRET.TEST/h HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("absolute form without host", "GET http://secret.test/h HTTP/1.1\r\n\r\n"),
    ("absolute form of HTTP/1.0", "GET http://secret.test/h HTTP/1.0\r\n\r\n"),
    ("authority form for GET", "GET secret.test:80 HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("CONNECT", "CONNECT secret.test:80 HTTP/1.1\r\nhost: a.test\r\n\r\n"),
    ("x-forwarded-host", "GET /h HTTP/1.1\r\nhost: a.test\r\nx-forwarded-host: secret.test\r\nx-host: secret.test\r\n\r\n"),
];

/// `:authority` and `host` of HTTP/2.
#[rustfmt::skip]
const AUTHORITIES: &[(&str, &[(&str, &str)])] = &[
    ("itself", &[(":authority", "secret.test")]),
    ("upper case", &[(":authority", "SECRET.test")]),
    ("trailing dot", &[(":authority", "secret.test.")]),
    ("port", &[(":authority", "secret.test:443")]),
    ("port too large", &[(":authority", "secret.test:65536")]),
    ("user", &[(":authority", "u@secret.test")]),
    ("path in it", &[(":authority", "secret.test/x")]),
    ("comma", &[(":authority", "a.test,secret.test")]),
    ("space", &[(":authority", "a.test secret.test")]),
    ("brackets", &[(":authority", "[secret.test]")]),
    ("quotes", &[(":authority", "\"secret.test\"")]),
    ("NUL", &[(":authority", "secret.test\0")]),
    ("CRLF", &[(":authority", "a.test\r\nhost: secret.test")]),
    ("empty", &[(":authority", "")]),
    ("none", &[]),
    ("host alone", &[("host", "secret.test")]),
    ("host beside another", &[(":authority", "a.test"), ("host", "secret.test")]),
    ("host is another", &[(":authority", "secret.test"), ("host", "a.test")]),
    ("empty with host", &[(":authority", ""), ("host", "secret.test")]),
    ("twice", &[(":authority", "a.test"), (":authority", "secret.test")]),
    ("two hosts", &[("host", "a.test"), ("host", "secret.test")]),
];

/// Schemes of HTTP/2 (CVE-2023-35944).
const SCHEMES: [&str; 8] = [
    "hTTp",
    "HTTPS",
    "https",
    "ftp",
    "",
    "http:",
    "http\r\nx: y",
    "javascript",
];

/// A text that lives as long as the program: rows are made once.
fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = Vec::new();
    for policy in POLICIES {
        for path in PATHS {
            let shown = path.escape_default();
            let bytes = kept(format!("GET {path} HTTP/1.1\r\nhost: e\r\n\r\n"));
            rows.push(Attack::h1(Group::Paths, &format!("{policy} {shown}"), policy, bytes));
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "e"),
                (":path", *path),
            ];
            rows.push(Attack::h2(
                Group::Paths,
                &format!("{policy} {shown} by HTTP/2"),
                policy,
                &fields,
                "",
            ));
        }
    }
    for (name, bytes) in HOSTS {
        rows.push(Attack::h1(Group::Paths, &format!("host: {name}"), "hosts", bytes));
    }
    for (name, hosts) in AUTHORITIES {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", "/h")];
        // Pseudo-headers come first.
        let (pseudo, plain): (Vec<_>, Vec<_>) = hosts.iter().copied().partition(|field| field.0.starts_with(':'));
        fields.extend(pseudo.into_iter().chain(plain));
        rows.push(Attack::h2(
            Group::Paths,
            &format!("authority: {name}"),
            "hosts",
            &fields,
            "",
        ));
    }
    for scheme in SCHEMES {
        let fields = [
            (":method", "GET"),
            (":scheme", scheme),
            (":authority", "a.test"),
            (":path", "/scheme"),
        ];
        rows.push(Attack::h2(
            Group::Paths,
            &format!("scheme {:?}", scheme),
            "plain",
            &fields,
            "",
        ));
    }
    rows
}
