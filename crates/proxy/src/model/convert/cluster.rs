//! Clusters.

use std::time::Duration;

use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::upstreams::http::v3 as upstreams;
use weft_proto::xds::google::protobuf as pb;

use super::http::{http1_options, http2_options};
use super::{
    Path, Result, by_ads, dns, duration, endpoint, enumeration, header_name, optional_duration, origin, required,
    struct_text, text, tls, uint32, unpack,
};
use crate::model::cluster as model;
use crate::model::metadata::ServiceRef;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What protects connections to a cluster: read apart, since it is taken also where all else is refused.
pub fn cluster_security(source: &cluster::Cluster, at: &Path) -> Result<model::Security> {
    let at_matches = at.field("transport_socket_matches");
    let matches = at_matches.part(|at| transport_matches(source, at))?;
    let at_default = at.field("transport_socket");
    let default = at_default.part(|at| tls::upstream(source.transport_socket.as_ref(), at))?;
    let at_options = at.field("typed_extension_protocol_options");
    let options = source.typed_extension_protocol_options.get(PROTOCOL_OPTIONS);
    let options = options.map(|any| unpack(any, &at_options)).transpose();
    let host_tls = options.and_then(|options| host_tls(options.as_ref(), at));
    Ok(match (matches, default, host_tls) {
        (Some(matches), Some(default), Ok(host_tls)) => {
            model::Security::Taken(Box::new((model::Transport { matches, default }, host_tls)))
        }
        _ => model::Security::Refused,
    })
}

/// A cluster that is good as a whole.
pub fn cluster(source: &cluster::Cluster, at: &Path) -> Result<model::Cluster> {
    let options = protocol_options(source, at)?;
    let common = options
        .as_ref()
        .and_then(|options| options.common_http_protocol_options.as_ref());
    let common = common.or(source.common_http_protocol_options.as_ref());
    let at_common = at.field("common_http_protocol_options");
    let idle_timeout = common.and_then(|common| common.idle_timeout.as_ref());
    let duration_max = common.and_then(|common| common.max_connection_duration.as_ref());
    let requests_max = common.and_then(|common| common.max_requests_per_connection.as_ref());
    let common_lb = source.common_lb_config.as_ref();
    let panic = common_lb
        .and_then(|common| common.healthy_panic_threshold.as_ref())
        .map_or(50.0, |p| p.value);
    let keepalive = source
        .upstream_connection_options
        .as_ref()
        .and_then(|options| options.tcp_keepalive.as_ref());
    let seconds = |value: Option<&pb::UInt32Value>| value.map(|value| Duration::from_secs(u64::from(value.value)));
    Ok(model::Cluster {
        name: text(&source.name),
        alt_stat_name: (!source.alt_stat_name.is_empty()).then(|| text(&source.alt_stat_name)),
        discovery: discovery(source, at)?,
        balancer: balancer(source, at)?,
        connect_timeout: duration(
            source.connect_timeout.as_ref(),
            Duration::from_secs(5),
            &at.field("connect_timeout"),
        )?,
        limits: limits(source, at)?,
        protocol: protocol(source, options.as_ref(), at)?,
        idle_timeout: duration(
            idle_timeout,
            Duration::from_secs(3600),
            &at_common.field("idle_timeout"),
        )?,
        connection_duration_max: optional_duration(duration_max, &at_common.field("max_connection_duration"))?,
        requests_per_connection_max: uint32(requests_max, 0),
        transport: model::Transport {
            matches: transport_matches(source, &at.field("transport_socket_matches"))?,
            default: tls::upstream(source.transport_socket.as_ref(), &at.field("transport_socket"))?,
        },
        host_tls: host_tls(options.as_ref(), at)?,
        keepalive: keepalive.map(|keepalive| model::TcpKeepalive {
            time: seconds(keepalive.keepalive_time.as_ref()),
            interval: seconds(keepalive.keepalive_interval.as_ref()),
            probes: keepalive.keepalive_probes.as_ref().map(|probes| probes.value),
        }),
        bind_addresses: bind_addresses(source, at)?,
        outlier: source
            .outlier_detection
            .as_ref()
            .map(|outlier| super::outlier::outlier_detection(outlier, &at.field("outlier_detection")))
            .transpose()?,
        panic_threshold_percent: panic.clamp(0.0, 100.0) as u32,
        services: services(source),
        subset: istio(source).and_then(|fields| struct_text(fields.get("subset")?)),
        origin: origin(source.metadata.as_ref()),
    })
}

fn protocol_options(source: &cluster::Cluster, at: &Path) -> Result<Option<upstreams::HttpProtocolOptions>> {
    let at = at.field("typed_extension_protocol_options");
    if let Some(other) = source
        .typed_extension_protocol_options
        .keys()
        .find(|key| *key != PROTOCOL_OPTIONS)
    {
        return Err(at.error(format!("{other:?} is not supported, only {PROTOCOL_OPTIONS}")));
    }
    let any = source.typed_extension_protocol_options.get(PROTOCOL_OPTIONS);
    any.map(|any| unpack(any, &at)).transpose()
}

