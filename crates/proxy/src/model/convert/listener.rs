//! Listeners and filter chains.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::extensions::filters::listener as listener_filters;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
use weft_proto::xds::google::protobuf::Any;

use super::access_log::access_logs;
use super::http::{connection_manager, route_source};
use super::{
    Path, Result, boolean, duration, enumeration, holds, optional_duration, origin, socket_address, text, tls, uint32,
    unpack,
};
use crate::model::listener as model;
use crate::model::network_filters::{self, NetworkFilterConfig};

/// Longest handshake where `transport_socket_connect_timeout` is not set. Envoy then has no bound.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

pub fn listener(source: &listener::Listener, at: &Path) -> Result<model::Listener> {
    let mut addresses = vec![socket_address(source.address.as_ref(), &at.field("address"))?];
    addresses.extend(ipv4_twin(source.address.as_ref(), addresses[0]));
    for (index, additional) in source.additional_addresses.iter().enumerate() {
        let at = at.field("additional_addresses").index(index).field("address");
        let address = socket_address(additional.address.as_ref(), &at)?;
        addresses.push(address);
        addresses.extend(ipv4_twin(additional.address.as_ref(), address));
    }
    let mut out = model::Listener {
        name: name(source, &addresses),
        bind_to_port: boolean(source.bind_to_port.as_ref(), true),
        direction: direction(source, at)?,
        stat_prefix: (!source.stat_prefix.is_empty()).then(|| text(&source.stat_prefix)),
        inspect_tls: false,
        inspect_http: false,
        original_destination: false,
        use_original_dst: boolean(source.use_original_dst.as_ref(), false),
        proxy_protocol: false,
        inspect_timeout: duration(
            source.listener_filters_timeout.as_ref(),
            Duration::from_secs(15),
            &at.field("listener_filters_timeout"),
        )?,
        continue_on_inspect_timeout: source.continue_on_listener_filters_timeout,
        chains: Vec::with_capacity(source.filter_chains.len()),
        default_chain: None,
        buffer_bytes_max: uint32(source.per_connection_buffer_limit_bytes.as_ref(), 1 << 20) as usize,
        access_logs: access_logs(&source.access_log, &at.field("access_log"))?,
        origin: origin(source.metadata.as_ref()),
        addresses,
    };
    for (index, filter) in source.listener_filters.iter().enumerate() {
        listener_filter(filter, &at.field("listener_filters").index(index), &mut out)?;
    }
    for (index, chain) in source.filter_chains.iter().enumerate() {
        out.chains
            .push(filter_chain(chain, &at.field("filter_chains").index(index))?);
    }
    if let Some(chain) = &source.default_filter_chain {
        out.default_chain = Some(filter_chain(chain, &at.field("default_filter_chain"))?);
    }
    if out.chains.is_empty() && out.default_chain.is_none() {
        return Err(at.field("filter_chains").error("at least one is required"));
    }
    // Envoy adds the inspector by itself where a chain asks for what it finds.
    let wants_tls = |chain: &model::FilterChain| {
        !chain.matches.server_names.is_empty()
            || chain.matches.transport.is_some()
            || !chain.matches.application_protocols.is_empty()
    };
    out.inspect_tls |= out.chains.iter().any(wants_tls);
    Ok(out)
}

