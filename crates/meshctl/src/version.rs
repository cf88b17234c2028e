//! `meshctl version`: versions of meshctl and of the mesh that runs.

use std::time::Duration;

use serde::Serialize;

use crate::cli::MeshArguments;
use crate::exit::Exit;
use crate::fetch;
use crate::mesh::StateDir;
use crate::output::{self, Format};

/// Limit of the question to pilot.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Versions {
    meshctl: &'static str,
    /// What pilot says; absent where none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pilot: Option<String>,
}

/// Prints the versions. A mesh that does not run is no error unless it was named.
pub(crate) async fn run(mesh: &MeshArguments, format: Format) -> anyhow::Result<Exit> {
    let named = mesh.mesh.is_some() || mesh.state.state_dir.is_some();
    let record =
        StateDir::find(mesh.mesh.as_deref(), mesh.state.state_dir.as_deref()).and_then(|state| state.running_record());
    let pilot = match record {
        Ok(record) => {
            let answer = fetch::get(&record.addresses.pilot_monitoring, "/version", DEADLINE).await?;
            Some(String::from_utf8_lossy(&answer.body).trim().to_owned())
        }
        Err(error) if named => return Err(error),
        Err(_) => None,
    };
    let versions = Versions {
        meshctl: env!("CARGO_PKG_VERSION"),
        pilot,
    };
    output::print(format, &versions, |versions| {
        let pilot = versions.pilot.as_deref().unwrap_or("no mesh runs");
        format!("meshctl: {}\npilot: {pilot}\n", versions.meshctl)
    })?;
    Ok(Exit::Ok)
}