fn discovery(source: &cluster::Cluster, at: &Path) -> Result<model::Discovery> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    let kind = match &source.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(value)) => enumeration(*value, at, "type")?,
        Some(ClusterDiscoveryType::ClusterType(_)) => return Err(at.field("cluster_type").error("is not supported")),
    };
    let assignment = source.load_assignment.as_ref();
    let at_assignment = at.field("load_assignment");
    Ok(match kind {
        DiscoveryType::Static => {
            let assignment = required(assignment, at, "load_assignment")?;
            model::Discovery::Static(endpoint::load_assignment(assignment, &at_assignment)?)
        }
        DiscoveryType::Eds => {
            let config = required(source.eds_cluster_config.as_ref(), at, "eds_cluster_config")?;
            by_ads(
                config.eds_config.as_ref(),
                &at.field("eds_cluster_config").field("eds_config"),
            )?;
            let name = if config.service_name.is_empty() {
                &source.name
            } else {
                &config.service_name
            };
            model::Discovery::Eds(text(name))
        }
        DiscoveryType::StrictDns => model::Discovery::StrictDns {
            names: dns::names(source, at)?,
            options: dns::options(source, at)?,
        },
        DiscoveryType::LogicalDns => {
            let mut names = dns::names(source, at)?;
            let (Some(name), true) = (names.pop(), names.is_empty()) else {
                return Err(at_assignment.error("a LOGICAL_DNS cluster has exactly one endpoint"));
            };
            model::Discovery::LogicalDns {
                name: Box::new(name),
                options: dns::options(source, at)?,
            }
        }
        DiscoveryType::OriginalDst => original_dst(source, at)?,
    })
}

fn original_dst(source: &cluster::Cluster, at: &Path) -> Result<model::Discovery> {
    use cluster::cluster::LbConfig;
    let at = at.field("original_dst_lb_config");
    let config = match &source.lb_config {
        Some(LbConfig::OriginalDstLbConfig(config)) => config.clone(),
        _ => cluster::cluster::OriginalDstLbConfig::default(),
    };
    let name = if config.http_header_name.is_empty() {
        "x-envoy-original-dst-host"
    } else {
        &config.http_header_name
    };
    let port_override = config.upstream_port_override.as_ref().map(|port| port.value);
    Ok(model::Discovery::OriginalDst {
        header: config.use_http_header.then(|| header_name(name, &at)).transpose()?,
        port_override: port_override
            .map(|port| u16::try_from(port).map_err(|_| at.field("upstream_port_override").error("is not a port")))
            .transpose()?,
    })
}

fn balancer(source: &cluster::Cluster, at: &Path) -> Result<model::Balancer> {
    use cluster::cluster::{LbConfig, LbPolicy};
    Ok(match enumeration(source.lb_policy, at, "lb_policy")? {
        LbPolicy::RoundRobin => model::Balancer::RoundRobin,
        LbPolicy::Random => model::Balancer::Random,
        LbPolicy::ClusterProvided => model::Balancer::ClusterProvided,
        LbPolicy::LeastRequest => {
            let choices = match &source.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => uint32(config.choice_count.as_ref(), 2),
                _ => 2,
            };
            model::Balancer::LeastRequest {
                choices: choices.clamp(2, 64),
            }
        }
        LbPolicy::RingHash | LbPolicy::Maglev | LbPolicy::LoadBalancingPolicyConfig => {
            let reason = "is not supported, use ROUND_ROBIN, LEAST_REQUEST or RANDOM";
            return Err(at.field("lb_policy").error(reason));
        }
    })
}

fn limits(source: &cluster::Cluster, at: &Path) -> Result<model::CircuitBreaker> {
    let thresholds = source
        .circuit_breakers
        .as_ref()
        .map(|breakers| breakers.thresholds.as_slice());
    let thresholds = thresholds.unwrap_or_default();
    if let Some(index) = thresholds.iter().position(|thresholds| thresholds.priority != 0) {
        let at = at.field("circuit_breakers").field("thresholds").index(index);
        return Err(at.field("priority").error("only DEFAULT is supported"));
    }
    let first = thresholds.first().copied().unwrap_or_default();
    Ok(model::CircuitBreaker {
        connections_max: uint32(first.max_connections.as_ref(), 1024),
        pending_max: uint32(first.max_pending_requests.as_ref(), 1024),
        requests_max: uint32(first.max_requests.as_ref(), 1024),
        retries_max: uint32(first.max_retries.as_ref(), 3),
        retry_budget: first.retry_budget.as_ref().map(|budget| model::RetryBudget {
            percent: budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value),
            min_concurrency: uint32(budget.min_retry_concurrency.as_ref(), 3),
        }),
        track_remaining: first.track_remaining,
    })
}

