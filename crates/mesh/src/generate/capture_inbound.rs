//! `virtualInbound`: one listener for whatever is redirected to the workload. A port that a service names has chains of its own,
//! others pass through with what PeerAuthentication asks of the whole workload.

use std::collections::BTreeMap;

use weft_proto::cluster_name::INBOUND_PASSTHROUGH;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::listener::v3 as pb;

use super::authorization::Access;
use super::capture::{DETECTION_BUDGET, INBOUND_PORT, everywhere, loop_guard};
use super::inbound::{Target, chains};
use super::listener_filters::{http_inspector, original_destination, tls_inspector};
use super::original::is_captured;
use super::wire::{duration, origin, uint32};
use crate::snapshot::Protocol;
use crate::view::ProxyView;

const NAME: &str = "virtualInbound";

/// Adds the listener; nothing where traffic is not redirected.
pub(super) fn generate(view: &ProxyView, listeners: &mut Vec<pb::Listener>) {
    if !is_captured(view) {
        return;
    }
    let mut all = vec![loop_guard(view, "virtualInbound-blackhole", INBOUND_PORT)];
    let access = Access::of(view);
    for (port, target) in targets(view) {
        let name = |chain: &str| match port {
            Some(port) => format!("0.0.0.0_{port}-{chain}"),
            None => format!("virtualInbound-catchall-{chain}"),
        };
        all.extend(chains(view, &target, &access).into_iter().map(|mut chain| {
            chain.name = name(&chain.name);
            if let Some(matches) = &mut chain.filter_chain_match {
                matches.destination_port = port.map(|port| uint32(u32::from(port)));
            }
            chain
        }));
    }
    let (address, additional_addresses) = everywhere(view, INBOUND_PORT);
    let listener_filters = vec![original_destination(), tls_inspector(), http_inspector()];
    listeners.push(pb::Listener {
        name: NAME.to_owned(),
        address,
        additional_addresses,
        filter_chains: all,
        listener_filters,
        listener_filters_timeout: Some(duration(DETECTION_BUDGET)),
        continue_on_listener_filters_timeout: true,
        traffic_direction: core::TrafficDirection::Inbound as i32,
        metadata: Some(origin(&view.workload.origin, None, &view.workload.origin.place)),
        ..pb::Listener::default()
    });
}

/// What each port leads to; `None` stands for all that are not named.
fn targets(view: &ProxyView) -> BTreeMap<Option<u16>, Target> {
    let policies = &view.snapshot.peer_authentications;
    let (namespace, labels) = (view.namespace(), &view.workload.labels);
    let passthrough = |port: Option<u16>| Target {
        cluster: INBOUND_PASSTHROUGH.to_owned(),
        number: port.unwrap_or(0),
        stat_prefix: INBOUND_PASSTHROUGH.to_owned(),
        protocol: Protocol::Auto,
        // No policy names port 0.
        mtls: policies.effective(namespace, labels, port.unwrap_or(0)),
    };
    let mut targets: BTreeMap<Option<u16>, Target> = BTreeMap::from([(None, passthrough(None))]);
    let named = policies.named_ports(namespace, labels);
    targets.extend(named.map(|port| (Some(port), passthrough(Some(port)))));
    for port in view.snapshot.inbound.of(&view.workload.key) {
        targets.insert(Some(port.mesh_port), Target::of_port(port));
    }
    targets
}