/// `::` with `ipv4_compat` stands for every IPv4 address as well.
fn ipv4_twin(source: Option<&core::Address>, address: SocketAddr) -> Option<SocketAddr> {
    use core::address::Address as Kind;
    let compatible = match source.and_then(|address| address.address.as_ref()) {
        Some(Kind::SocketAddress(socket)) => socket.ipv4_compat,
        Some(Kind::Pipe(_) | Kind::EnvoyInternalAddress(_)) | None => false,
    };
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    (compatible && everywhere).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

fn name(source: &listener::Listener, addresses: &[SocketAddr]) -> Arc<str> {
    if source.name.is_empty() {
        // Envoy names such a listener by a random id; its address tells more.
        let address = addresses.first().map(ToString::to_string);
        return text(&address.unwrap_or_default());
    }
    text(&source.name)
}

fn listener_filter(source: &listener::ListenerFilter, at: &Path, out: &mut model::Listener) -> Result<()> {
    let Some(listener::listener_filter::ConfigType::TypedConfig(any)) = &source.config_type else {
        return Err(at.field("typed_config").error("is required"));
    };
    if holds::<listener_filters::tls_inspector::v3::TlsInspector>(any) {
        out.inspect_tls = true;
    } else if holds::<listener_filters::http_inspector::v3::HttpInspector>(any) {
        out.inspect_http = true;
    } else if holds::<listener_filters::original_dst::v3::OriginalDst>(any) {
        out.original_destination = true;
    } else if holds::<listener_filters::proxy_protocol::v3::ProxyProtocol>(any) {
        out.proxy_protocol = true;
    } else {
        return Err(at
            .field("typed_config")
            .error(format!("{} is not supported", any.type_url)));
    }
    Ok(())
}

/// Which connections a chain takes must be known; all else of it may be refused while other chains go on.
fn filter_chain(source: &listener::FilterChain, at: &Path) -> Result<model::FilterChain> {
    let matches = source.filter_chain_match.clone().unwrap_or_default();
    let at_match = at.field("filter_chain_match");
    let matches = chain_match(&matches, &at_match)?;
    at_match.all_carried()?;
    let refused = model::FilterChain {
        name: text(&source.name),
        matches,
        tls: None,
        transport_connect_timeout: Duration::ZERO,
        filters: Vec::new(),
        action: model::ChainAction::Refused(model::Taken::Nothing),
    };
    let at = at.owned_by(&format!("filter chain {:?}", source.name));
    let taken = at.part(|at| {
        let timeout = source.transport_socket_connect_timeout.as_ref();
        let taken = at.field("filters").part(|at| filters(&source.filters, at))?;
        let (filters, action) = taken.unwrap_or((Vec::new(), model::ChainAction::Refused(model::Taken::Tls)));
        Ok(model::FilterChain {
            tls: tls::downstream(source.transport_socket.as_ref(), &at.field("transport_socket"))?,
            transport_connect_timeout: duration(
                timeout,
                HANDSHAKE_TIMEOUT,
                &at.field("transport_socket_connect_timeout"),
            )?,
            filters,
            action,
            ..refused.clone()
        })
    })?;
    Ok(taken.unwrap_or(refused))
}

/// What stands in for a captured listener that is refused as a whole: it closes its connections, which otherwise would be taken for such
/// to an unknown service. `None` for one with a socket of its own, and where it is not known which connections are meant.
pub fn closed_listener(source: &listener::Listener) -> Option<model::Listener> {
    let main = source.address.as_ref();
    let additional = source
        .additional_addresses
        .iter()
        .map(|additional| additional.address.as_ref());
    let mut addresses = Vec::new();
    for source in std::iter::once(main).chain(additional) {
        let address = socket_address(source, &Path::default()).ok()?;
        addresses.push(address);
        addresses.extend(ipv4_twin(source, address));
    }
    let direction = direction(source, &Path::default()).ok()?;
    let captured = source.bind_to_port.as_ref().is_some_and(|bind| !bind.value);
    captured.then(|| model::Listener {
        name: name(source, &addresses),
        bind_to_port: false,
        direction,
        stat_prefix: None,
        inspect_tls: false,
        inspect_http: false,
        original_destination: false,
        use_original_dst: false,
        proxy_protocol: false,
        inspect_timeout: Duration::ZERO,
        continue_on_inspect_timeout: false,
        chains: Vec::new(),
        default_chain: Some(model::FilterChain {
            name: text(""),
            matches: model::ChainMatch::default(),
            tls: None,
            transport_connect_timeout: Duration::ZERO,
            filters: Vec::new(),
            action: model::ChainAction::Refused(model::Taken::Nothing),
        }),
        buffer_bytes_max: 0,
        access_logs: Vec::new(),
        origin: origin(source.metadata.as_ref()),
        addresses,
    })
}

fn direction(source: &listener::Listener, at: &Path) -> Result<model::Direction> {
    Ok(match enumeration(source.traffic_direction, at, "traffic_direction")? {
        core::TrafficDirection::Unspecified => model::Direction::Unspecified,
        core::TrafficDirection::Inbound => model::Direction::Inbound,
        core::TrafficDirection::Outbound => model::Direction::Outbound,
    })
}

fn chain_match(source: &listener::FilterChainMatch, at: &Path) -> Result<model::ChainMatch> {
    use listener::filter_chain_match::ConnectionSourceType;
    let port = |value: u32, at: &Path| u16::try_from(value).map_err(|_| at.error(format!("{value} is not a port")));
    let destination_port = source.destination_port.as_ref().map(|value| value.value);
    let at_names = at.field("server_names");
    let mut server_names = Vec::with_capacity(source.server_names.len());
    for (index, name) in source.server_names.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let plain = lower.strip_prefix("*.").unwrap_or(&lower);
        if plain.contains('*') {
            return Err(at_names
                .index(index)
                .error("a wildcard must be the whole first label: *.example.com"));
        }
        server_names.push(text(&lower));
    }
    let source_ports = source
        .source_ports
        .iter()
        .map(|value| port(*value, &at.field("source_ports")));
    Ok(model::ChainMatch {
        destination_port: destination_port
            .map(|value| port(value, &at.field("destination_port")))
            .transpose()?,
        destination_ranges: ranges(&source.prefix_ranges, &at.field("prefix_ranges"))?,
        server_names,
        transport: match source.transport_protocol.as_str() {
            "" => None,
            "tls" => Some(model::TransportProtocol::Tls),
            "raw_buffer" => Some(model::TransportProtocol::RawBuffer),
            other => {
                let reason = format!("{other:?} is not supported, only tls or raw_buffer");
                return Err(at.field("transport_protocol").error(reason));
            }
        },
        application_protocols: source
            .application_protocols
            .iter()
            .map(|protocol| text(protocol))
            .collect(),
        direct_source_ranges: ranges(
            &source.direct_source_prefix_ranges,
            &at.field("direct_source_prefix_ranges"),
        )?,
        source_ranges: ranges(&source.source_prefix_ranges, &at.field("source_prefix_ranges"))?,
        source_ports: source_ports.collect::<Result<_>>()?,
        source_type: match enumeration(source.source_type, at, "source_type")? {
            ConnectionSourceType::Any => model::SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => model::SourceType::SameIpOrLoopback,
            ConnectionSourceType::External => model::SourceType::External,
        },
    })
}

