//! Who may use the pages that are for operators: those of this machine or pod, and not the pages of web sites in their browsers.
//!
//! A connection from elsewhere is refused; `kubectl port-forward`, which is how `meshctl` asks a pod, comes from within it. A browser on
//! this machine sends what web pages tell it to: such requests name a host that is not of this machine (DNS rebinding) or an origin that is
//! another than the page's own.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// What anybody may read: probes and metrics.
const OPEN: [&str; 3] = ["/ready", "/metrics", "/version"];

/// Pages of a process that is asked from elsewhere, too: by kubelets for its readiness and by those who scrape metrics. All else is for
/// operators of this machine.
pub fn protect(router: Router) -> Router {
    router.layer(from_fn(|request: Request, next: Next| async move {
        if is_open(&request) {
            return next.run(request).await;
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let is_here = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
        if !is_here {
            let text = "this page is for requests from this machine: use meshctl, or kubectl port-forward\n";
            return (StatusCode::FORBIDDEN, text).into_response();
        }
        answer_own(request, next).await
    }))
}

/// Pages at an address that somebody chose. At a loopback address they are for this machine alone; at any other whoever reaches it may
/// ask, but not a web page of another origin.
pub fn protect_at(address: SocketAddr, router: Router) -> Router {
    let is_loopback = address.ip().to_canonical().is_loopback();
    router.layer(from_fn(move |request: Request, next: Next| async move {
        if is_open(&request) {
            return next.run(request).await;
        }
        if is_loopback {
            return answer_own(request, next).await;
        }
        if is_foreign(&request) {
            return refuse();
        }
        next.run(request).await
    }))
}

/// Whether anybody may read what is asked for.
fn is_open(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && OPEN.contains(&request.uri().path())
}

/// Answers a request that is for a name of this machine and not a web page's of elsewhere.
async fn answer_own(request: Request, next: Next) -> Response {
    let names_us = authority(&request).is_none_or(is_here);
    if !names_us || is_foreign(&request) {
        return refuse();
    }
    next.run(request).await
}

fn refuse() -> Response {
    let text = "only requests for this machine, and not of pages of other origins, are allowed\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

/// Host and port that a request is for.
fn authority(request: &Request) -> Option<&str> {
    let of_target = request.uri().authority().map(Authority::as_str);
    of_target.or_else(|| text(request.headers(), header::HOST))
}

/// Whether a browser says that a page of another origin makes the request.
fn is_foreign(request: &Request) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        let site = request.headers().get("sec-fetch-site");
        return site.is_some_and(|site| site != "same-origin" && site != "none");
    };
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    own.map(|(_, origin)| origin) != authority(request)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // One that cannot be read is nobody's.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether host and port may name this machine: a loopback address, or a name without a dot. Of those only local resolvers know any, so
/// that no site of the Internet can be led here by one (DNS rebinding).
fn is_here(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let by_address = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let name = host.strip_suffix('.').unwrap_or(host);
    by_address || (!name.is_empty() && !name.contains(['.', ':']) && name.parse::<u32>().is_err())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    /// The status of a request `METHOD path [header: value]...` from an address.
    async fn status(router: Router, from: &str, request: &str) -> u16 {
        let mut parts = request.split(" | ");
        let (method, path) = parts.next().unwrap().split_once(' ').unwrap();
        let mut building = Request::builder().method(method).uri(path);
        for field in parts {
            let (name, value) = field.split_once(": ").unwrap();
            building = building.header(name, value);
        }
        let mut request = building.body(Body::empty()).unwrap();
        let peer: SocketAddr = from.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        router.oneshot(request).await.unwrap().status().as_u16()
    }

    fn pages() -> Router {
        let page = || async { "page" };
        Router::new()
            .route("/metrics", get(page).post(page))
            .route("/debug/syncz", get(page).post(page))
    }

    const NEAR: &str = "127.0.0.1:999";
    const MAPPED: &str = "[::ffff:127.0.0.1]:999";
    const FAR: &str = "10.0.0.9:999";

    #[tokio::test]
    async fn operators_pages_are_for_this_machine() {
        for (from, request, expected) in [
            (FAR, "GET /metrics", 200),
            (FAR, "GET /metrics | host: pilot.example", 200),
            (FAR, "POST /metrics", 403),
            (FAR, "GET /debug/syncz", 403),
            (FAR, "GET /debug/syncz | host: localhost", 403),
            (FAR, "GET /debug/syncz | x-forwarded-for: 127.0.0.1", 403),
            (NEAR, "GET /debug/syncz", 200),
            (MAPPED, "POST /debug/syncz | host: localhost:15014", 200),
            ("[::1]:9", "GET /debug/syncz | host: [::1]:15014", 200),
            (NEAR, "GET /debug/syncz | host: 127.0.0.2:15014", 200),
            (NEAR, "GET /debug/syncz | host: LOCALHOST.", 200),
            (NEAR, "GET /debug/syncz | host: pilot:15014", 200),
            (NEAR, "GET /debug/syncz | host: 3232235777", 403),
            (NEAR, "GET /debug/syncz | host: :15014", 403),
            (NEAR, "GET http://127.0.0.1:15014/debug/syncz | host: evil.example", 200),
            (NEAR, "GET http://evil.example/debug/syncz | host: localhost", 403),
            (NEAR, "GET /debug/syncz | host: evil.example", 403),
            (NEAR, "GET /debug/syncz | host: 127.0.0.1.evil.example", 403),
            (NEAR, "GET /debug/syncz | host: localhost.evil.example", 403),
            (NEAR, "GET /debug/syncz | host: 10.0.0.9", 403),
            (
                NEAR,
                "POST /debug/syncz | host: localhost:1 | origin: http://localhost:1",
                200,
            ),
            (
                NEAR,
                "POST /debug/syncz | host: localhost:1 | origin: http://localhost:2",
                403,
            ),
            (
                NEAR,
                "POST /debug/syncz | host: localhost:1 | origin: http://evil.example",
                403,
            ),
            (NEAR, "POST /debug/syncz | host: localhost:1 | origin: null", 403),
            (
                NEAR,
                "GET /debug/syncz | host: localhost:1 | sec-fetch-site: cross-site",
                403,
            ),
            (NEAR, "GET /debug/syncz | host: localhost:1 | sec-fetch-site: none", 200),
        ] {
            assert_eq!(
                status(protect(pages()), from, request).await,
                expected,
                "{from} {request}"
            );
        }
    }

    #[tokio::test]
    async fn pages_at_a_chosen_address_are_not_for_other_origins() {
        let (loopback, any) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        for (at, from, request, expected) in [
            (any, FAR, "POST /debug/syncz | host: node.example:9901", 200),
            (
                any,
                FAR,
                "POST /debug/syncz | host: node.example:9901 | origin: http://node.example:9901",
                200,
            ),
            (
                any,
                FAR,
                "POST /debug/syncz | host: node.example:9901 | origin: http://evil.example",
                403,
            ),
            (loopback, NEAR, "POST /debug/syncz | host: localhost", 200),
            (loopback, NEAR, "POST /debug/syncz | host: evil.example", 403),
            (loopback, NEAR, "GET /debug/syncz | host: evil.example", 403),
            (loopback, NEAR, "POST /metrics | host: evil.example", 403),
            (loopback, NEAR, "GET /metrics | host: evil.example", 200),
        ] {
            assert_eq!(
                status(protect_at(at, pages()), from, request).await,
                expected,
                "{at} {request}"
            );
        }
    }
}
