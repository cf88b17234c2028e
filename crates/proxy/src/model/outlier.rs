//! Passive health checks as they are configured.

use std::time::Duration;

/// Passive health checks (Envoy `OutlierDetection`). Defaults are Envoy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Suspects after so many 5xx in a row; zero does not.
    pub consecutive_5xx: u32,
    /// Suspects after so many 502, 503, 504 in a row; zero does not.
    pub consecutive_gateway_failure: u32,
    /// Suspects after so many failures of our own side in a row; only with `split_external_local_origin_errors`.
    pub consecutive_local_origin_failure: u32,
    /// Connect failures, resets and time-outs are counted apart from answers.
    pub split_external_local_origin_errors: bool,
    /// How often the clock is looked at, and of how long a time rates are.
    pub interval: Duration,
    /// First ejection lasts so long, later ones a multiple.
    pub base_ejection_time: Duration,
    /// Longest ejection, without its jitter.
    pub ejection_time_max: Duration,
    /// Most that chance adds to an ejection.
    pub ejection_jitter_max: Duration,
    /// Most endpoints ejected, in percent of all.
    pub ejection_percent_max: u32,
    /// One may be ejected even if that is more than `ejection_percent_max`.
    pub always_eject_one: bool,
    /// How many of a hundred suspicions eject.
    pub enforcing: Enforcing,
    pub success_rate: SuccessRate,
    pub failure_percentage: FailurePercentage,
}

/// How many of a hundred suspicions eject, by what they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforcing {
    pub consecutive_5xx: u32,
    pub consecutive_gateway_failure: u32,
    pub consecutive_local_origin_failure: u32,
    pub success_rate: u32,
    pub local_origin_success_rate: u32,
    pub failure_percentage: u32,
    pub failure_percentage_local_origin: u32,
}

/// When successes in an interval are compared with those of other endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Only with so many endpoints that have enough requests.
    pub endpoints_min: u32,
    /// Requests in the interval from which an endpoint is judged.
    pub requests_min: u32,
    /// Standard deviations below the mean that are too many, in thousandths.
    pub stdev_factor: u32,
}

/// When failures in an interval are compared with a fixed share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Share of failures that is too much.
    pub threshold: u32,
    /// Only with so many endpoints that have enough requests.
    pub endpoints_min: u32,
    /// Requests in the interval from which an endpoint is judged.
    pub requests_min: u32,
}

// === impl OutlierDetection ===

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            ejection_time_max: Duration::from_secs(300),
            ejection_jitter_max: Duration::ZERO,
            ejection_percent_max: 10,
            always_eject_one: false,
            enforcing: Enforcing {
                consecutive_5xx: 100,
                consecutive_gateway_failure: 0,
                consecutive_local_origin_failure: 100,
                success_rate: 100,
                local_origin_success_rate: 100,
                failure_percentage: 0,
                failure_percentage_local_origin: 0,
            },
            success_rate: SuccessRate {
                endpoints_min: 5,
                requests_min: 100,
                stdev_factor: 1900,
            },
            failure_percentage: FailurePercentage {
                threshold: 85,
                endpoints_min: 5,
                requests_min: 50,
            },
        }
    }
}
