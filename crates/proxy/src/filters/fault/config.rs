//! Faults that are injected on purpose, as configured (`envoy.filters.http.fault`).

use std::time::Duration;

use weft_proto::xds::envoy::extensions::filters::common::fault::v3 as common;
use weft_proto::xds::envoy::extensions::filters::http::fault::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::{Path, Result, duration, fraction, holds, status, unpack};
use crate::model::matcher::Fraction;

/// What is injected (Envoy `HTTPFault`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Waits before anything else is done with the request.
    pub delay: Option<(Duration, Fraction)>,
    /// Answers instead of anything else.
    pub abort: Option<(AbortStatus, Fraction)>,
}

/// What an injected answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(::http::StatusCode),
    /// A gRPC status.
    Grpc(u32),
}

/// A route's faults stand instead of the listener's.
pub type RouteConfig = Config;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::HttpFault>(any) {
        return Ok(None);
    }
    http_fault(&unpack(any, at)?, at).map(Some)
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    read(any, at)
}

fn http_fault(source: &pb::HttpFault, at: &Path) -> Result<Config> {
    use common::fault_delay::FaultDelaySecifier as Delay;
    use pb::fault_abort::ErrorType;
    // Without a percentage no request is hit (Envoy: the runtime's default is 0).
    let share = |percentage: Option<_>, at: &Path| match &percentage {
        Some(percentage) => fraction(percentage, &at.field("percentage")),
        None => Ok(Fraction { parts_per_million: 0 }),
    };
    let mut made = Config::default();
    if let Some(delay) = &source.delay {
        let at = at.field("delay");
        let Some(Delay::FixedDelay(time)) = &delay.fault_delay_secifier else {
            return Err(at.field("fixed_delay").error("is required"));
        };
        let time = duration(Some(time), Duration::ZERO, &at.field("fixed_delay"))?;
        made.delay = Some((time, share(delay.percentage, &at)?));
    }
    if let Some(abort) = &source.abort {
        let at = at.field("abort");
        let answer = match &abort.error_type {
            Some(ErrorType::HttpStatus(code)) => AbortStatus::Http(status(*code, &at.field("http_status"))?),
            Some(ErrorType::GrpcStatus(code)) => AbortStatus::Grpc(*code),
            _ => return Err(at.error("needs http_status or grpc_status")),
        };
        made.abort = Some((answer, share(abort.percentage, &at)?));
    }
    Ok(made)
}
