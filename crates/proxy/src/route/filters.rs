//! Decisions of the HTTP filters before the router, as pure functions.

use std::time::Duration;

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};

use crate::model::filters::{AbortStatus, Cors, Fault};
use crate::model::matcher::Fraction;
use crate::request::RequestHead;

/// Policies of a route and its virtual host.
pub type CorsLevels<'a> = [Option<&'a Cors>; 2];

/// What a fault does with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// How long it waits.
    pub delay: Option<Duration>,
    /// What is answered then.
    pub abort: Option<AbortStatus>,
}

/// What CORS does with one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsOutcome {
    /// Headers of an answer that needs no upstream.
    pub preflight: Option<HeaderMap>,
    /// The origin that the answer of upstream is opened to.
    pub origin: Option<HeaderValue>,
}

/// Draws what happens to a request. The random numbers are uniform over all 64-bit numbers.
pub fn inject(fault: &Fault, random: [u64; 2]) -> Injected {
    let hits = |share: Fraction, random: u64| random % 1_000_000 < u64::from(share.parts_per_million);
    let drawn = |share: &Fraction, random| hits(*share, random);
    Injected {
        delay: fault
            .delay
            .filter(|(_, share)| drawn(share, random[0]))
            .map(|(delay, _)| delay),
        abort: fault
            .abort
            .filter(|(_, share)| drawn(share, random[1]))
            .map(|(status, _)| status),
    }
}

/// Looks at the origin of a request.
pub fn cors(policies: CorsLevels<'_>, request: &RequestHead) -> CorsOutcome {
    let Some(origin) = request.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else {
        return CorsOutcome::default();
    };
    let text = String::from_utf8_lossy(origin.as_bytes());
    let origins = said(policies, |policy| {
        Some(&policy.origins).filter(|origins| !origins.is_empty())
    });
    let allowed = origins.is_some_and(|origins| origins.iter().any(|matcher| matcher.matches(&text)));
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = request.method == Method::OPTIONS && asked.is_some_and(|method| !method.is_empty());
    let forwards = said(policies, |policy| policy.forward_unmatched_preflights.as_ref()).copied();
    if !preflight || (!allowed && forwards.unwrap_or(true)) {
        return CorsOutcome {
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
    CorsOutcome {
        preflight: Some(answer),
        origin: None,
    }
}

/// Lets scripts of an origin read an answer.
pub fn expose(policies: CorsLevels<'_>, origin: &HeaderValue, answer: &mut HeaderMap) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    credentials(policies, answer);
    if let Some(names) = said(policies, |policy| policy.expose.as_ref()) {
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
    }
}

fn credentials(policies: CorsLevels<'_>, answer: &mut HeaderMap) {
    if said(policies, |policy| policy.credentials.as_ref()) == Some(&true) {
        let name = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
        answer.insert(name, HeaderValue::from_static("true"));
    }
}

/// What the most specific policy says that says anything.
fn said<'a, T>(policies: CorsLevels<'a>, field: impl Fn(&'a Cors) -> Option<&'a T>) -> Option<&'a T> {
    policies.into_iter().flatten().find_map(field)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn faults_hit_their_share() {
        let share = |parts_per_million| Fraction { parts_per_million };
        let fault = Fault {
            delay: Some((Duration::from_secs(1), share(250_000))),
            abort: Some((AbortStatus::Http(StatusCode::IM_A_TEAPOT), share(1_000_000))),
        };
        for (random, delayed) in [(0, true), (249_999, true), (250_000, false), (1_000_001, true)] {
            let injected = inject(&fault, [random, 999_999]);
            assert_eq!(injected.delay.is_some(), delayed, "{random}");
            assert!(injected.abort.is_some());
        }
        assert_eq!(inject(&Fault::default(), [0, 0]), Injected::default());
    }
}
