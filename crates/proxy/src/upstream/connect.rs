//! Connecting to an endpoint: socket, options, TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::endpoint::Endpoint;
use crate::error::{ErrorKind, ProxyError};
use crate::model::cluster::{Cluster, EndpointAddress};
use crate::stream::Stream;
use crate::tls::asked::Asked;

/// Connects to an endpoint within the cluster's connect timeout, TLS included. `asked` is what a request wants of it.
pub(crate) async fn to_endpoint(
    cluster: &Cluster,
    endpoint: &Endpoint,
    asked: Option<&Asked>,
) -> Result<Stream, ProxyError> {
    with_protocols(cluster, endpoint, asked, &[]).await
}

/// The same, offering other protocols by ALPN than the cluster's; none leaves the cluster's.
pub(crate) async fn with_protocols(
    cluster: &Cluster,
    endpoint: &Endpoint,
    asked: Option<&Asked>,
    protocols: &[Arc<str>],
) -> Result<Stream, ProxyError> {
    let connecting = async {
        match &endpoint.model.address {
            EndpointAddress::Socket(address) => {
                let socket = tcp(cluster, *address).await.map_err(|error| connect_error(&error))?;
                let Some(context) = &endpoint.tls else {
                    return Ok(Stream::from(socket));
                };
                let secured = context
                    .connect(socket, &endpoint.model.hostname, asked, protocols)
                    .await;
                secured.map_err(|error| ProxyError::because(ErrorKind::TlsFailed, error))
            }
            EndpointAddress::Pipe(path) => {
                let socket = UnixStream::connect(path).await;
                socket.map(Stream::Unix).map_err(|error| connect_error(&error))
            }
        }
    };
    within(cluster.connect_timeout, connecting).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, ProxyError>>) -> Result<T, ProxyError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(ErrorKind::ConnectTimeout.into()),
    }
}

async fn tcp(cluster: &Cluster, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let mut sources = cluster.bind_addresses.iter();
    if let Some(first) = cluster.bind_addresses.first() {
        // With none of the family, binding to the other's fails: a connection must not leave from where it should not.
        let source = sources
            .find(|source| source.is_ipv4() == address.is_ipv4())
            .unwrap_or(first);
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    let socket = socket.connect(address).await?;
    socket.set_nodelay(true)?;
    if let Some(keepalive) = cluster.keepalive {
        let mut options = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            options = options.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            options = options.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            options = options.with_retries(probes);
        }
        SockRef::from(&socket).set_tcp_keepalive(&options)?;
    }
    Ok(socket)
}

fn connect_error(error: &std::io::Error) -> ProxyError {
    ProxyError::because(ErrorKind::ConnectFailed, format!("delayed connect error: {error}"))
}