fn ranges(source: &[core::CidrRange], at: &Path) -> Result<Vec<IpNet>> {
    let range = |(index, range): (usize, &core::CidrRange)| {
        let at = at.index(index);
        let address: std::net::IpAddr = range.address_prefix.parse().map_err(|_| {
            at.field("address_prefix")
                .error(format!("{:?} is not an IP address", range.address_prefix))
        })?;
        let length = uint32(range.prefix_len.as_ref(), 0);
        let length = u8::try_from(length)
            .ok()
            .and_then(|length| IpNet::new(address, length).ok());
        length.ok_or_else(|| at.field("prefix_len").error("is longer than the address"))
    };
    source.iter().enumerate().map(range).collect()
}

/// The list of a chain: filters, and what the last one does. Where it leads to is taken also where the rest is refused.
fn filters(source: &[listener::Filter], at: &Path) -> Result<(Vec<NetworkFilterConfig>, model::ChainAction)> {
    let Some((last, before)) = source.split_last() else {
        return Err(at.error("needs http_connection_manager or tcp_proxy"));
    };
    let at_last = at.index(before.len()).field("typed_config");
    let any = typed_config(last, &at_last)?;
    if holds::<HttpConnectionManager>(any) {
        let source: HttpConnectionManager = unpack(any, &at_last)?;
        let Some(routes) = route_source(&source, &at_last)? else {
            return Ok((Vec::new(), model::ChainAction::Refused(model::Taken::Tls)));
        };
        let taken = at.part(|at| {
            let listed = listed(before, at)?;
            for (index, filter) in listed.iter().enumerate() {
                if let Some(reason) = filter.not_before_http() {
                    return Err(at.index(index).field("typed_config").error(reason));
                }
            }
            let manager = connection_manager(&source, routes.clone(), &at_last)?;
            Ok((listed, model::ChainAction::Http(Box::new(manager))))
        })?;
        return Ok(taken.unwrap_or((Vec::new(), model::ChainAction::Refused(model::Taken::Routes(routes)))));
    }
    let source: tcp_proxy::TcpProxy = unpack(any, &at_last)?;
    let clusters = tcp_clusters(&source, &at_last)?;
    let taken = at.part(|at| {
        let proxy = tcp(&source, clusters.clone(), &at_last)?;
        Ok((listed(before, at)?, model::ChainAction::Tcp(Box::new(proxy))))
    })?;
    Ok(taken.unwrap_or((
        Vec::new(),
        model::ChainAction::Refused(model::Taken::Clusters(clusters)),
    )))
}

