//! Passive health of one endpoint as a state machine: failures in a row eject it, time brings it back
//! (Envoy, "outlier detection").

use std::time::Duration;

use tokio::time::Instant;

use crate::model::cluster::OutlierDetection;

/// State of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    consecutive_5xx: u32,
    consecutive_gateway: u32,
    consecutive_local: u32,
    ejections: u32,
    ejected_until: Option<Instant>,
}

/// How a request to the endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// With a status.
    Status(u16),
    /// Without an answer: connect failure, reset, timeout.
    LocalOrigin,
}

// === impl Outlier ===

impl Outlier {
    /// Counts a result. True when the endpoint should be ejected, if enough others stay.
    pub fn record(&mut self, config: &OutlierDetection, result: Result) -> bool {
        let local = result == Result::LocalOrigin;
        if local && config.split_external_local_origin_errors {
            self.consecutive_local += 1;
            return reached(self.consecutive_local, config.consecutive_local_origin_failure);
        }
        let (server_error, gateway_error) = match result {
            Result::Status(status) => (status >= 500, matches!(status, 502..=504)),
            Result::LocalOrigin => (true, true),
        };
        self.consecutive_local = 0;
        self.consecutive_5xx = if server_error { self.consecutive_5xx + 1 } else { 0 };
        self.consecutive_gateway = if gateway_error { self.consecutive_gateway + 1 } else { 0 };
        reached(self.consecutive_5xx, config.consecutive_5xx)
            || reached(self.consecutive_gateway, config.consecutive_gateway_failure)
    }

    /// Takes the endpoint out for a time that grows with each ejection.
    pub fn eject(&mut self, config: &OutlierDetection, now: Instant) {
        self.ejections = self.ejections.saturating_add(1);
        let time: Duration = config.base_ejection_time.saturating_mul(self.ejections);
        self.ejected_until = Some(now + time.min(config.ejection_time_max.max(config.base_ejection_time)));
        self.consecutive_5xx = 0;
        self.consecutive_gateway = 0;
        self.consecutive_local = 0;
    }

    /// Looks at the clock, once an interval. True when the endpoint comes back.
    pub fn tick(&mut self, now: Instant) -> bool {
        match self.ejected_until {
            Some(until) if until <= now => {
                self.ejected_until = None;
                true
            }
            Some(_) => false,
            None => {
                self.ejections = self.ejections.saturating_sub(1);
                false
            }
        }
    }

    /// Whether it is out now.
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.is_some()
    }
}

fn reached(count: u32, threshold: u32) -> bool {
    threshold > 0 && count >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 2,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            ejection_time_max: Duration::from_secs(50),
            ejection_percent_max: 10,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_and_time_heals() {
        let config = config();
        let mut outlier = Outlier::default();
        let record = |outlier: &mut Outlier, status| outlier.record(&config, Result::Status(status));
        assert!(!record(&mut outlier, 500) && !record(&mut outlier, 503) && !record(&mut outlier, 200));
        assert!(!record(&mut outlier, 500) && !record(&mut outlier, 500) && record(&mut outlier, 500));
        let now = Instant::now();
        outlier.eject(&config, now);
        assert!(outlier.is_ejected() && !outlier.tick(now + Duration::from_secs(29)));
        assert!(outlier.tick(now + Duration::from_secs(30)) && !outlier.is_ejected());
        outlier.eject(&config, now);
        assert!(!outlier.tick(now + Duration::from_secs(49)) && outlier.tick(now + Duration::from_secs(50)));
    }

    #[test]
    fn local_failures_count_apart_where_asked() {
        let split = OutlierDetection {
            split_external_local_origin_errors: true,
            ..config()
        };
        let mut outlier = Outlier::default();
        assert!(!outlier.record(&split, Result::LocalOrigin) && outlier.record(&split, Result::LocalOrigin));
        let mut outlier = Outlier::default();
        assert!(!outlier.record(&config(), Result::LocalOrigin) && !outlier.record(&config(), Result::LocalOrigin));
        assert!(outlier.record(&config(), Result::LocalOrigin));
    }
}
