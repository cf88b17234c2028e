//! Channels for gRPC to services of the proxy's own: collectors and discovery, which are clusters of the running configuration like
//! any other.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint as Dial};

use super::connect;
use super::directory::ClusterDirectory;

/// Why a service is not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The configuration has no such cluster.
    #[error("cluster {0:?} does not exist")]
    NoCluster(Arc<str>),
    /// The cluster has no endpoint.
    #[error("cluster {0:?} has no endpoint")]
    NoEndpoint(Arc<str>),
    /// The endpoint does not take the connection.
    #[error("cannot connect: {0}")]
    Connect(String),
}

/// Connects to one of the endpoints of a cluster, whatever they are now, over HTTP/2 and with the TLS of the cluster. `options` has the
/// origin, too.
pub(crate) async fn dial(clusters: &ClusterDirectory, name: &Arc<str>, options: Dial) -> Result<Channel, DialError> {
    let cluster = clusters.get(name).ok_or_else(|| DialError::NoCluster(name.clone()))?;
    let endpoint = cluster.endpoint(&[], 0, || fastrand::u64(..)).await;
    let endpoint = endpoint.ok_or_else(|| DialError::NoEndpoint(name.clone()))?;
    let connector = tower::service_fn(move |_: http::Uri| {
        let (cluster, endpoint) = (cluster.clone(), endpoint.clone());
        async move {
            connect::to_endpoint(&cluster.model, &endpoint, None)
                .await
                .map(TokioIo::new)
        }
    });
    let connected = options.connect_with_connector(connector).await;
    connected.map_err(|error| DialError::Connect(weft_base::grpc_tls::chain_of(&error)))
}
