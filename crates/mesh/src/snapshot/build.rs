//! Builds a snapshot from the objects, sharing what did not change with the one before.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::authorization::Authorization;
use super::destination_rules::DestinationRules;
use super::endpoints::{Backends, Endpoints};
use super::gateways::{Gateways, Secrets};
use super::inbound::Inbound;
use super::inputs::Inputs;
use super::peer_authentication::PeerAuthentications;
use super::services::Services;
use super::share::keep;
use super::sidecars::Sidecars;
use super::virtual_services::VirtualServices;
use super::workloads::{WorkloadKey, Workloads};
use super::{Change, MeshSettings, MeshSnapshot, check, pods};

/// Builds the snapshot of `inputs`. With `previous`, indexes whose objects are the same are taken over, and values that
/// come out equal keep their `Arc`; the result equals one built without.
pub fn build(
    inputs: Inputs,
    settings: &Arc<MeshSettings>,
    generation: u64,
    previous: Option<&MeshSnapshot>,
) -> MeshSnapshot {
    let old = previous.filter(|previous| previous.settings == *settings);
    let Topology {
        services,
        workloads,
        peer_authentications,
        backends,
        endpoints,
        ended,
        inbound,
    } = topology(&inputs, settings, old);
    let same = |unchanged: fn(&Inputs, &Inputs) -> bool| old.is_some_and(|old| unchanged(&old.inputs, &inputs));
    let mut snapshot = MeshSnapshot {
        generation,
        change: Change::Config,
        settings: old.map_or_else(|| Arc::clone(settings), |old| Arc::clone(&old.settings)),
        services,
        workloads,
        peer_authentications,
        backends,
        endpoints,
        ended,
        inbound,
        virtual_services: index(
            old.map(|old| &old.virtual_services),
            same(|a, b| Arc::ptr_eq(&a.virtual_services, &b.virtual_services)),
            |old| VirtualServices::build(&inputs, settings, old),
        ),
        destination_rules: index(
            old.map(|old| &old.destination_rules),
            same(|a, b| Arc::ptr_eq(&a.destination_rules, &b.destination_rules)),
            |old| DestinationRules::build(&inputs, settings, old),
        ),
        authorization: index(
            old.map(|old| &old.authorization),
            same(|a, b| {
                Arc::ptr_eq(&a.authorization_policies, &b.authorization_policies)
                    && Arc::ptr_eq(&a.request_authentications, &b.request_authentications)
            }),
            |_| Authorization::build(&inputs, settings),
        ),
        gateways: index(
            old.map(|old| &old.gateways),
            same(|a, b| Arc::ptr_eq(&a.gateways, &b.gateways)),
            |_| Gateways::build(&inputs),
        ),
        secrets: index(
            old.map(|old| &old.secrets),
            same(|a, b| Arc::ptr_eq(&a.secrets, &b.secrets)),
            |_| Secrets::build(&inputs),
        ),
        sidecars: index(
            old.map(|old| &old.sidecars),
            same(|a, b| Arc::ptr_eq(&a.sidecars, &b.sidecars)),
            |_| Sidecars::build(&inputs, settings),
        ),
        inputs,
        diagnostics: Arc::default(),
        told: Arc::default(),
        published: OnceLock::new(),
        source_diagnostics: old.map(|old| Arc::clone(&old.source_diagnostics)).unwrap_or_default(),
    };
    snapshot.change = old.map_or(Change::Config, |old| snapshot.change_since(old));
    // Checks also read objects that nobody is served, and places that no index has.
    let same_findings = |old: &MeshSnapshot| {
        snapshot.change != Change::Config
            && snapshot.inputs.same_configuration(&old.inputs)
            && check::same_starting(&old.inputs, &snapshot.inputs)
    };
    snapshot.diagnostics = match old {
        Some(old) if same_findings(old) => Arc::clone(&old.diagnostics),
        _ => keep(check::check(&snapshot), old.map(|old| &old.diagnostics)),
    };
    snapshot.told = Arc::clone(&snapshot.diagnostics);
    snapshot
}

