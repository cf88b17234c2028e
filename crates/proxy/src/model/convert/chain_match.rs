//! Which connections a filter chain takes.

use std::sync::Arc;

use ipnet::IpNet;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;

use super::{Path, Result, cidr, enumeration, text};
use crate::model::listener as model;

pub(super) fn chain_match(source: &listener::FilterChainMatch, at: &Path) -> Result<model::ChainMatch> {
    use listener::filter_chain_match::ConnectionSourceType;
    let port = |value: u32, at: &Path| u16::try_from(value).map_err(|_| at.error(format!("{value} is not a port")));
    let destination_port = source.destination_port.as_ref().map(|value| value.value);
    let at_names = at.field("server_names");
    let server_names = source.server_names.iter().enumerate();
    let server_names = server_names.map(|(index, name)| server_name(name, &at_names.index(index)));
    let source_ports = source
        .source_ports
        .iter()
        .map(|value| port(*value, &at.field("source_ports")));
    Ok(model::ChainMatch {
        destination_port: destination_port
            .map(|value| port(value, &at.field("destination_port")))
            .transpose()?,
        destination_ranges: ranges(&source.prefix_ranges, &at.field("prefix_ranges"))?,
        server_names: server_names.collect::<Result<_>>()?,
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
    let range = |(index, range): (usize, &core::CidrRange)| cidr(range, &at.index(index));
    source.iter().enumerate().map(range).collect()
}

fn server_name(source: &str, at: &Path) -> Result<Arc<str>> {
    let lower = source.to_ascii_lowercase();
    let plain = lower.strip_prefix("*.").unwrap_or(&lower);
    if plain.contains('*') {
        return Err(at.error("a wildcard must be the whole first label: *.example.com"));
    }
    Ok(text(&lower))
}

/// A match of at least all that a refused match would take: what of it can be read. Every criterion must hold, so that one that
/// cannot be read only leaves more.
pub(super) fn might_match(source: &listener::FilterChainMatch) -> model::ChainMatch {
    let read = |source: listener::FilterChainMatch| chain_match(&source, &Path::default()).unwrap_or_default();
    let nothing = listener::FilterChainMatch::default;
    let names: Option<Vec<_>> = source.server_names.iter().map(|name| might_be(name)).collect();
    let to = read(listener::FilterChainMatch {
        prefix_ranges: source.prefix_ranges.clone(),
        ..nothing()
    });
    let direct = read(listener::FilterChainMatch {
        direct_source_prefix_ranges: source.direct_source_prefix_ranges.clone(),
        ..nothing()
    });
    let from = read(listener::FilterChainMatch {
        source_prefix_ranges: source.source_prefix_ranges.clone(),
        source_ports: source.source_ports.clone(),
        ..nothing()
    });
    let more = read(listener::FilterChainMatch {
        destination_port: source.destination_port,
        application_protocols: source.application_protocols.clone(),
        source_type: source.source_type,
        ..nothing()
    });
    let transport = read(listener::FilterChainMatch {
        transport_protocol: source.transport_protocol.clone(),
        ..nothing()
    });
    model::ChainMatch {
        destination_ranges: to.destination_ranges,
        server_names: names.unwrap_or_default(),
        transport: transport.transport,
        direct_source_ranges: direct.direct_source_ranges,
        source_ranges: from.source_ranges,
        source_ports: from.source_ports,
        ..more
    }
}

/// The narrowest name that takes all that one with a wildcard anywhere may mean; `None` where that is every name.
fn might_be(source: &str) -> Option<Arc<str>> {
    if let Ok(name) = server_name(source, &Path::default()) {
        return Some(name);
    }
    let lower = source.to_ascii_lowercase();
    let (_, after) = lower.rsplit_once('*')?;
    let dot = after.find('.')?;
    Some(text(&format!("*{}", &after[dot..])))
}
