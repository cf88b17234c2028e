//! Which Secrets the gateways need: only those are read, by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::gateway::ServerTlsMode;
use weft_api::local_workload::Role;
use weft_mesh::snapshot::{Gateways, MeshSnapshot, Workloads};

use super::kinds::WatchId;

/// Most Secrets that are followed; a watch each.
const CREDENTIALS_MAX: usize = 512;

/// What the last answer was derived from.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    from: Option<(Arc<Gateways>, Arc<Workloads>)>,
    full: bool,
}

// === impl Credentials ===

impl Credentials {
    /// The Secrets that gateways name, if that may have changed.
    pub(super) fn update(&mut self, snapshot: &MeshSnapshot) -> Option<BTreeSet<WatchId>> {
        let same = self.from.as_ref().is_some_and(|(gateways, workloads)| {
            Arc::ptr_eq(gateways, &snapshot.gateways) && Arc::ptr_eq(workloads, &snapshot.workloads)
        });
        if same {
            return None;
        }
        self.from = Some((Arc::clone(&snapshot.gateways), Arc::clone(&snapshot.workloads)));
        let mut wanted = wanted(snapshot);
        let full = wanted.len() > CREDENTIALS_MAX;
        if full && !self.full {
            tracing::warn!(
                named = wanted.len(),
                most = CREDENTIALS_MAX,
                "gateways name more credentials than are followed; the last ones by name are left out"
            );
        }
        self.full = full;
        while wanted.len() > CREDENTIALS_MAX {
            wanted.pop_last();
        }
        Some(wanted)
    }
}

/// The credentials of a Gateway object, and for clients' certificates those of the authority that may stand beside them, are in the
/// namespace of each gateway that it chooses.
fn wanted(snapshot: &MeshSnapshot) -> BTreeSet<WatchId> {
    let workloads = snapshot.workloads.local.values();
    let gateways = workloads.filter(|workload| workload.role == Role::Gateway && workload.is_pod());
    let mut wanted = BTreeSet::new();
    for workload in gateways {
        let servers = snapshot.gateways.for_workload(&workload.labels);
        for server in servers.flat_map(|gateway| &gateway.spec.servers) {
            let Some(tls) = &server.tls else {
                continue;
            };
            let Some(name) = &tls.credential_name else {
                continue;
            };
            wanted.insert(WatchId::credential(&workload.key.namespace, name));
            if tls.mode == ServerTlsMode::Mutual {
                wanted.insert(WatchId::credential(&workload.key.namespace, &format!("{name}-cacert")));
            }
        }
    }
    wanted
}
