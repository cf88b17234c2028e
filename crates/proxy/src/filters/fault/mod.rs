//! Injected faults: a wait, an answer, or both, for a share of requests (`envoy.filters.http.fault`).

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{Answer, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::error::ResponseFlags;
use crate::model::filters::fault::{AbortStatus, Config, RouteConfig};
use crate::model::matcher::Fraction;

/// Text of an injected answer, Envoy's.
const ABORT_TEXT: &str = "fault filter abort";

#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

/// What a fault does with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Injected {
    /// How long it waits.
    delay: Option<Duration>,
    /// What is answered then.
    abort: Option<AbortStatus>,
}

// === impl Filter ===

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, _making: &Making<'_>) -> Self {
        Self { config: config.clone() }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, route: Route<'_, RouteConfig>) -> Next<NoState> {
        let fault = route.most_specific().unwrap_or(&self.config);
        if *fault == Config::default() {
            return Next::go();
        }
        let injected = inject(fault, [request.random.next(), request.random.next()]);
        if let Some(delay) = injected.delay {
            request.info.flags.insert(ResponseFlags::DELAY_INJECTED);
            tokio::time::sleep(delay).await;
        }
        let Some(status) = injected.abort else {
            return Next::go();
        };
        request.info.flags.insert(ResponseFlags::FAULT_INJECTED);
        request.info.details = Some("fault_filter_abort".into());
        let (status, grpc) = match status {
            AbortStatus::Http(status) => (status, None),
            AbortStatus::Grpc(code) => (StatusCode::OK, Some(code)),
        };
        Next::answer(Answer::Told {
            status,
            grpc,
            text: ABORT_TEXT.to_owned(),
            headers: HeaderMap::new(),
        })
    }
}

/// Draws what happens to a request. The random numbers are uniform over all 64-bit numbers.
fn inject(fault: &Config, random: [u64; 2]) -> Injected {
    let hits = |share: &Fraction, random: u64| random % 1_000_000 < u64::from(share.parts_per_million);
    Injected {
        delay: (fault.delay.as_ref())
            .filter(|(_, share)| hits(share, random[0]))
            .map(|(delay, _)| *delay),
        abort: (fault.abort.as_ref())
            .filter(|(_, share)| hits(share, random[1]))
            .map(|(status, _)| *status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_hit_their_share() {
        let share = |parts_per_million| Fraction { parts_per_million };
        let fault = Config {
            delay: Some((Duration::from_secs(1), share(250_000))),
            abort: Some((AbortStatus::Http(StatusCode::IM_A_TEAPOT), share(1_000_000))),
        };
        for (random, delayed) in [(0, true), (249_999, true), (250_000, false), (1_000_001, true)] {
            let injected = inject(&fault, [random, 999_999]);
            assert_eq!(injected.delay.is_some(), delayed, "{random}");
            assert!(injected.abort.is_some());
        }
        assert_eq!(inject(&Config::default(), [0, 0]), Injected::default());
    }
}