/// The filters before the last.
fn listed(source: &[listener::Filter], at: &Path) -> Result<Vec<NetworkFilterConfig>> {
    let one = |(index, filter): (usize, &listener::Filter)| {
        let at = at.index(index).field("typed_config");
        let any = typed_config(filter, &at)?;
        let config = network_filters::read(any, &at)?;
        config.ok_or_else(|| at.error(misplaced(any)))
    };
    source.iter().enumerate().map(one).collect()
}

/// Why something is no filter before the last.
fn misplaced(any: &Any) -> String {
    if holds::<HttpConnectionManager>(any) || holds::<tcp_proxy::TcpProxy>(any) {
        return "must be the last filter".to_owned();
    }
    format!("{} is not supported", any.type_url)
}

fn typed_config<'a>(filter: &'a listener::Filter, at: &Path) -> Result<&'a Any> {
    match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) => Ok(any),
        Some(listener::filter::ConfigType::ConfigDiscovery(_)) | None => Err(at.error("is required")),
    }
}

fn tcp_clusters(source: &tcp_proxy::TcpProxy, at: &Path) -> Result<Vec<model::WeightedTarget>> {
    use tcp_proxy::tcp_proxy::ClusterSpecifier;
    let clusters = match &source.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![model::WeightedTarget {
            cluster: text(name),
            weight: 1,
        }],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let target = |entry: &tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight| model::WeightedTarget {
                cluster: text(&entry.name),
                weight: entry.weight,
            };
            weighted.clusters.iter().map(target).collect()
        }
        _ => return Err(at.error("needs cluster or weighted_clusters")),
    };
    if clusters.iter().map(|target| u64::from(target.weight)).sum::<u64>() == 0 {
        return Err(at.field("weighted_clusters").error("the weights must not all be zero"));
    }
    Ok(clusters)
}

fn tcp(source: &tcp_proxy::TcpProxy, clusters: Vec<model::WeightedTarget>, at: &Path) -> Result<model::TcpProxy> {
    Ok(model::TcpProxy {
        stat_prefix: text(&source.stat_prefix),
        clusters,
        idle_timeout: duration(
            source.idle_timeout.as_ref(),
            Duration::from_secs(3600),
            &at.field("idle_timeout"),
        )?,
        connect_attempts_max: uint32(source.max_connect_attempts.as_ref(), 1).max(1),
        duration_max: optional_duration(
            source.max_downstream_connection_duration.as_ref(),
            &at.field("max_downstream_connection_duration"),
        )?,
        access_logs: access_logs(&source.access_log, &at.field("access_log"))?,
    })
}
