//! HTTP filters of connection managers, and what rules of VirtualServices tell them: faults and cross-origin requests.

use std::collections::HashMap;

use weft_api::matching::{Percent, StringMatch};
use weft_api::virtual_service::{CorsPolicy, Fault, FaultAbort, HttpRoute};
use weft_proto::xds::envoy::extensions::filters::common::fault::v3 as common;
use weft_proto::xds::envoy::extensions::filters::http::cors::v3 as cors;
use weft_proto::xds::envoy::extensions::filters::http::fault::v3 as fault;
use weft_proto::xds::envoy::extensions::filters::http::router::v3::Router;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weft_proto::xds::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use weft_proto::xds::google::protobuf::Any;

use super::route_match::string;
use super::side::Side;
use super::wire::{any, boolean, duration};

/// Name of the fault filter.
pub(super) const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";
const ROUTER: &str = "envoy.filters.http.router";

/// The filters of a connection manager. Rules of VirtualServices are kept where requests leave, so inbound has none for them.
pub(super) fn listed(side: Side) -> Vec<hcm::HttpFilter> {
    let router = filter(ROUTER, any(&Router::default()));
    match side {
        Side::Inbound => vec![router],
        Side::Outbound | Side::Gateway => vec![
            filter(FAULT, any(&fault::HttpFault::default())),
            filter(CORS, any(&cors::Cors::default())),
            router,
        ],
    }
}

/// The filters of a gRPC client.
pub(super) fn of_grpc() -> Vec<hcm::HttpFilter> {
    vec![
        filter(FAULT, any(&fault::HttpFault::default())),
        filter(ROUTER, any(&Router::default())),
    ]
}

fn filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..hcm::HttpFilter::default()
    }
}

/// What a rule tells the filters.
pub(super) fn of_rule(rule: &HttpRoute) -> HashMap<String, Any> {
    let fault = rule
        .fault
        .as_ref()
        .map(|source| (FAULT.to_owned(), any(&http_fault(source))));
    let cors = rule
        .cors
        .as_ref()
        .map(|source| (CORS.to_owned(), any(&cors_policy(source))));
    fault.into_iter().chain(cors).collect()
}

fn http_fault(source: &Fault) -> fault::HttpFault {
    fault::HttpFault {
        delay: source.delay.map(|(time, percent)| common::FaultDelay {
            percentage: Some(share(percent)),
            fault_delay_secifier: Some(common::fault_delay::FaultDelaySecifier::FixedDelay(duration(time))),
        }),
        abort: source.abort.map(|(answer, percent)| fault::FaultAbort {
            percentage: Some(share(percent)),
            error_type: Some(match answer {
                FaultAbort::Http(status) => fault::fault_abort::ErrorType::HttpStatus(u32::from(status)),
                FaultAbort::Grpc(code) => fault::fault_abort::ErrorType::GrpcStatus(code),
            }),
            ..fault::FaultAbort::default()
        }),
        ..fault::HttpFault::default()
    }
}

fn share(percent: Percent) -> FractionalPercent {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage is between 0 and 100"
    )]
    let numerator = (percent.0 * 10_000.0).round() as u32;
    FractionalPercent {
        numerator,
        denominator: DenominatorType::Million as i32,
    }
}

fn cors_policy(source: &CorsPolicy) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: source
            .allow_origins
            .iter()
            .map(|origin: &StringMatch| string(origin))
            .collect(),
        allow_methods: source.allow_methods.join(","),
        allow_headers: source.allow_headers.join(","),
        expose_headers: source.expose_headers.join(","),
        max_age: source.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default(),
        allow_credentials: source.allow_credentials.map(boolean),
        forward_not_matching_preflights: source.forward_unmatched.map(boolean),
        ..cors::CorsPolicy::default()
    }
}
