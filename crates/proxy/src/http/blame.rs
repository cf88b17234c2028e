//! Whose fault an outcome is: what it says of the health of the endpoint.

use super::context::grpc_status;
use crate::error::{ErrorKind, status_of_grpc};
use crate::route::retry::Outcome;
use crate::stream_info::request::RequestHead;
use crate::upstream::outlier::Report;

/// What an outcome says of the endpoint's health (Envoy's router, `updateOutlierDetection`): nothing where it had no part in it.
pub fn report(head: &RequestHead, outcome: Outcome<'_>) -> Option<Report> {
    let kind = match outcome {
        Outcome::Answer { status, headers } => {
            let grpc = grpc_status(headers).filter(|_| head.grpc_upstream);
            return Some(Report::Status(grpc.map_or(status.as_u16(), status_of_grpc)));
        }
        Outcome::Failure { kind, .. } => kind,
    };
    match kind {
        ErrorKind::ConnectFailed
        | ErrorKind::ConnectTimeout
        | ErrorKind::ConnectionTerminated
        | ErrorKind::RefusedStream
        | ErrorKind::StreamReset
        | ErrorKind::TlsFailed
        | ErrorKind::UpstreamProtocol => Some(Report::Failed),
        ErrorKind::PerTryIdleTimeout | ErrorKind::PerTryTimeout | ErrorKind::UpstreamTimeout => Some(Report::TimedOut),
        ErrorKind::BadRequest(_)
        | ErrorKind::ClientGone
        | ErrorKind::ClusterNotFound(_)
        | ErrorKind::HeadTimeout
        | ErrorKind::IdleRequest
        | ErrorKind::IdleTimeout
        | ErrorKind::NoHealthyUpstream
        | ErrorKind::Overflow
        | ErrorKind::RequestDurationExceeded
        | ErrorKind::RequestTimeout
        | ErrorKind::RouteNotFound
        | ErrorKind::RouteRefused
        | ErrorKind::StreamDurationExceeded
        | ErrorKind::UpgradeRefused => None,
    }
}
