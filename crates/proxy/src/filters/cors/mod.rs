//! Cross-origin requests: preflights are answered, and answers opened to the origins that may read them (`envoy.filters.http.cors`).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::{Answer, AnswerPass, HttpFilter, Making, Next, RequestPass, Route};
use crate::model::filters::cors::{Config, RouteConfig};
use crate::model::matcher::StringMatcher;
use crate::stream_info::request::RequestHead;

#[derive(Debug)]
pub(crate) struct Filter;

/// The origin that the answer of upstream is opened to.
#[derive(Debug)]
pub(crate) struct Opened(HeaderValue);

/// Policies of a route, its virtual host and so on.
type Policies<'a> = Route<'a, RouteConfig>;

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = Opened;

    fn new(_config: &Config, _making: &Making<'_>) -> Self {
        Self
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, policies: Policies<'_>) -> Next<Opened> {
        if policies.levels().next().is_none() {
            return Next::go();
        }
        let outcome = look(policies, request.head);
        if let Some(headers) = outcome.preflight {
            request.info.details = Some("cors_response".into());
            return Next::answer(Answer::Plain {
                status: StatusCode::OK,
                headers,
                body: Bytes::new(),
            });
        }
        outcome
            .origin
            .map_or_else(Next::go, |origin| Next::keep(Opened(origin)))
    }

    async fn on_answer(&self, state: Option<&mut Opened>, answer: &mut AnswerPass<'_>, policies: Policies<'_>) {
        if let Some(Opened(origin)) = state {
            expose(policies, origin, answer.headers);
        }
    }
}

/// What CORS does with one request.
#[derive(Debug, Default)]
struct Outcome {
    /// Headers of an answer that needs no upstream.
    preflight: Option<HeaderMap>,
    /// The origin that the answer of upstream is opened to.
    origin: Option<HeaderValue>,
}

/// Looks at the origin of a request.
fn look(policies: Policies<'_>, request: &RequestHead) -> Outcome {
    let Some(origin) = request.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else {
        return Outcome::default();
    };
    let text = String::from_utf8_lossy(origin.as_bytes());
    let origins = said(policies, |policy| {
        Some(&policy.origins).filter(|origins| !origins.is_empty())
    });
    // A matcher that takes a star takes every origin (Envoy, CORS filter): `exact: "*"` and `prefix: ""` alike.
    let takes = |matcher: &StringMatcher| matcher.matches("*") || matcher.matches(&text);
    let allowed = origins.is_some_and(|origins| origins.iter().any(takes));
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = request.method == Method::OPTIONS && asked.is_some_and(|method| !method.is_empty());
    let forwards = said(policies, |policy| policy.forward_unmatched_preflights.as_ref()).copied();
    if !preflight || (!allowed && forwards.unwrap_or(true)) {
        return Outcome {
            preflight: None,
            origin: allowed.then(|| origin.clone()),
        };
    }
    let mut answer = HeaderMap::new();
    if allowed {
        expose(policies, origin, &mut answer);
    } else {
        // An origin that is not named learns everything but that it is allowed, as from Envoy.
        credentials(policies, &mut answer);
    }
    let given = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            said(policies, |policy| policy.methods.as_ref()),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            said(policies, |policy| policy.headers.as_ref()),
        ),
        (
            header::ACCESS_CONTROL_MAX_AGE,
            said(policies, |policy| policy.max_age.as_ref()),
        ),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            answer.insert(name, value.clone());
        }
    }
    Outcome {
        preflight: Some(answer),
        origin: None,
    }
}

/// Lets scripts of an origin read an answer.
fn expose(policies: Policies<'_>, origin: &HeaderValue, answer: &mut HeaderMap) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    credentials(policies, answer);
    if let Some(names) = said(policies, |policy| policy.expose.as_ref()) {
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
    }
}

fn credentials(policies: Policies<'_>, answer: &mut HeaderMap) {
    if said(policies, |policy| policy.credentials.as_ref()) == Some(&true) {
        let name = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
        answer.insert(name, HeaderValue::from_static("true"));
    }
}

/// What the most specific policy says that says anything.
fn said<'a, T>(policies: Policies<'a>, field: impl Fn(&'a RouteConfig) -> Option<&'a T>) -> Option<&'a T> {
    policies.levels().find_map(field)
}
