//! What a DestinationRule's traffic policy changes on a cluster.

use weft_api::destination_rule::{ConnectionPool, H2Upgrade, LoadBalancer, OutlierDetection, RetryBudget};
use weft_proto::xds::envoy::config::cluster::v3 as pb;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::upstreams::http::v3 as upstreams;
use weft_proto::xds::envoy::r#type::v3::Percent;

use super::wire::{any, duration, uint32};
use crate::snapshot::Protocol;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn load_balancer(cluster: &mut pb::Cluster, settings: Option<&LoadBalancer>) {
    use pb::cluster::LbPolicy;
    if cluster.lb_policy == LbPolicy::ClusterProvided as i32 {
        return;
    }
    let policy = match settings {
        // Least request is Istio's default.
        None | Some(LoadBalancer::Default | LoadBalancer::LeastRequest) => LbPolicy::LeastRequest,
        Some(LoadBalancer::RoundRobin) => LbPolicy::RoundRobin,
        Some(LoadBalancer::Random) => LbPolicy::Random,
    };
    cluster.lb_policy = policy as i32;
}

pub(super) fn connection_pool(cluster: &mut pb::Cluster, settings: Option<&ConnectionPool>) {
    let Some(pool) = settings else {
        return;
    };
    if let Some(timeout) = pool.connect_timeout {
        cluster.connect_timeout = Some(duration(timeout));
    }
    if let Some(keepalive) = &pool.keepalive {
        let seconds = |value: Option<std::time::Duration>| {
            value.map(|value| uint32(u32::try_from(value.as_secs()).unwrap_or(u32::MAX)))
        };
        cluster.upstream_connection_options = Some(pb::UpstreamConnectionOptions {
            tcp_keepalive: Some(core::TcpKeepalive {
                keepalive_probes: keepalive.probes.map(uint32),
                keepalive_time: seconds(keepalive.time),
                keepalive_interval: seconds(keepalive.interval),
            }),
            ..pb::UpstreamConnectionOptions::default()
        });
    }
    let breakers = cluster
        .circuit_breakers
        .iter_mut()
        .flat_map(|breakers| &mut breakers.thresholds);
    for thresholds in breakers {
        let set = |slot: &mut Option<_>, value: Option<u32>| {
            if let Some(value) = value {
                *slot = Some(uint32(value));
            }
        };
        set(&mut thresholds.max_connections, pool.max_connections);
        set(&mut thresholds.max_pending_requests, pool.http1_max_pending_requests);
        set(&mut thresholds.max_requests, pool.http2_max_requests);
        set(&mut thresholds.max_retries, pool.max_retries);
    }
}

pub(super) fn retry_budget(cluster: &mut pb::Cluster, settings: Option<RetryBudget>) {
    let Some(budget) = settings else {
        return;
    };
    for thresholds in cluster
        .circuit_breakers
        .iter_mut()
        .flat_map(|breakers| &mut breakers.thresholds)
    {
        thresholds.retry_budget = Some(pb::circuit_breakers::thresholds::RetryBudget {
            budget_percent: Some(Percent {
                value: budget.percent.0,
            }),
            min_retry_concurrency: Some(uint32(budget.min_concurrency)),
            ..pb::circuit_breakers::thresholds::RetryBudget::default()
        });
    }
}

/// Only where asked for, with success rates off and no panic (Istio's defaults, research of `outlierDetection`).
pub(super) fn outlier(cluster: &mut pb::Cluster, settings: Option<&OutlierDetection>) {
    let Some(outlier) = settings else {
        return;
    };
    let time = |value: Option<std::time::Duration>| value.map(duration);
    let mut detection = pb::OutlierDetection {
        consecutive_5xx: outlier.consecutive_5xx_errors.map(uint32),
        enforcing_success_rate: Some(uint32(0)),
        interval: time(outlier.interval),
        base_ejection_time: time(outlier.base_ejection_time),
        max_ejection_percent: outlier.max_ejection_percent.map(uint32),
        split_external_local_origin_errors: outlier.split_external_local_origin_errors,
        consecutive_local_origin_failure: outlier.consecutive_local_origin_failures.map(uint32),
        ..pb::OutlierDetection::default()
    };
    if outlier.consecutive_5xx_errors == Some(0) {
        detection.enforcing_consecutive_5xx = Some(uint32(0));
    }
    if let Some(errors) = outlier.consecutive_gateway_errors {
        detection.consecutive_gateway_failure = Some(uint32(errors));
        detection.enforcing_consecutive_gateway_failure = Some(uint32(if errors > 0 { 100 } else { 0 }));
    }
    if outlier.split_external_local_origin_errors {
        detection.enforcing_local_origin_success_rate = Some(uint32(0));
    }
    cluster.outlier_detection = Some(detection);
    if let Some(percent) = outlier.min_health_percent {
        cluster.common_lb_config = Some(pb::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent {
                value: f64::from(percent),
            }),
            ..pb::cluster::CommonLbConfig::default()
        });
    }
}

/// What the client speaks is spoken to endpoints.
pub(super) fn client_protocol(cluster: &mut pb::Cluster) {
    let pool = ConnectionPool {
        use_client_protocol: true,
        ..ConnectionPool::default()
    };
    protocol(cluster, Protocol::Auto, Some(&pool));
}

/// The HTTP protocol that is spoken to endpoints, and the limits of connections.
pub(super) fn protocol(cluster: &mut pb::Cluster, protocol: Protocol, pool: Option<&ConnectionPool>) {
    use upstreams::http_protocol_options as options;
    if !protocol.is_http() && protocol != Protocol::Auto {
        return;
    }
    let http1 = core::Http1ProtocolOptions::default;
    let http2 = || core::Http2ProtocolOptions {
        max_concurrent_streams: pool.and_then(|pool| pool.max_concurrent_streams).map(uint32),
        ..core::Http2ProtocolOptions::default()
    };
    let upgrade = pool.is_some_and(|pool| pool.h2_upgrade == H2Upgrade::Upgrade);
    let downstream = pool.is_some_and(|pool| pool.use_client_protocol);
    let kind = if downstream {
        options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options::UseDownstreamHttpConfig {
            http_protocol_options: Some(http1()),
            http2_protocol_options: Some(http2()),
            ..options::UseDownstreamHttpConfig::default()
        })
    } else {
        use options::explicit_http_config::ProtocolConfig;
        let config = if protocol.is_http2() || upgrade {
            ProtocolConfig::Http2ProtocolOptions(http2())
        } else {
            ProtocolConfig::HttpProtocolOptions(http1())
        };
        options::UpstreamProtocolOptions::ExplicitHttpConfig(options::ExplicitHttpConfig {
            protocol_config: Some(config),
        })
    };
    let common = pool.map(|pool| core::HttpProtocolOptions {
        // Istio: where only `tcp.idleTimeout` is given, it counts for connections that carry HTTP too.
        idle_timeout: pool.http_idle_timeout.or(pool.tcp_idle_timeout).map(duration),
        max_requests_per_connection: pool.max_requests_per_connection.filter(|max| *max > 0).map(uint32),
        max_connection_duration: pool.max_connection_duration.map(duration),
        ..core::HttpProtocolOptions::default()
    });
    let message = upstreams::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(kind),
        ..upstreams::HttpProtocolOptions::default()
    };
    cluster
        .typed_extension_protocol_options
        .insert(PROTOCOL_OPTIONS.to_owned(), any(&message));
}
