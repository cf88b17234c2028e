//! New paths and hosts, and the location of redirects.

use crate::model::route::{HostRewrite, PathMatch, PathRewrite, Redirect};
use crate::stream_info::request::{RequestHead, Scheme, split_port};

/// The path (with query) that goes upstream; `None` leaves it.
pub(crate) fn path(rewrite: &PathRewrite, matched: &PathMatch, request: &RequestHead) -> Option<String> {
    let path = request.path_only();
    let mut out = match rewrite {
        PathRewrite::Prefix(replacement) => {
            let length = match matched {
                PathMatch::Exact { .. } => path.len(),
                PathMatch::Prefix { path, .. } | PathMatch::SeparatedPrefix { path, .. } => path.len(),
                // Envoy replaces the whole path that an expression matched.
                PathMatch::Regex(_) => path.len(),
                PathMatch::Connect => return None,
            };
            let rest = path.get(length..).unwrap_or_default();
            format!("{replacement}{rest}")
        }
        PathRewrite::Regex { pattern, substitution } => pattern.replace_all(path, &**substitution).into_owned(),
        PathRewrite::Full(literal) => literal.to_string(),
    };
    if let Some(query) = request.path.query() {
        out.push('?');
        out.push_str(query);
    }
    Some(out)
}

/// The host that goes upstream; `None` leaves it. `endpoint` is the host name of the chosen endpoint.
pub(crate) fn host(rewrite: &HostRewrite, request: &RequestHead, endpoint: &str) -> Option<String> {
    match rewrite {
        HostRewrite::Literal(host) => Some(host.to_string()),
        HostRewrite::Endpoint => (!endpoint.is_empty()).then(|| endpoint.to_owned()),
        HostRewrite::Header(name) => {
            let value = request.headers.get(name)?.to_str().ok()?;
            (!value.is_empty()).then(|| value.to_owned())
        }
        HostRewrite::PathRegex { pattern, substitution } => {
            Some(pattern.replace_all(request.path_only(), &**substitution).into_owned())
        }
    }
}

/// The `location` of a redirect (Envoy API, `config.route.v3.RedirectAction`).
pub(crate) fn location(redirect: &Redirect, matched: &PathMatch, request: &RequestHead) -> String {
    let scheme = match &redirect.scheme {
        Some(scheme) => scheme,
        None if redirect.https => "https",
        None => request.scheme.as_str(),
    };
    let original = request.host();
    let (host, own_port) = match &redirect.host {
        Some(host) => (&**host, None),
        None => split_port(original),
    };
    let port = match redirect.port {
        Some(port) => Some(port.to_string()),
        None => own_port
            .filter(|port| !implied(port, request.scheme, scheme))
            .map(str::to_owned),
    };
    let mut out = format!("{scheme}://{host}");
    if let Some(port) = port {
        out.push(':');
        out.push_str(&port);
    }
    out.push_str(&new_path(redirect, matched, request));
    out
}

/// A port that only stated the old scheme's default is dropped when the scheme changes.
fn implied(port: &str, old: Scheme, new: &str) -> bool {
    let default = match old {
        Scheme::Http => "80",
        Scheme::Https => "443",
    };
    port == default && new != old.as_str()
}

fn new_path(redirect: &Redirect, matched: &PathMatch, request: &RequestHead) -> String {
    let full = match &redirect.path {
        // A literal path may bring its own query, which then replaces the request's.
        Some(PathRewrite::Full(literal)) if literal.contains('?') => literal.to_string(),
        Some(rewrite) => path(rewrite, matched, request).unwrap_or_else(|| request.path.to_string()),
        None => request.path.to_string(),
    };
    match full.split_once('?') {
        Some((path, _)) if redirect.strip_query => path.to_owned(),
        _ => full,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
    use regex::Regex;

    use super::*;

    fn request(host: &'static str, path: &'static str) -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: HeaderValue::from_static(host),
            path: path.parse().unwrap(),
            headers: HeaderMap::new(),
            version: Version::HTTP_11,
            grpc: false,
            grpc_upstream: false,
            upgrade: None,
        }
    }

    fn prefix(path: &str) -> PathMatch {
        PathMatch::Prefix {
            path: Arc::from(path),
            case_sensitive: true,
        }
    }

    #[test]
    fn paths_are_rewritten() {
        let request = request("h", "/api/v1/x?q=1");
        for (rewrite, matched, expected) in [
            (PathRewrite::Prefix(Arc::from("/")), prefix("/api/"), "/v1/x?q=1"),
            (PathRewrite::Prefix(Arc::from("/v2")), prefix("/api"), "/v2/v1/x?q=1"),
            (PathRewrite::Full(Arc::from("/all")), prefix("/"), "/all?q=1"),
            (
                PathRewrite::Regex {
                    pattern: Regex::new("^/api/(v[0-9])/").unwrap(),
                    substitution: Arc::from("/${1}/api/"),
                },
                prefix("/"),
                "/v1/api/x?q=1",
            ),
        ] {
            assert_eq!(path(&rewrite, &matched, &request).as_deref(), Some(expected));
        }
    }

    #[test]
    fn redirects_keep_what_they_do_not_change() {
        let redirect = |edit: &dyn Fn(&mut Redirect)| {
            let mut redirect = Redirect {
                scheme: None,
                https: false,
                host: None,
                port: None,
                path: None,
                status: StatusCode::FOUND,
                strip_query: false,
            };
            edit(&mut redirect);
            redirect
        };
        let check = |edit: &dyn Fn(&mut Redirect), host, path, expected: &str| {
            assert_eq!(location(&redirect(edit), &prefix("/a"), &request(host, path)), expected);
        };
        check(&|r| r.https = true, "h:80", "/a?q", "https://h/a?q");
        check(&|r| r.https = true, "h:8080", "/a", "https://h:8080/a");
        check(&|r| r.host = Some(Arc::from("new")), "h:8080", "/a", "http://new/a");
        check(&|r| r.port = Some(81), "h", "/a", "http://h:81/a");
        check(
            &|r| r.path = Some(PathRewrite::Full(Arc::from("/n"))),
            "h",
            "/a?q=1",
            "http://h/n?q=1",
        );
        check(
            &|r| r.path = Some(PathRewrite::Full(Arc::from("/n?z"))),
            "h",
            "/a?q=1",
            "http://h/n?z",
        );
        check(
            &|r| r.path = Some(PathRewrite::Prefix(Arc::from("/n"))),
            "h",
            "/ab?q",
            "http://h/nb?q",
        );
        check(&|r| r.strip_query = true, "h", "/a?q", "http://h/a");
    }
}
