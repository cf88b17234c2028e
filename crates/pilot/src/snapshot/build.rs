//! Builds a snapshot from the objects, sharing what did not change with the one before.

use std::sync::Arc;

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
use super::workloads::Workloads;
use super::{Change, MeshSettings, MeshSnapshot, check};

/// Builds the snapshot of `inputs`. With `previous`, indexes whose objects are the same are taken over, and values that
/// come out equal keep their `Arc`; the result equals one built without.
pub fn build(
    inputs: Inputs,
    settings: &Arc<MeshSettings>,
    generation: u64,
    previous: Option<&MeshSnapshot>,
) -> MeshSnapshot {
    let old = previous.filter(|previous| previous.settings == *settings);
    /// The previous index if none of its inputs changed, else a new one (or the previous, if equal).
    macro_rules! index {
        ($field:ident, [$($unchanged:expr),*], $build:expr) => {
            match old {
                Some(old) if [$($unchanged(old)),*].iter().all(|same| *same) => Arc::clone(&old.$field),
                _ => keep($build, old.map(|old| &old.$field)),
            }
        };
    }
    /// Whether a kind's objects are those of the previous snapshot.
    macro_rules! same {
        ($kind:ident) => {
            |old: &MeshSnapshot| Arc::ptr_eq(&old.inputs.$kind, &inputs.$kind)
        };
    }
    /// Whether an index is that of the previous snapshot.
    macro_rules! shared {
        ($field:ident) => {
            |old: &MeshSnapshot| Arc::ptr_eq(&old.$field, &$field)
        };
    }
    let services = index!(
        services,
        [same!(services), same!(service_entries)],
        Services::build(&inputs, settings, old.map(|old| &*old.services))
    );
    let workloads = index!(
        workloads,
        [same!(local_workloads), same!(workload_entries)],
        Workloads::build(&inputs, old.map(|old| &*old.workloads))
    );
    let peer_authentications = index!(
        peer_authentications,
        [same!(peer_authentications)],
        PeerAuthentications::build(&inputs, settings)
    );
    let backends = index!(
        backends,
        [
            shared!(services),
            shared!(workloads),
            shared!(peer_authentications),
            same!(services),
            same!(service_entries)
        ],
        Backends::build(
            &inputs,
            &services,
            &workloads,
            &peer_authentications,
            old.map(|old| &*old.backends)
        )
    );
    let endpoints = index!(
        endpoints,
        [shared!(backends), same!(local_workloads)],
        Endpoints::build(&inputs, &backends, old.map(|old| &*old.endpoints))
    );
    let inbound = index!(
        inbound,
        [shared!(services), shared!(workloads), shared!(peer_authentications)],
        Inbound::build(
            &services,
            &workloads,
            &peer_authentications,
            old.map(|old| &*old.inbound)
        )
    );
    let virtual_services = index!(
        virtual_services,
        [same!(virtual_services)],
        VirtualServices::build(&inputs, settings, old.map(|old| &*old.virtual_services))
    );
    let destination_rules = index!(
        destination_rules,
        [same!(destination_rules)],
        DestinationRules::build(&inputs, settings, old.map(|old| &*old.destination_rules))
    );
    let gateways = index!(gateways, [same!(gateways)], Gateways::build(&inputs));
    let secrets = index!(secrets, [same!(secrets)], Secrets::build(&inputs));
    let sidecars = index!(sidecars, [same!(sidecars)], Sidecars::build(&inputs, settings));
    let mut snapshot = MeshSnapshot {
        generation,
        change: Change::Config,
        settings: Arc::clone(settings),
        inputs,
        services,
        workloads,
        backends,
        endpoints,
        inbound,
        virtual_services,
        destination_rules,
        peer_authentications,
        gateways,
        secrets,
        sidecars,
        diagnostics: Arc::default(),
        source_diagnostics: old.map(|old| Arc::clone(&old.source_diagnostics)).unwrap_or_default(),
    };
    let change = old.map_or(Change::Config, |old| snapshot.change_since(old));
    snapshot.change = change;
    snapshot.diagnostics = match old {
        Some(old) if change != Change::Config => Arc::clone(&old.diagnostics),
        _ => keep(check::check(&snapshot), old.map(|old| &old.diagnostics)),
    };
    snapshot
}
