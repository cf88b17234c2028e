//! The Kubernetes cluster that a verb works on: where it is, how kinds are asked for, what state pods are in.

mod components;
mod control_plane;
mod forward;
mod kinds;
mod pods;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

pub(crate) use self::components::{Component, components};
pub(crate) use self::control_plane::{ControlPlane, PROXY_CONTAINER, PodName, containers};
pub(crate) use self::forward::{PodConnection, PodPort};
pub(crate) use self::kinds::{Installed, KINDS, api_of};
pub(crate) use self::pods::trouble;

/// Which cluster, as with kubectl.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClusterArguments {
    /// The kubeconfig file; otherwise KUBECONFIG, then ~/.kube/config, then the pod that this runs in.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file; otherwise its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

// === impl ClusterArguments ===

impl ClusterArguments {
    /// A client of the cluster. Nothing is asked yet.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        weft_base::tls::install_provider();
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("cannot use {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer()
                .await
                .context("no cluster: give --kubeconfig, or set KUBECONFIG")?,
        };
        Ok(Client::try_from(config)?)
    }
}
