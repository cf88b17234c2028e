//! The mesh that a verb looks into, found by the rule of [`choice`].

mod choice;

use std::path::Path;

use clap::Args;
use weft_proto::defaults::SYSTEM_NAMESPACE;

use self::choice::{Asked, Choice, Place, Seen, choose};
use crate::cluster::{ClusterArguments, ControlPlane};
use crate::fetch::Server;
use crate::flags::MeshArguments;
use crate::mesh::{Record, StateDir};
use crate::output;

/// Which mesh is meant: one of this machine, or that of a cluster. Without flags a mesh that runs here, else a cluster.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TargetArguments {
    #[command(flatten)]
    pub(crate) mesh: MeshArguments,
    /// The mesh of the cluster of the kubeconfig, even if one runs on this machine.
    #[arg(short, long)]
    pub(crate) kubernetes: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// Namespace of the control plane in a cluster; otherwise weft-system.
    #[arg(short = 'i', long, value_name = "NAME", alias = "istioNamespace")]
    pub(crate) system_namespace: Option<String>,
}

/// A mesh that runs.
pub(crate) enum Target {
    /// On this machine.
    Machine(Box<Record>),
    /// In a cluster.
    Cluster(ControlPlane),
}

// === impl TargetArguments ===

impl TargetArguments {
    /// Finds the mesh. No server is asked yet.
    pub(crate) async fn find(&self) -> anyhow::Result<Target> {
        let Choice { place, say } = choose(self.asked(), self.seen()?)?;
        match place {
            Place::Machine => {
                let explicit = self.mesh.state.state_dir.as_deref();
                let state = StateDir::find(self.mesh.mesh.as_deref(), explicit, "--mesh")?;
                let record = state.running_record()?;
                if say {
                    output::say(&format!(
                        "mesh {} of this machine; for that of the cluster: --kubernetes",
                        record.name
                    ));
                }
                Ok(Target::Machine(Box::new(record)))
            }
            Place::Cluster => {
                let plane = self.cluster().await?;
                if say {
                    output::say("no mesh runs on this machine; asking the cluster");
                }
                Ok(Target::Cluster(plane))
            }
        }
    }

    /// The cluster, whatever runs on this machine. No server is asked yet.
    pub(crate) async fn cluster(&self) -> anyhow::Result<ControlPlane> {
        let client = self.cluster.connect().await?;
        let namespace = self.system_namespace.as_deref().unwrap_or(SYSTEM_NAMESPACE);
        Ok(ControlPlane::new(client, namespace))
    }

    /// Whether the command line says which mesh, so that there must be one.
    pub(crate) fn names_a_mesh(&self) -> bool {
        let asked = self.asked();
        asked.name || asked.state_dir || asked.cluster
    }

    fn asked(&self) -> Asked {
        let cluster = &self.cluster;
        Asked {
            name: self.mesh.mesh.is_some(),
            state_dir: self.mesh.state.state_dir.is_some(),
            cluster: self.kubernetes
                || cluster.kubeconfig.is_some()
                || cluster.context.is_some()
                || self.system_namespace.is_some(),
        }
    }

    fn seen(&self) -> anyhow::Result<Seen> {
        let states = StateDir::all()?;
        let running = states.iter().any(|state| state.running_record().is_ok());
        Ok(Seen {
            running,
            stale: !states.is_empty() && !running,
            cluster: a_cluster_is_configured(),
        })
    }
}

// === impl Target ===

impl Target {
    /// All pilots, each with the name that it is shown under.
    pub(crate) async fn pilots(&self) -> anyhow::Result<Vec<(String, Server)>> {
        match self {
            Self::Machine(record) => {
                let address = record.addresses.pilot_monitoring.clone();
                Ok(vec![(address.clone(), Server::Address(address))])
            }
            Self::Cluster(plane) => plane.pilots().await,
        }
    }

    /// Where telemetry's page and API are.
    pub(crate) async fn telemetry(&self) -> anyhow::Result<Server> {
        match self {
            Self::Machine(record) => Ok(Server::Address(record.addresses.telemetry.clone())),
            Self::Cluster(plane) => Ok(Server::Pod(plane.telemetry().await?)),
        }
    }
}

/// Whether a client would find a cluster without being told which.
fn a_cluster_is_configured() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let at_home = || set("HOME").is_some_and(|home| Path::new(&home).join(".kube/config").is_file());
    set("KUBECONFIG").is_some() || set("KUBERNETES_SERVICE_HOST").is_some() || at_home()
}
