//! The Kubernetes cluster that a verb works on: where it is, how kinds are asked for, what state pods are in.

mod components;
mod control_plane;
mod kinds;
mod pods;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

use crate::exit::Failure;

pub(crate) use self::components::{Component, components};
pub(crate) use self::control_plane::{ControlPlane, PROXY_CONTAINER, PodName, containers, owner};
pub(crate) use self::kinds::{Installed, KINDS, api_of};
pub(crate) use self::pods::{stuck, trouble, trouble_of};

/// Objects of one answer of the server.
const PAGE: u32 = 500;

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
            Some(path) => of_file(path, &options).await?,
            None => of_environment(&options).await?,
        };
        Ok(Client::try_from(config)?)
    }
}

/// The cluster of a file that was named.
async fn of_file(path: &Path, options: &KubeConfigOptions) -> anyhow::Result<Config> {
    let cannot = |error: KubeconfigError| {
        let text = format!("cannot use the kubeconfig {}: {}", path.display(), reason(&error));
        if matches!(error, KubeconfigError::ReadConfig(..) | KubeconfigError::Parse(_)) {
            anyhow!(Failure::bad_data(text))
        } else {
            anyhow!(text)
        }
    };
    let file = Kubeconfig::read_from(path).map_err(cannot)?;
    Config::from_custom_kubeconfig(file, options).await.map_err(cannot)
}

/// The cluster that kubectl would take without being told: of `KUBECONFIG`, of `~/.kube/config`, or the one that this runs in.
async fn of_environment(options: &KubeConfigOptions) -> anyhow::Result<Config> {
    let error = match Config::from_kubeconfig(options).await {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    if options.context.is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok(config);
    }
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    match (named, &error) {
        (None, KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath) => Err(anyhow!(
            "no cluster is known: there is no ~/.kube/config, and this runs in no pod; name a kubeconfig by --kubeconfig or \
             KUBECONFIG"
        )),
        (None, error) => Err(anyhow!("cannot use ~/.kube/config: {}", reason(error))),
        (Some(named), error) => {
            let named = named.to_string_lossy();
            Err(anyhow!("cannot use KUBECONFIG ({named}): {}", reason(error)))
        }
    }
}

/// What is wrong with a kubeconfig, without the name of the file, which is said beside it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the crate's own words are good for what is not named here, later variants included"
)]
fn reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name}"),
        KubeconfigError::CurrentContextNotSet => "it has no current context; name one by --context".to_owned(),
        other => other.to_string(),
    }
}

/// All objects of a kind in all namespaces, a page after the other.
pub(crate) async fn all<K>(client: &Client) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let list = api
            .list(&page)
            .await
            .with_context(|| format!("cannot list {}", K::plural(&())))?;
        found.extend(list.items);
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(found),
        }
    }
}
