//! What the control plane needs of a Kubernetes API server: the connection, who of several replicas leads, and whose token
//! a token is. Only with feature `kubernetes`, which data planes do not have.

pub mod leader;
pub mod token;

use std::time::Duration;

use kube::Client;

/// Labels of everything that belongs to an installation; uninstalling finds things by them.
pub const OWNED: [(&str, &str); 2] = [
    ("app.kubernetes.io/part-of", "weft"),
    ("app.kubernetes.io/managed-by", "meshctl"),
];

/// A connection on which nothing came for so long leads nowhere.
const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// Why there is no connection to an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says where the server is.
    #[error("no Kubernetes API server: set KUBECONFIG, or run in a pod with a service account ({0})")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration is not usable.
    #[error("cannot use the configuration of the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
}

/// The API server of `KUBECONFIG`, of `~/.kube/config`, or of the pod that this runs in.
pub async fn connect() -> Result<Client, ConnectError> {
    crate::tls::install_provider();
    let mut config = kube::Config::infer().await?;
    // Watches are quiet for that long at most: the server ends them before.
    config.read_timeout = Some(READ_TIMEOUT);
    tracing::info!(server = %config.cluster_url, "using Kubernetes");
    Ok(Client::try_from(config)?)
}

/// Whether the server answered with this HTTP status.
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