fn protocol(
    source: &cluster::Cluster,
    options: Option<&upstreams::HttpProtocolOptions>,
    at: &Path,
) -> Result<model::UpstreamProtocol> {
    use upstreams::http_protocol_options::UpstreamProtocolOptions as Kind;
    use upstreams::http_protocol_options::explicit_http_config::ProtocolConfig;
    let at_options = at.field("typed_extension_protocol_options");
    let http1 = |options: Option<&core::Http1ProtocolOptions>| http1_options(options);
    let http2 = |options: Option<&core::Http2ProtocolOptions>| http2_options(options, &at_options);
    let Some(options) = options else {
        return Ok(match &source.http2_protocol_options {
            Some(options) => model::UpstreamProtocol::Http2(http2(Some(options))?),
            None => model::UpstreamProtocol::Http1(http1(source.http_protocol_options.as_ref())),
        });
    };
    Ok(match &options.upstream_protocol_options {
        Some(Kind::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(options)) => model::UpstreamProtocol::Http1(http1(Some(options))),
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                model::UpstreamProtocol::Http2(http2(Some(options))?)
            }
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => return Err(at_options.error("HTTP/3 is not supported")),
            None => return Err(at_options.field("explicit_http_config").error("needs a protocol")),
        },
        Some(Kind::UseDownstreamProtocolConfig(both)) => model::UpstreamProtocol::Downstream {
            http1: http1(both.http_protocol_options.as_ref()),
            http2: http2(both.http2_protocol_options.as_ref())?,
        },
        Some(Kind::AutoConfig(both)) => model::UpstreamProtocol::Auto {
            http1: http1(both.http_protocol_options.as_ref()),
            http2: http2(both.http2_protocol_options.as_ref())?,
        },
        None => {
            return Err(at_options.error("needs explicit_http_config, use_downstream_protocol_config or auto_config"));
        }
    })
}

fn transport_matches(source: &cluster::Cluster, at: &Path) -> Result<Vec<model::TransportMatch>> {
    let one = |(index, entry): (usize, &cluster::cluster::TransportSocketMatch)| {
        let at = at.index(index);
        Ok(model::TransportMatch {
            name: text(&entry.name),
            labels: entry.r#match.as_ref().map(endpoint::labels).unwrap_or_default(),
            tls: tls::upstream(entry.transport_socket.as_ref(), &at.field("transport_socket"))?,
        })
    };
    source.transport_socket_matches.iter().enumerate().map(one).collect()
}

fn host_tls(options: Option<&upstreams::HttpProtocolOptions>, at: &Path) -> Result<Option<model::HostTls>> {
    let Some(options) = options.and_then(|options| options.upstream_http_protocol_options.as_ref()) else {
        return Ok(None);
    };
    let at = at.field("typed_extension_protocol_options");
    let at = at
        .field("upstream_http_protocol_options")
        .field("override_auto_sni_header");
    let header = Some(&*options.override_auto_sni_header).filter(|name| !name.is_empty());
    let says = options.auto_sni || options.auto_san_validation;
    Ok(Some(model::HostTls {
        server_name: options.auto_sni,
        certificate_name: options.auto_san_validation,
        header: header.map(|name| header_name(name, &at)).transpose()?,
    })
    .filter(|_| says))
}

fn bind_addresses(source: &cluster::Cluster, at: &Path) -> Result<Vec<std::net::IpAddr>> {
    let Some(bind) = &source.upstream_bind_config else {
        return Ok(Vec::new());
    };
    let at = at.field("upstream_bind_config");
    let extra = bind.extra_source_addresses.iter().map(|extra| extra.address.as_ref());
    let sockets = std::iter::once(bind.source_address.as_ref()).chain(extra);
    let address = |(index, socket): (usize, Option<&core::SocketAddress>)| {
        let at = match index.checked_sub(1) {
            None => at.field("source_address"),
            Some(index) => at.field("extra_source_addresses").index(index).field("address"),
        };
        let text = &socket?.address;
        let address = text.parse();
        Some(address.map_err(|_| at.field("address").error(format!("{text:?} is not an IP address"))))
    };
    sockets.enumerate().filter_map(address).collect()
}

fn istio(source: &cluster::Cluster) -> Option<&std::collections::HashMap<String, pb::Value>> {
    Some(&source.metadata.as_ref()?.filter_metadata.get("istio")?.fields)
}

fn services(source: &cluster::Cluster) -> Vec<ServiceRef> {
    use pb::value::Kind;
    let listed = istio(source)
        .and_then(|fields| fields.get("services"))
        .and_then(|value| value.kind.as_ref());
    let Some(Kind::ListValue(list)) = listed else {
        return Vec::new();
    };
    let service = |value: &pb::Value| {
        let Some(Kind::StructValue(service)) = &value.kind else {
            return None;
        };
        let field = |key: &str| {
            service
                .fields
                .get(key)
                .and_then(struct_text)
                .unwrap_or_else(|| text(""))
        };
        Some(ServiceRef {
            host: field("host"),
            name: field("name"),
            namespace: field("namespace"),
        })
    };
    list.values.iter().filter_map(service).collect()
}
