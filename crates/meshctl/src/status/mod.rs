//! `meshctl status`: what runs and whether it is ready.

mod cluster;
mod machine;

use crate::exit::Exit;
use crate::mesh_target::{Target, TargetArguments};
use crate::output::Format;

/// Shows a mesh; a name means one of this machine.
pub(crate) async fn run(name: Option<String>, mut target: TargetArguments, format: Format) -> anyhow::Result<Exit> {
    if name.is_some() {
        target.mesh.mesh = name;
    }
    match target.find().await? {
        Target::Machine(record) => machine::show(&record, format).await,
        Target::Cluster(plane) => cluster::show(&plane, format).await,
    }
}
