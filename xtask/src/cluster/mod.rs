//! `cargo xtask cluster`: a real Kubernetes on this machine, by `kind` where Docker can run it, otherwise of Debian's parts in
//! namespaces of its own.

mod base_images;
mod binaries;
mod certificates;
mod cgroups;
mod config;
pub(crate) mod forward;
pub(crate) mod go_build;
pub(crate) mod handle;
pub(crate) mod kind;
pub(crate) mod layout;
mod local;
mod network;
pub(crate) mod node_init;
pub(crate) mod packages;
mod parts;
mod ready;
mod record;
pub(crate) mod steps;
mod sweep;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::handle::Cluster;
use crate::{images, process};

/// More nodes than this are of no use on one machine.
const NODES_MAX: i64 = 9;

/// What to do with which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the cluster; clusters of different names do not see each other.
    #[arg(long, global = true, env = "WEFT_CLUSTER", default_value = "weft")]
    name: String,
    /// What runs it. Default: kind where Docker can run it, otherwise local.
    #[arg(long, global = true, env = "WEFT_CLUSTER_PROVIDER")]
    provider: Option<Provider>,
    #[command(subcommand)]
    action: Action,
}

/// What runs the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Provider {
    /// Kubernetes in Docker, by the `kind` command.
    Kind,
    /// Kubernetes of Debian's parts in namespaces of this machine; needs root.
    Local,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start it and wait until its nodes are ready; nothing to do is no error.
    Up {
        /// Number of nodes; the first runs the control plane and takes pods, too.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX))]
        nodes: u8,
    },
    /// End it and remove everything it made, also after a crash.
    Down,
    /// Print the path of its kubeconfig.
    Kubeconfig,
    /// Give images to every node.
    Load {
        /// Archives (`docker save`), or names of images below target/images such as `proxy`.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
    /// Show its nodes and pods.
    Status,
    /// Run kubectl against it.
    #[command(after_help = "Example: cargo xtask cluster kubectl get pods -A")]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Take a node away as a power cut would, or put it back.
    Node {
        #[command(subcommand)]
        action: NodeAction,
    },
}

#[derive(Debug, clap::Subcommand)]
enum NodeAction {
    /// End everything on the node and pull its wire.
    Stop { number: u8 },
    /// Start the node again and wait until it is ready.
    Start { number: u8 },
}

/// Does what the arguments say.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let tell = matches!(arguments.action, Action::Up { .. });
    let cluster = Cluster::new(&arguments.name, arguments.provider, tell)?;
    match &arguments.action {
        Action::Up { nodes } => cluster.up(*nodes),
        Action::Down => cluster.down(),
        Action::Kubeconfig => {
            println!("{}", cluster.kubeconfig()?.display());
            Ok(())
        }
        Action::Load { images } => cluster.load(&archives(images)?),
        Action::Status => {
            process::run(
                cluster
                    .kubectl()?
                    .args(["get", "nodes,pods", "--all-namespaces", "-o", "wide"]),
            )
        }
        Action::Kubectl { arguments } => hand_over(cluster.kubectl()?.args(arguments)),
        Action::Node { action } => match action {
            NodeAction::Stop { number } => cluster.stop_node(*number),
            NodeAction::Start { number } => cluster.start_node(*number),
        },
    }
}

/// The command takes this process's place, so that its exit status and signals are its own.
fn hand_over(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cannot start kubectl")
}

/// Files as they are; a plain name is an image that `cargo xtask images` made.
pub(crate) fn archives(wanted: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let find = |image: &PathBuf| {
        let made = images::folder().join(image).with_extension("tar");
        match [image.clone(), made].into_iter().find(|path| path.is_file()) {
            // The command that reads it may run elsewhere.
            Some(path) => Ok(path.canonicalize()?),
            None => bail!(
                "{} is neither an image archive nor an image that `cargo xtask images` made",
                image.display()
            ),
        }
    };
    wanted.iter().map(find).collect()
}
