//! gRPC over mesh TLS: a server's side, an acceptor whose certificate can change while it serves, and a connector.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

use crate::accept::{self, Greeted};
use crate::identity::SpiffeId;
use crate::shutdown::Shutdown;
use crate::spiffe;
use crate::tls::{self, PemError};

/// Longest connect, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is at the other end of a server's connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    /// Its identity, where it showed a certificate.
    pub identity: Option<SpiffeId>,
}

/// A connection that finished its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: Greeted<TlsStream<TcpStream>>,
    peer: Peer,
}

/// Why a connection to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `host:port`.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// It could not be reached or did not prove who it is.
    #[error("cannot connect to {address}: {reason}")]
    Transport { address: String, reason: String },
}

/// Why a server's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    /// The certificate or its key cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// They do not go together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// The server's side of mesh TLS: its chain and key in PEM, and who verifies its clients. Sessions are not resumed, since they would
/// outlive a change of the roots.
pub fn server_config(
    chain_pem: &str,
    key_pem: &str,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let chain = tls::certificates(chain_pem.as_bytes())?;
    let key = tls::private_key(key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Accepts connections and hands those on whose handshake succeeded. The configuration in `config` is used for each new one; while
/// there is none, connections wait.
pub fn incoming(
    listener: TcpListener,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
    shutdown: &Shutdown,
) -> ReceiverStream<io::Result<Connection>> {
    let mut first = config.clone();
    let ready = async move { first.wait_for(Option::is_some).await.is_ok() };
    let greet = move |socket, addr| {
        let current = config.borrow().clone();
        async move {
            let current = current.ok_or(io::ErrorKind::NotConnected)?;
            handshake(socket, addr, current).await
        }
    };
    accept::greeted(listener, ready, greet, shutdown)
}

async fn handshake(socket: TcpStream, addr: SocketAddr, config: Arc<ServerConfig>) -> io::Result<Connection> {
    socket.set_nodelay(true)?;
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    let stream = accept::first_bytes(stream).await?;
    let session = stream.get_ref().get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let identity = certificate.and_then(|certificate| spiffe::identity_of(certificate).ok());
    Ok(Connection {
        stream,
        peer: Peer { addr, identity },
    })
}

/// Connects a gRPC channel to `host:port` over TLS.
pub async fn connect(address: &str, config: Arc<ClientConfig>) -> Result<Channel, ConnectError> {
    let bad_address = || ConnectError::Address(address.to_owned());
    let (host, _) = address.rsplit_once(':').ok_or_else(bad_address)?;
    let name =
        rustls::pki_types::ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| bad_address())?;
    // The connector does TLS itself, so the scheme must not make tonic do it again.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| bad_address())?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let target = address.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (target, name, config) = (target.clone(), name.clone(), config.clone());
        async move {
            let socket = TcpStream::connect(&target).await?;
            socket.set_nodelay(true)?;
            let stream = TlsConnector::from(config).connect(name, socket).await?;
            io::Result::Ok(TokioIo::new(stream))
        }
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectError::Transport {
            address: address.to_owned(),
            reason: chain_of(&error),
        })
}

/// An error with its causes, which tonic keeps apart.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
