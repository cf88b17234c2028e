//! Passive health of one endpoint as a state machine: what is reported of it raises suspicions, a suspicion may eject it, time brings
//! it back. Rules and defaults are those of Envoy 1.40 ("Outlier detection",
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>).

use std::time::Duration;

use tokio::time::Instant;

use crate::model::outlier::{Enforcing, OutlierDetection};

/// What one request or connection says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered with this status; a gRPC call counts by the status that stands for its `grpc-status`, where the head has one.
    Status(u16),
    /// A request has got a connection.
    Connected,
    /// A connection of bytes was made, of which nothing more can be said.
    Opened,
    /// It was waited for in vain: counts as a 504.
    TimedOut,
    /// It took no connection, or broke the connection or the stream: counts as a 503.
    Failed,
}

/// Why an endpoint is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    /// Of our own side: only where those are told apart.
    ConsecutiveLocalOriginFailure,
    /// Fewer successes than most others have.
    SuccessRate(Origin),
    /// More failures than a fixed share.
    FailurePercentage(Origin),
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Statuses of answers, and all else where it is not told apart.
    External,
    /// Connects, resets and time-outs.
    Local,
}

/// State of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    consecutive_5xx: u32,
    consecutive_gateway: u32,
    consecutive_local: u32,
    external: Rate,
    local: Rate,
    ejected_at: Option<Instant>,
    returned_at: Option<Instant>,
    /// How many times the base the ejection lasts.
    multiplier: u32,
    jitter: Duration,
}

/// Successes among all, of this interval and of the last one.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    current: Count,
    last: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    successes: u64,
    total: u64,
}

/// The suspicions that one report raises, in the order in which they are looked into.
pub(crate) type Suspicions = [Option<Cause>; 2];

/// Success of one endpoint in the last interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Success {
    /// Index of the endpoint in its set.
    pub at: usize,
    pub percent: f64,
    /// Requests that were counted.
    pub volume: u64,
}

// === impl Monitor ===

impl Monitor {
    /// Counts a report.
    pub fn record(&mut self, config: &OutlierDetection, report: Report) -> Suspicions {
        let split = config.split_external_local_origin_errors;
        match report {
            Report::Status(status) => self.external(config, status),
            Report::Connected | Report::Opened if split => self.local(config, true),
            Report::TimedOut | Report::Failed if split => self.local(config, false),
            Report::Connected => [None, None],
            Report::Opened => self.external(config, 200),
            Report::TimedOut => self.external(config, 504),
            Report::Failed => self.external(config, 503),
        }
    }

    fn external(&mut self, config: &OutlierDetection, status: u16) -> Suspicions {
        let success = !(500..600).contains(&status);
        self.external.current.add(success);
        if success {
            self.consecutive_5xx = 0;
            self.consecutive_gateway = 0;
            return [None, None];
        }
        // A count that passes its threshold while the endpoint is ejected raises nothing until it starts again.
        let gateway = if matches!(status, 502..=504) {
            self.consecutive_gateway = self.consecutive_gateway.saturating_add(1);
            self.consecutive_gateway == config.consecutive_gateway_failure
        } else {
            self.consecutive_gateway = 0;
            false
        };
        self.consecutive_5xx = self.consecutive_5xx.saturating_add(1);
        let any = self.consecutive_5xx == config.consecutive_5xx;
        [
            gateway.then_some(Cause::ConsecutiveGatewayFailure),
            any.then_some(Cause::Consecutive5xx),
        ]
    }

    fn local(&mut self, config: &OutlierDetection, success: bool) -> Suspicions {
        self.local.current.add(success);
        if success {
            self.consecutive_local = 0;
            return [None, None];
        }
        self.consecutive_local = self.consecutive_local.saturating_add(1);
        let reached = self.consecutive_local == config.consecutive_local_origin_failure;
        [reached.then_some(Cause::ConsecutiveLocalOriginFailure), None]
    }

    /// A suspicion was looked into, with whatever result: what raised it starts again.
    pub fn settle(&mut self, cause: Cause) {
        match cause {
            Cause::Consecutive5xx => self.consecutive_5xx = 0,
            Cause::ConsecutiveGatewayFailure => self.consecutive_gateway = 0,
            Cause::ConsecutiveLocalOriginFailure => self.consecutive_local = 0,
            Cause::SuccessRate(_) | Cause::FailurePercentage(_) => {}
        }
    }

