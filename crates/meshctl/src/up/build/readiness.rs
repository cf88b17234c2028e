//! What must hold for a program to be ready, from its entry in the mesh file.

use std::time::Duration;

use weft_api::local_mesh::{Probe as MeshProbe, Readiness};

use crate::up::commands::local;
use crate::up::plan::WorkloadPort;
use crate::up::probe::Probe;

/// Limit of a probe where the mesh file has no readiness.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A field that cannot be carried out.
pub(super) struct Wrong {
    /// Below `readiness`.
    pub(super) field: String,
    pub(super) message: String,
}

/// The probes; without a readiness, all ports must accept connections.
pub(super) fn probes(readiness: Option<&Readiness>, ports: &[WorkloadPort]) -> Result<Vec<Probe>, Wrong> {
    let Some(readiness) = readiness else {
        return Ok(ports.iter().map(|port| Probe::tcp(local(port.app), TIMEOUT)).collect());
    };
    let (kind, wanted) = match &readiness.probe {
        MeshProbe::HttpGet { port, .. } => ("httpGet", port),
        MeshProbe::TcpSocket { port } => ("tcpSocket", port),
    };
    let port = probed_port(wanted, ports).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        Wrong {
            field: format!("{kind}.port"),
            message: format!(
                "{wanted:?} is no port of this workload, which has: {}",
                names.join(", ")
            ),
        }
    })?;
    Ok(vec![match &readiness.probe {
        MeshProbe::HttpGet { path, .. } => Probe::http(&local(port), path, readiness.timeout),
        MeshProbe::TcpSocket { .. } => Probe::tcp(local(port), readiness.timeout),
    }])
}

/// A name, the number that the file declares, or any number of this machine.
fn probed_port(wanted: &str, ports: &[WorkloadPort]) -> Option<u16> {
    if let Some(port) = ports.iter().find(|port| port.name == wanted) {
        return Some(port.app);
    }
    let number: u16 = wanted.parse().ok().filter(|number| *number != 0)?;
    let declared = ports.iter().find(|port| port.declared == number);
    Some(declared.map_or(number, |port| port.app))
}