/// The indexes that depend on each other.
struct Topology {
    services: Arc<Services>,
    workloads: Arc<Workloads>,
    peer_authentications: Arc<PeerAuthentications>,
    backends: Arc<Backends>,
    endpoints: Arc<Endpoints>,
    ended: Arc<BTreeMap<WorkloadKey, Arc<str>>>,
    inbound: Arc<Inbound>,
}

/// Who serves what, in the order in which one follows from the other.
fn topology(inputs: &Inputs, settings: &MeshSettings, old: Option<&MeshSnapshot>) -> Topology {
    let same = |unchanged: fn(&Inputs, &Inputs) -> bool| old.is_some_and(|old| unchanged(&old.inputs, inputs));
    let same_services =
        same(|a, b| Arc::ptr_eq(&a.services, &b.services) && Arc::ptr_eq(&a.service_entries, &b.service_entries));
    let same_local = same(|a, b| {
        Arc::ptr_eq(&a.local_workloads, &b.local_workloads)
            && Arc::ptr_eq(&a.pods, &b.pods)
            && Arc::ptr_eq(&a.nodes, &b.nodes)
            // Where gateways bind their ports follows from their Services.
            && Arc::ptr_eq(&a.services, &b.services)
    });
    let same_slices = same(|a, b| Arc::ptr_eq(&a.endpoint_slices, &b.endpoint_slices));
    let same_nodes = same(|a, b| Arc::ptr_eq(&a.nodes, &b.nodes));
    let services = index(old.map(|old| &old.services), same_services, |old| {
        Services::build(inputs, settings, old)
    });
    let workloads = index(
        old.map(|old| &old.workloads),
        same_local && same(|a, b| Arc::ptr_eq(&a.workload_entries, &b.workload_entries)),
        |old| Workloads::build(inputs, old),
    );
    let peer_authentications = index(
        old.map(|old| &old.peer_authentications),
        same(|a, b| Arc::ptr_eq(&a.peer_authentications, &b.peer_authentications)),
        |_| PeerAuthentications::build(inputs, settings),
    );
    let same_parts = old.is_some_and(|old| {
        Arc::ptr_eq(&old.services, &services)
            && Arc::ptr_eq(&old.workloads, &workloads)
            && Arc::ptr_eq(&old.peer_authentications, &peer_authentications)
    });
    // Endpoints that a ServiceEntry lists are not part of `services`, so its objects must be the same as well.
    let backends = index(
        old.map(|old| &old.backends),
        same_parts && same_services && same_slices && same_nodes,
        |old| Backends::build(inputs, &services, &workloads, &peer_authentications, old),
    );
    let same_backends = old.is_some_and(|old| Arc::ptr_eq(&old.backends, &backends));
    let endpoints = index(
        old.map(|old| &old.endpoints),
        same_backends && same_local && same_slices,
        |old| Endpoints::build(inputs, &services, &backends, old),
    );
    let ended = index(
        old.map(|old| &old.ended),
        same(|a, b| Arc::ptr_eq(&a.pods, &b.pods)),
        |_| pods::ended(inputs),
    );
    let inbound = index(old.map(|old| &old.inbound), same_parts, |old| {
        Inbound::build(&services, &workloads, &peer_authentications, old)
    });
    Topology {
        services,
        workloads,
        peer_authentications,
        backends,
        endpoints,
        ended,
        inbound,
    }
}

/// The previous index if nothing that it follows from changed, else a new one, or the previous if they are equal.
fn index<T: PartialEq>(old: Option<&Arc<T>>, unchanged: bool, build: impl FnOnce(Option<&T>) -> T) -> Arc<T> {
    match old {
        Some(old) if unchanged => Arc::clone(old),
        _ => keep(build(old.map(|old| &**old)), old),
    }
}
