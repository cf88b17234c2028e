//! From Envoy's passive health checks to the model.

use std::time::Duration;

use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::google::protobuf as pb;

use super::{Path, Result, boolean, duration, uint32};
use crate::model::outlier::{Enforcing, FailurePercentage, OutlierDetection, SuccessRate};

/// The rule at `at`. What Envoy refuses is refused: shares above 100, times of zero, a longest ejection below the base.
pub(super) fn outlier_detection(source: &cluster::OutlierDetection, at: &Path) -> Result<OutlierDetection> {
    let default = OutlierDetection::default();
    let time = |value: Option<&pb::Duration>, default: Duration, field: &str| {
        let at = at.field(field);
        match duration(value, default, &at)? {
            Duration::ZERO => Err(at.error("must be greater than zero")),
            time => Ok(time),
        }
    };
    let base = time(
        source.base_ejection_time.as_ref(),
        default.base_ejection_time,
        "base_ejection_time",
    )?;
    let longest = default.ejection_time_max.max(base);
    let longest = time(source.max_ejection_time.as_ref(), longest, "max_ejection_time")?;
    if longest < base {
        return Err(at
            .field("max_ejection_time")
            .error("cannot be smaller than base_ejection_time"));
    }
    let share = source.max_ejection_percent.as_ref();
    let jitter = source.max_ejection_time_jitter.as_ref();
    Ok(OutlierDetection {
        consecutive_5xx: uint32(source.consecutive_5xx.as_ref(), default.consecutive_5xx),
        consecutive_gateway_failure: uint32(
            source.consecutive_gateway_failure.as_ref(),
            default.consecutive_gateway_failure,
        ),
        consecutive_local_origin_failure: uint32(
            source.consecutive_local_origin_failure.as_ref(),
            default.consecutive_local_origin_failure,
        ),
        split_external_local_origin_errors: source.split_external_local_origin_errors,
        interval: time(source.interval.as_ref(), default.interval, "interval")?,
        base_ejection_time: base,
        ejection_time_max: longest,
        ejection_jitter_max: duration(
            jitter,
            default.ejection_jitter_max,
            &at.field("max_ejection_time_jitter"),
        )?,
        ejection_percent_max: percent(share, default.ejection_percent_max, at, "max_ejection_percent")?,
        always_eject_one: boolean(source.always_eject_one_host.as_ref(), default.always_eject_one),
        enforcing: enforcing(source, &default.enforcing, at)?,
        success_rate: success_rate(source, &default.success_rate),
        failure_percentage: failure_percentage(source, &default.failure_percentage, at)?,
    })
}

fn enforcing(source: &cluster::OutlierDetection, default: &Enforcing, at: &Path) -> Result<Enforcing> {
    let enforced = |value: &Option<pb::UInt32Value>, default, cause: &str| {
        percent(value.as_ref(), default, at, &format!("enforcing_{cause}"))
    };
    Ok(Enforcing {
        consecutive_5xx: enforced(
            &source.enforcing_consecutive_5xx,
            default.consecutive_5xx,
            "consecutive_5xx",
        )?,
        consecutive_gateway_failure: enforced(
            &source.enforcing_consecutive_gateway_failure,
            default.consecutive_gateway_failure,
            "consecutive_gateway_failure",
        )?,
        consecutive_local_origin_failure: enforced(
            &source.enforcing_consecutive_local_origin_failure,
            default.consecutive_local_origin_failure,
            "consecutive_local_origin_failure",
        )?,
        success_rate: enforced(&source.enforcing_success_rate, default.success_rate, "success_rate")?,
        local_origin_success_rate: enforced(
            &source.enforcing_local_origin_success_rate,
            default.local_origin_success_rate,
            "local_origin_success_rate",
        )?,
        failure_percentage: enforced(
            &source.enforcing_failure_percentage,
            default.failure_percentage,
            "failure_percentage",
        )?,
        failure_percentage_local_origin: enforced(
            &source.enforcing_failure_percentage_local_origin,
            default.failure_percentage_local_origin,
            "failure_percentage_local_origin",
        )?,
    })
}

fn success_rate(source: &cluster::OutlierDetection, default: &SuccessRate) -> SuccessRate {
    SuccessRate {
        endpoints_min: uint32(source.success_rate_minimum_hosts.as_ref(), default.endpoints_min),
        requests_min: uint32(source.success_rate_request_volume.as_ref(), default.requests_min),
        stdev_factor: uint32(source.success_rate_stdev_factor.as_ref(), default.stdev_factor),
    }
}

fn failure_percentage(
    source: &cluster::OutlierDetection,
    default: &FailurePercentage,
    at: &Path,
) -> Result<FailurePercentage> {
    let threshold = source.failure_percentage_threshold.as_ref();
    Ok(FailurePercentage {
        threshold: percent(threshold, default.threshold, at, "failure_percentage_threshold")?,
        endpoints_min: uint32(source.failure_percentage_minimum_hosts.as_ref(), default.endpoints_min),
        requests_min: uint32(source.failure_percentage_request_volume.as_ref(), default.requests_min),
    })
}

fn percent(value: Option<&pb::UInt32Value>, default: u32, at: &Path, field: &str) -> Result<u32> {
    match uint32(value, default) {
        value @ 0..=100 => Ok(value),
        _ => Err(at.field(field).error("must be at most 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &cluster::OutlierDetection, expected: std::result::Result<OutlierDetection, &str>) {
        let read = outlier_detection(source, &Path::default()).map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned), "{source:?}");
    }

    #[expect(clippy::unnecessary_wraps, reason = "fields are so")]
    fn number(value: u32) -> Option<pb::UInt32Value> {
        Some(pb::UInt32Value { value })
    }

    #[expect(clippy::unnecessary_wraps, reason = "fields are so")]
    fn seconds(seconds: i64) -> Option<pb::Duration> {
        Some(pb::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn defaults_are_envoys_and_what_it_refuses_is_refused() {
        let empty = cluster::OutlierDetection::default();
        check(&empty, Ok(OutlierDetection::default()));
        let long = cluster::OutlierDetection {
            base_ejection_time: seconds(400),
            ..empty.clone()
        };
        let longest = OutlierDetection {
            base_ejection_time: Duration::from_secs(400),
            ejection_time_max: Duration::from_secs(400),
            ..OutlierDetection::default()
        };
        check(&long, Ok(longest));
        let short = cluster::OutlierDetection {
            max_ejection_time: seconds(20),
            ..empty.clone()
        };
        check(
            &short,
            Err("max_ejection_time: cannot be smaller than base_ejection_time"),
        );
        let never = cluster::OutlierDetection {
            interval: seconds(0),
            ..empty.clone()
        };
        check(&never, Err("interval: must be greater than zero"));
        let much = cluster::OutlierDetection {
            enforcing_success_rate: number(101),
            ..empty.clone()
        };
        check(&much, Err("enforcing_success_rate: must be at most 100"));
        let all = cluster::OutlierDetection {
            max_ejection_percent: number(101),
            ..empty
        };
        check(&all, Err("max_ejection_percent: must be at most 100"));
    }
}
