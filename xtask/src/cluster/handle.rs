//! A cluster of either provider, for verbs that work with one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::{Provider, kind, local};
use crate::{process, workspace};

/// A cluster that is there or can be made.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    provider: Provider,
    layout: Layout,
}

// === impl Cluster ===

impl Cluster {
    /// The provider asked for; else the one whose cluster is there; else what can run here, said on stderr if `tell`.
    pub(crate) fn new(name: &str, provider: Option<Provider>, tell: bool) -> Result<Self> {
        let layout = Layout::new(name)?;
        let provider = match provider {
            Some(provider) => provider,
            None if layout.state().exists() => Provider::Local,
            None => match kind::usable() {
                Ok(()) => Provider::Kind,
                Err(reason) => {
                    if tell {
                        eprintln!("cluster: not kind, {reason}: using local");
                    }
                    Provider::Local
                }
            },
        };
        Ok(Self { provider, layout })
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// Whether it can run here; if not, what is missing, in one line.
    pub(crate) fn possible(&self) -> Result<()> {
        match self.provider {
            Provider::Local => local::possible(),
            Provider::Kind => kind::usable().map_err(anyhow::Error::msg),
        }
    }

    pub(crate) fn up(&self, nodes: u8) -> Result<()> {
        match self.provider {
            Provider::Local => local::up(&self.layout, nodes),
            Provider::Kind => kind::up(&self.layout, nodes),
        }
    }

    pub(crate) fn down(&self) -> Result<()> {
        match self.provider {
            Provider::Local => local::down(&self.layout),
            Provider::Kind => kind::down(&self.layout),
        }
    }

    pub(crate) fn kubeconfig(&self) -> Result<PathBuf> {
        match self.provider {
            Provider::Local => local::kubeconfig(&self.layout),
            Provider::Kind => kind::kubeconfig(&self.layout),
        }
    }

    /// `kubectl` against it.
    pub(crate) fn kubectl(&self) -> Result<Command> {
        let program = match self.provider {
            Provider::Local => local::programs(&self.layout)?.join("kubectl"),
            Provider::Kind => workspace::on_path("kubectl").context("kubectl is needed on PATH")?,
        };
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(self.kubeconfig()?);
        Ok(command)
    }

    /// Gives image archives to every node.
    pub(crate) fn load(&self, archives: &[PathBuf]) -> Result<()> {
        match self.provider {
            Provider::Local => local::load_images(&self.layout, archives),
            Provider::Kind => kind::load(&self.layout, archives),
        }
    }

    pub(crate) fn stop_node(&self, number: u8) -> Result<()> {
        match self.provider {
            Provider::Local => local::stop_node(&self.layout, number),
            Provider::Kind => kind::node(&self.layout, number, "stop"),
        }
    }

    pub(crate) fn start_node(&self, number: u8) -> Result<()> {
        match self.provider {
            Provider::Local => local::start_node(&self.layout, number),
            Provider::Kind => kind::node(&self.layout, number, "start"),
        }
    }

    /// How a node's kube-proxy says that it carries Services; only for the local provider.
    pub(crate) fn proxy_mode(&self, number: u8) -> Result<String> {
        let node = self.layout.node(number);
        let mut curl = super::network::inside(&node.namespace, "curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "5"]);
        process::output(curl.arg("http://127.0.0.1:10249/proxyMode")).map(|mode| mode.trim().to_owned())
    }

    /// Ends the API server by force; it is started again by itself.
    pub(crate) fn end_api(&self) -> Result<()> {
        match self.provider {
            Provider::Local => local::end_api(&self.layout),
            Provider::Kind => kind::end_api(&self.layout),
        }
    }

    /// A command in the network outside the cluster that its pods can reach; only the local provider has one.
    pub(crate) fn outside(&self, program: &Path) -> Option<Command> {
        let program = program.to_string_lossy();
        (self.provider == Provider::Local).then(|| super::network::inside(&self.layout.fabric(), &program))
    }
}