    /// Takes the endpoint out for a time that grows with each ejection. `random` is uniform over all 64-bit numbers.
    pub fn eject(&mut self, config: &OutlierDetection, now: Instant, random: u64) {
        self.ejected_at = Some(now);
        let most = u64::try_from(config.ejection_jitter_max.as_millis()).unwrap_or(u64::MAX);
        self.jitter = Duration::from_millis(random % most.saturating_add(1));
        let base = config.base_ejection_time;
        if base.saturating_mul(self.multiplier) < config.ejection_time_max.saturating_add(base) {
            self.multiplier = self.multiplier.saturating_add(1);
        }
    }

    /// Looks at the clock, once an interval. True when the endpoint comes back.
    pub fn sweep(&mut self, config: &OutlierDetection, now: Instant) -> bool {
        self.external.turn();
        self.local.turn();
        let Some(at) = self.ejected_at else {
            return false;
        };
        let time = config.base_ejection_time.saturating_mul(self.multiplier);
        let time = time.min(config.ejection_time_max).saturating_add(self.jitter);
        if now.saturating_duration_since(at) < time {
            return false;
        }
        self.ejected_at = None;
        self.returned_at = Some(now);
        // Else few errors more would eject it again.
        self.consecutive_5xx = 0;
        self.consecutive_gateway = 0;
        self.consecutive_local = 0;
        true
    }

    /// The end of a sweep: an interval in health makes the next ejection shorter.
    pub fn calm(&mut self, config: &OutlierDetection, now: Instant) {
        let healthy_for = |since| now.saturating_duration_since(since) >= config.interval;
        if self.ejected_at.is_none() && self.returned_at.is_some_and(healthy_for) {
            self.multiplier = self.multiplier.saturating_sub(1);
        }
    }

    /// Whether it is out now.
    pub fn is_ejected(&self) -> bool {
        self.ejected_at.is_some()
    }

    /// Successes of the last interval in percent, and of how many requests; `None` without any.
    pub fn success(&self, origin: Origin) -> Option<(f64, u64)> {
        let Count { successes, total } = match origin {
            Origin::External => self.external.last,
            Origin::Local => self.local.last,
        };
        (total > 0).then(|| (successes as f64 * 100.0 / total as f64, total))
    }
}

// === impl Rate ===

impl Rate {
    fn turn(&mut self) {
        self.last = std::mem::take(&mut self.current);
    }
}

// === impl Count ===

impl Count {
    fn add(&mut self, success: bool) {
        self.total += 1;
        self.successes += u64::from(success);
    }
}

// === impl Cause ===

impl Cause {
    /// How many of a hundred suspicions eject.
    pub fn enforced(self, percent: &Enforcing) -> u32 {
        match self {
            Self::Consecutive5xx => percent.consecutive_5xx,
            Self::ConsecutiveGatewayFailure => percent.consecutive_gateway_failure,
            Self::ConsecutiveLocalOriginFailure => percent.consecutive_local_origin_failure,
            Self::SuccessRate(Origin::External) => percent.success_rate,
            Self::SuccessRate(Origin::Local) => percent.local_origin_success_rate,
            Self::FailurePercentage(Origin::External) => percent.failure_percentage,
            Self::FailurePercentage(Origin::Local) => percent.failure_percentage_local_origin,
        }
    }
}

/// Whether one more of `total` endpoints may be ejected beside the `ejected` ones: all of them together are at most the share. In a
/// small cluster that may be none, unless one always may be.
pub(crate) fn may_eject(config: &OutlierDetection, ejected: usize, total: usize) -> bool {
    let share = (ejected + 1) as f64 * 100.0 / total as f64;
    (config.always_eject_one && ejected == 0) || share <= f64::from(config.ejection_percent_max)
}

/// Who failed more than others, or than is allowed, in the last interval. `successes` are of all `total` endpoints that are not out.
pub(crate) fn outliers(
    config: &OutlierDetection,
    origin: Origin,
    total: usize,
    successes: &[Success],
) -> Vec<(usize, Cause)> {
    let (rate, failures) = (&config.success_rate, &config.failure_percentage);
    if total < rate.endpoints_min as usize && total < failures.endpoints_min as usize {
        return Vec::new();
    }
    let mut found = Vec::new();
    let enough = |volume: u32| {
        let counted = successes
            .iter()
            .filter(move |success| success.volume >= u64::from(volume));
        counted.copied().collect::<Vec<_>>()
    };
    let by_rate = enough(rate.requests_min);
    if !by_rate.is_empty() && by_rate.len() >= rate.endpoints_min as usize {
        let least = threshold(&by_rate, f64::from(rate.stdev_factor) / 1000.0);
        let below = by_rate.iter().filter(|success| success.percent < least);
        found.extend(below.map(|success| (success.at, Cause::SuccessRate(origin))));
    }
    let by_failures = enough(failures.requests_min);
    if !by_failures.is_empty() && by_failures.len() >= failures.endpoints_min as usize {
        let most = f64::from(failures.threshold);
        let above = by_failures.iter().filter(|success| 100.0 - success.percent >= most);
        found.extend(above.map(|success| (success.at, Cause::FailurePercentage(origin))));
    }
    found
}

