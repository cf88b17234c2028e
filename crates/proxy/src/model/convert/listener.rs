//! Listeners.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::extensions::filters::listener as listener_filters;

use super::access_log::access_logs;
use super::chain::filter_chain;
use super::chain_match::{chain_match, might_match};
use super::{Path, Result, boolean, duration, enumeration, holds, origin, socket_address, text, uint32};
use crate::model::listener as model;

/// A listener. Where something of it is refused it is there without that, and says so (`xds/keep.rs`).
pub fn listener(source: &listener::Listener, at: &Path) -> Result<model::Listener> {
    let mut refused = model::ListenerRefusal::default();
    let mut chains = Vec::with_capacity(source.filter_chains.len());
    for (index, chain) in source.filter_chains.iter().enumerate() {
        let at = at.field("filter_chains").index(index);
        chains.extend(one_chain(chain, &at, &mut refused)?);
    }
    let mut default_chain = None;
    if let Some(chain) = &source.default_filter_chain {
        let at = at.field("default_filter_chain");
        let at = at.owned_by(&format!("filter chain {:?}", chain.name));
        // What it says of connections plays no part: it takes those that no other does.
        default_chain = Some(filter_chain(chain, model::ChainMatch::default(), &at)?);
    }
    if source.filter_chains.is_empty() && default_chain.is_none() {
        return Err(at.field("filter_chains").error("at least one is required"));
    }
    let settings = at.part(|at| settings(source, at))?;
    refused.settings = settings.is_none();
    let mut out = settings.unwrap_or_else(|| no_settings(source));
    out.chains = chains;
    out.default_chain = default_chain;
    // Envoy adds the inspector by itself where a chain asks for what it finds.
    let wants_tls = |matches: &model::ChainMatch| {
        !matches.server_names.is_empty() || matches.transport.is_some() || !matches.application_protocols.is_empty()
    };
    let matches = out.chains.iter().map(|chain| &chain.matches);
    out.inspect_tls |= matches.chain(&refused.matches).any(wants_tls);
    out.refused = refused;
    Ok(out)
}

/// A chain; `None` where nobody knows which connections it is for. What it may be for is noted then.
fn one_chain(
    source: &listener::FilterChain,
    at: &Path,
    refused: &mut model::ListenerRefusal,
) -> Result<Option<model::FilterChain>> {
    let at = at.owned_by(&format!("filter chain {:?}", source.name));
    let matches = source.filter_chain_match.clone().unwrap_or_default();
    let taken = at.field("filter_chain_match").part(|at| chain_match(&matches, at))?;
    // All of it is looked at, for what else is to be told.
    let chain = filter_chain(source, taken.clone().unwrap_or_default(), &at)?;
    if taken.is_none() {
        refused.matches.push(might_match(&matches));
    }
    Ok(taken.map(|_| chain))
}

/// What a listener says beside its chains.
fn settings(source: &listener::Listener, at: &Path) -> Result<model::Listener> {
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
        chains: Vec::new(),
        default_chain: None,
        buffer_bytes_max: uint32(source.per_connection_buffer_limit_bytes.as_ref(), 1 << 20) as usize,
        access_logs: access_logs(&source.access_log, &at.field("access_log"))?,
        origin: origin(source.metadata.as_ref()),
        refused: model::ListenerRefusal::default(),
        addresses,
    };
    for (index, filter) in source.listener_filters.iter().enumerate() {
        listener_filter(filter, &at.field("listener_filters").index(index), &mut out)?;
    }
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
        default_chain: Some(model::FilterChain {
            name: text(""),
            matches: model::ChainMatch::default(),
            tls: None,
            transport_connect_timeout: Duration::ZERO,
            filters: Vec::new(),
            action: model::ChainAction::Refused(model::Taken::Nothing),
        }),
        addresses,
        ..no_settings(source)
    })
}

/// A listener that says nothing beside its chains, because that is refused.
fn no_settings(source: &listener::Listener) -> model::Listener {
    model::Listener {
        name: name(source, &[]),
        addresses: Vec::new(),
        bind_to_port: false,
        direction: model::Direction::Unspecified,
        stat_prefix: None,
        inspect_tls: false,
        inspect_http: false,
        original_destination: false,
        use_original_dst: false,
        proxy_protocol: false,
        inspect_timeout: Duration::ZERO,
        continue_on_inspect_timeout: false,
        chains: Vec::new(),
        default_chain: None,
        buffer_bytes_max: 0,
        access_logs: Vec::new(),
        origin: origin(source.metadata.as_ref()),
        refused: model::ListenerRefusal {
            settings: true,
            ..model::ListenerRefusal::default()
        },
    }
}

fn direction(source: &listener::Listener, at: &Path) -> Result<model::Direction> {
    Ok(match enumeration(source.traffic_direction, at, "traffic_direction")? {
        core::TrafficDirection::Unspecified => model::Direction::Unspecified,
        core::TrafficDirection::Inbound => model::Direction::Inbound,
        core::TrafficDirection::Outbound => model::Direction::Outbound,
    })
}
