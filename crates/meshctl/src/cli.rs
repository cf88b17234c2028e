//! The command line: the verbs and their help, which opens with examples. Flags of a verb are beside what it does.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::check::CheckArguments;
use crate::dashboard::DashboardArguments;
use crate::flags::{OutputArguments, StateArguments};
use crate::inject::InjectArguments;
use crate::install::{InstallArguments, ManifestVerb, UninstallArguments, UpgradeArguments};
use crate::logs::LogsArguments;
use crate::mesh_target::TargetArguments;
use crate::proxy_config::ProxyConfigArguments;
use crate::up::UpArguments;

/// The rule of [`crate::mesh_target`], for people.
const WHICH_MESH: &str = "Which mesh: --mesh and --state-dir mean one of this machine; --kubernetes, --kubeconfig, \
                          --context and\n--system-namespace that of a cluster. Without them a mesh that runs on this \
                          machine, else the cluster of the kubeconfig.";

/// Starts a mesh on this machine and looks into it.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    about,
    before_help = "Examples:\n  meshctl up -f mesh.yaml             start a mesh, show its logs, end it with Ctrl-C\n  \
                   meshctl status                      what runs and whether it is ready\n  \
                   meshctl graph                       who calls whom, how fast, how safely\n  \
                   meshctl proxy-config route caller   which routes a sidecar has"
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start the mesh of a file and keep it running.
    #[command(
        before_help = "Examples:\n  meshctl up -f mesh.yaml                  in this terminal, until Ctrl-C\n  \
                       meshctl up -f mesh.yaml --detach         in the background; end it with: meshctl down\n  \
                       meshctl up -f mesh.yaml --logs apps      only the programs' own output\n  \
                       meshctl up -f mesh.yaml --no-restart     leave a process that ends down, to try what that does",
        after_help = "A process that ends is started again after 2 s, then 4, up to 30 s, with the same command, ports \
                      and state; with\n--no-restart it stays down, and mesh.json in the state directory has the \
                      command line to start it by hand."
    )]
    Up(UpArguments),
    /// End a running mesh and remove what it left.
    #[command(
        before_help = "Examples:\n  meshctl down           the only mesh that runs\n  meshctl down demo      the mesh of that name"
    )]
    Down {
        /// Name of the mesh; may be left out if only one runs.
        name: Option<String>,
        #[command(flatten)]
        mesh: StateArguments,
    },
    /// Show what runs and whether it is ready. Exit code 79 if something is not.
    #[command(
        before_help = "Examples:\n  meshctl status\n  meshctl status demo -o json | jq '.processes[] | {name, pid, \
                       command}'\n  meshctl status --kubernetes         the mesh of the cluster, even if one runs here",
        after_help = WHICH_MESH
    )]
    Status {
        /// Name of a mesh of this machine; may be left out if only one runs.
        #[arg(conflicts_with = "mesh")]
        name: Option<String>,
        #[command(flatten)]
        target: TargetArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Show which proxies are connected to pilot and whether they have its latest configuration.
    #[command(
        visible_alias = "ps",
        before_help = "Examples:\n  meshctl proxy-status\n  meshctl proxy-status --context prod\n  \
                       meshctl proxy-status --pilot 127.0.0.1:15014 -o json",
        after_help = WHICH_MESH
    )]
    ProxyStatus {
        #[command(flatten)]
        target: TargetArguments,
        /// Monitoring address of pilot, instead of a mesh.
        #[arg(long, value_name = "HOST:PORT")]
        pilot: Option<String>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Show the configuration that a proxy has, own or stock Envoy.
    #[command(
        visible_alias = "pc",
        before_help = "Examples:\n  meshctl proxy-config route caller                  routes of the first replica of \
                       caller\n  meshctl proxy-config endpoint callme-v1-0 -o json  endpoints of one replica\n  \
                       meshctl proxy-config all ingress                   everything a gateway has\n  \
                       meshctl proxy-config route caller-7d9f-x2x.prod    a pod of a cluster, with its namespace\n  \
                       meshctl proxy-config cluster --admin 127.0.0.1:15000\n  \
                       meshctl proxy-config listener --file dump.json     a dump saved before",
        after_help = WHICH_MESH
    )]
    ProxyConfig(ProxyConfigArguments),
    /// Show who calls whom: rate, errors, latency and mutual TLS of every edge.
    #[command(
        before_help = "Examples:\n  meshctl graph\n  meshctl graph -o json | jq '.edges'\n  meshctl graph --context prod",
        after_help = WHICH_MESH
    )]
    Graph {
        #[command(flatten)]
        target: TargetArguments,
        /// Address of telemetry, instead of a mesh.
        #[arg(long, value_name = "HOST:PORT")]
        telemetry: Option<String>,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Open the page of the mesh, or the admin pages of a proxy, in a browser.
    #[command(
        before_help = "Examples:\n  meshctl dashboard                       graph and traces of the mesh\n  \
                       meshctl dashboard caller                admin pages of a proxy\n  \
                       meshctl dashboard --context prod --no-browser --port 0",
        after_help = WHICH_MESH
    )]
    Dashboard(DashboardArguments),
    /// Print the logs of the control plane, or of proxies and programs.
    #[command(
        before_help = "Examples:\n  meshctl logs                            the control plane\n  \
                       meshctl logs pilot -f --tail 20         one part of it, and what follows\n  \
                       meshctl logs caller.prod                the proxies of a workload\n  \
                       meshctl logs caller -c app --previous   another container, before it was restarted",
        after_help = WHICH_MESH
    )]
    Logs(LogsArguments),
    /// Install the mesh in a Kubernetes cluster. Doing it again changes nothing.
    #[command(
        before_help = "Examples:\n  meshctl install\n  meshctl install --set profile=demo --set \
                       hub=registry.example.com/weft --set tag=1.0\n  \
                       meshctl install --revision canary            a second control plane beside the first",
        after_help = "Values are those of `meshctl manifest generate`. Before anything is changed the cluster is asked \
                      whether it can be installed to."
    )]
    Install(InstallArguments),
    /// Bring an installed mesh to the version of this meshctl.
    #[command(
        before_help = "Examples:\n  meshctl upgrade                              in place, with the values that it \
                       has\n  meshctl upgrade --set tag=1.1                the same with other images\n  \
                       meshctl upgrade --revision 1-1               beside the old one, namespace by namespace",
        after_help = "Values that the installation was given stay, `--set` and `-f` change them; `--reset-values` \
                      starts from the profile again.\nWhat the values no longer have is removed."
    )]
    Upgrade(UpgradeArguments),
    /// Take the mesh out of a Kubernetes cluster.
    #[command(
        before_help = "Examples:\n  meshctl uninstall                            keeps definitions, their objects and \
                       the root certificate\n  meshctl uninstall --purge                    leaves nothing\n  \
                       meshctl uninstall --revision canary          only one control plane"
    )]
    Uninstall(UninstallArguments),
    /// Print the Kubernetes objects of an installation without asking a server.
    #[command(
        before_help = "Examples:\n  meshctl manifest generate --set profile=demo > mesh.yaml\n  meshctl manifest crds > crds.yaml"
    )]
    Manifest {
        #[command(subcommand)]
        verb: ManifestVerb,
    },
    /// Check a cluster before an installation, or a mesh that runs. Exit code 79 if something is wrong.
    #[command(
        before_help = "Examples:\n  meshctl check --pre                          can this cluster be installed to?\n  \
                       meshctl check                                is the mesh well?\n  \
                       meshctl check -i mesh-system                 one whose control plane is in another \
                       namespace\n  meshctl check --wait 2m -o json",
        after_help = WHICH_MESH
    )]
    Check(CheckArguments),
    /// Add the proxy to the pods of Kubernetes YAML; everything else passes unchanged.
    #[command(
        before_help = "Examples:\n  meshctl inject -f app.yaml | kubectl apply -f -\n  \
                       kustomize build . | meshctl inject -f - > injected.yaml\n  \
                       meshctl inject -f app.yaml --settings injector.yaml",
        after_help = "Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Lists of them get \
                      the proxy. It is the code of the\n\
                      webhook, so annotations mean the same; a value that is not valid ends the command with exit \
                      code 65."
    )]
    Inject(InjectArguments),
    /// Show the version of meshctl and of the mesh that runs.
    #[command(
        before_help = "Examples:\n  meshctl version\n  meshctl version --client                of meshctl alone, asks \
                       nobody\n  meshctl version -o json",
        after_help = WHICH_MESH
    )]
    Version {
        #[command(flatten)]
        target: TargetArguments,
        /// Only the version of meshctl.
        #[arg(long)]
        client: bool,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Print the script that completes verbs and flags in a shell.
    #[command(
        before_help = "Examples:\n  source <(meshctl completion bash)\n  meshctl completion zsh > ~/.zfunc/_meshctl"
    )]
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Become a program whose life is tied to that of a running `up`.
    #[command(name = crate::up::lifeline::VERB, hide = true)]
    InternalExec {
        /// Process id of the caller.
        #[arg(long)]
        parent: i32,
        /// Program and arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_help_opens_with_examples() {
        let mut all = vec![Arguments::command()];
        all.extend(
            Arguments::command()
                .get_subcommands()
                .filter(|verb| !verb.is_hide_set())
                .cloned(),
        );
        for mut command in all {
            let help = command.render_long_help().to_string();
            assert!(help.starts_with("Examples:"), "{}: {help}", command.get_name());
        }
    }
}