/// The mean less so many standard deviations.
fn threshold(successes: &[Success], factor: f64) -> f64 {
    let count = successes.len() as f64;
    let mean = successes.iter().map(|success| success.percent).sum::<f64>() / count;
    let squares = successes.iter().map(|success| (success.percent - mean).powi(2));
    mean - factor * (squares.sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outlier::{FailurePercentage, SuccessRate};

    fn config() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            consecutive_local_origin_failure: 2,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            ejection_time_max: Duration::from_secs(70),
            ..OutlierDetection::default()
        }
    }

    fn split() -> OutlierDetection {
        OutlierDetection {
            split_external_local_origin_errors: true,
            ..config()
        }
    }

    /// What a row of reports raises: `5` all 5xx, `g` gateway failures, `l` failures of our own side, one word a report.
    fn check(config: &OutlierDetection, reports: &[Report], expected: &str) {
        let mut monitor = Monitor::default();
        let word = |causes: Suspicions| -> String {
            let letter = |cause| match cause {
                Cause::Consecutive5xx => '5',
                Cause::ConsecutiveGatewayFailure => 'g',
                Cause::ConsecutiveLocalOriginFailure => 'l',
                Cause::SuccessRate(_) | Cause::FailurePercentage(_) => '?',
            };
            let letters: String = causes.into_iter().flatten().map(letter).collect();
            if letters.is_empty() { "-".to_owned() } else { letters }
        };
        let words = reports.iter().map(|report| {
            let causes = monitor.record(config, *report);
            causes.into_iter().flatten().for_each(|cause| monitor.settle(cause));
            word(causes)
        });
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "{reports:?}");
    }

    #[test]
    fn what_counts_and_as_what() {
        use Report::{Connected, Failed, Opened, Status, TimedOut};
        let unsplit = config();
        check(
            &unsplit,
            &[Status(500), Status(500), Status(500), Status(500)],
            "- - 5 -",
        );
        check(&unsplit, &[Status(503), Status(504), Status(502)], "- g 5");
        check(
            &unsplit,
            &[Status(503), Status(501), Status(503), Status(503)],
            "- - 5 g",
        );
        check(
            &unsplit,
            &[Status(500), Status(200), Status(500), Status(500)],
            "- - - -",
        );
        check(
            &unsplit,
            &[Status(500), Status(499), Status(600), Status(500), Status(500)],
            "- - - - -",
        );
        check(&unsplit, &[TimedOut, Failed, TimedOut], "- g 5");
        check(
            &unsplit,
            &[Connected, Failed, Connected, Failed, Connected, Failed],
            "- - - g - 5",
        );
        check(&unsplit, &[Failed, Opened, Failed, Opened], "- - - -");
        let split = split();
        check(&split, &[TimedOut, Failed, Status(503), Status(503)], "- l - g");
        check(&split, &[Failed, Connected, Failed, Opened, TimedOut], "- - - - -");
        check(&split, &[Failed, Status(200), Failed], "- - l");
        let off = OutlierDetection {
            consecutive_5xx: 0,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 0,
            ..split
        };
        check(&off, &[Failed, Status(503), Failed, Status(503)], "- - - -");
    }

    #[test]
    fn an_ejected_endpoint_raises_nothing_until_it_is_back() {
        let (config, now) = (config(), Instant::now());
        let mut monitor = Monitor::default();
        let raised = |monitor: &mut Monitor, count: usize| {
            let causes = (0..count).flat_map(|_| monitor.record(&config, Report::Status(500)));
            causes.flatten().count()
        };
        assert_eq!(raised(&mut monitor, 3), 1);
        monitor.eject(&config, now, 0);
        assert_eq!(raised(&mut monitor, 10), 0);
        assert!(monitor.sweep(&config, now + Duration::from_secs(30)));
        assert_eq!(raised(&mut monitor, 2), 0);
        assert_eq!(raised(&mut monitor, 1), 1);
    }

    #[test]
    fn ejections_grow_and_shrink() {
        let config = config();
        let mut monitor = Monitor::default();
        let mut now = Instant::now();
        let mut out_for = |monitor: &mut Monitor, random: u64, config: &OutlierDetection| {
            monitor.eject(config, now, random);
            let started = now;
            while monitor.is_ejected() {
                now += Duration::from_secs(1);
                monitor.sweep(config, now);
                monitor.calm(config, now);
            }
            let lasted = now - started;
            (lasted.as_secs(), now)
        };
        let times: Vec<u64> = (0..4).map(|_| out_for(&mut monitor, 0, &config).0).collect();
        assert_eq!(times, [30, 60, 70, 70], "a multiple of the base, at most the longest");
        let (_, back) = out_for(&mut monitor, 0, &config);
        monitor.calm(&config, back + Duration::from_secs(9));
        assert_eq!(out_for(&mut monitor, 0, &config).0, 70, "not an interval in health");
        let (_, back) = out_for(&mut monitor, 0, &config);
        for _ in 0..3 {
            monitor.calm(&config, back + Duration::from_secs(10));
        }
        assert_eq!(out_for(&mut monitor, 0, &config).0, 60, "each interval takes one away");
        let jitter = OutlierDetection {
            ejection_jitter_max: Duration::from_secs(5),
            ..config
        };
        let mut monitor = Monitor::default();
        assert_eq!(out_for(&mut monitor, 5000, &jitter).0, 35);
        let mut monitor = Monitor::default();
        assert_eq!(out_for(&mut monitor, 5001, &jitter).0, 30);
    }

    #[test]
    fn the_share_bounds_ejections_unless_one_always_may() {
        let check = |percent, always_eject_one, ejected, total, expected: bool| {
            let config = OutlierDetection {
                ejection_percent_max: percent,
                always_eject_one,
                ..config()
            };
            assert_eq!(
                may_eject(&config, ejected, total),
                expected,
                "{percent} {ejected}/{total}"
            );
        };
        check(10, false, 0, 1, false);
        check(10, true, 0, 1, true);
        check(10, false, 0, 9, false);
        check(10, false, 0, 10, true);
        check(10, true, 1, 10, false);
        check(50, false, 0, 2, true);
        check(50, false, 1, 2, false);
        check(49, false, 0, 2, false);
        check(100, false, 1, 2, true);
        check(0, false, 0, 2, false);
        check(0, true, 0, 2, true);
    }

    #[test]
    fn rates_find_who_fails_more_than_others() {
        let config = OutlierDetection {
            success_rate: SuccessRate {
                endpoints_min: 5,
                requests_min: 10,
                stdev_factor: 1900,
            },
            failure_percentage: FailurePercentage {
                threshold: 85,
                endpoints_min: 3,
                requests_min: 5,
            },
            ..config()
        };
        let check = |percents: &[f64], volume: u64, expected: &[(usize, Cause)]| {
            let successes = percents.iter().enumerate().map(|(at, percent)| Success {
                at,
                percent: *percent,
                volume,
            });
            let successes: Vec<_> = successes.collect();
            let found = outliers(&config, Origin::External, percents.len(), &successes);
            assert_eq!(found, expected, "{percents:?} {volume}");
        };
        let (rate, failures) = (
            Cause::SuccessRate(Origin::External),
            Cause::FailurePercentage(Origin::External),
        );
        check(&[50.0, 100.0, 100.0, 100.0, 100.0], 10, &[(0, rate)]);
        check(&[50.0, 100.0, 100.0, 100.0, 100.0], 9, &[]);
        check(&[50.0, 100.0, 100.0, 100.0], 10, &[]);
        check(&[15.0, 100.0, 100.0], 5, &[(0, failures)]);
        check(&[16.0, 100.0, 100.0], 5, &[]);
        check(&[0.0, 0.0, 0.0], 4, &[]);
        check(&[0.0, 100.0, 100.0, 100.0, 100.0], 10, &[(0, rate), (0, failures)]);
    }

    #[test]
    fn rates_are_of_the_last_interval() {
        let (config, now) = (split(), Instant::now());
        let mut monitor = Monitor::default();
        for report in [
            Report::Status(200),
            Report::Status(500),
            Report::Failed,
            Report::Connected,
        ] {
            monitor.record(&config, report);
        }
        assert_eq!(monitor.success(Origin::External), None);
        monitor.sweep(&config, now);
        assert_eq!(monitor.success(Origin::External), Some((50.0, 2)));
        assert_eq!(monitor.success(Origin::Local), Some((50.0, 2)));
        monitor.sweep(&config, now);
        assert_eq!(monitor.success(Origin::External), None);
    }
}
