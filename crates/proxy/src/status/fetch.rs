//! One HTTP request to the application, bounded in time and size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use weft_base::verify::Verifier;

use super::place::Place;
use crate::tls::verify::ServerRules;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub place: Place,
    /// HTTPS; whose certificate it is does not matter, since the pod is one's own (as for Kubernetes' probes).
    pub tls: bool,
    /// Path with query.
    pub path: PathAndQuery,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is too large or broken.
    #[error("body: {0}")]
    Body(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Sends a request without a body, and gives status and body of the answer.
pub(super) async fn fetch(
    target: &Target,
    method: &Method,
    headers: HeaderMap,
    bytes_max: usize,
    limit: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let exchange = async {
        let address = target.place.address();
        let socket = target.place.connect().await;
        let socket = socket.map_err(|error| FetchError::Connect(address, error))?;
        if !target.tls {
            return exchange(socket, target, method, headers, bytes_max).await;
        }
        let name = ServerName::IpAddress(address.ip().into());
        let secure = TlsConnector::from(Arc::new(tls()?)).connect(name, socket).await;
        let secure = secure.map_err(|error| FetchError::Tls(error.to_string()))?;
        exchange(secure, target, method, headers, bytes_max).await
    };
    let answered = tokio::time::timeout(limit, exchange).await;
    answered.unwrap_or(Err(FetchError::TimedOut(limit)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    method: &Method,
    headers: HeaderMap,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), FetchError> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = Uri::from(target.path.clone());
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Ok(host) = HeaderValue::try_from(target.place.address().to_string())
        && !headers.contains_key(header::HOST)
    {
        headers.insert(header::HOST, host);
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| FetchError::Body(error.to_string()))?;
        Ok((parts.status, body.to_bytes()))
    };
    tokio::pin!(answer);
    // The connection moves the bytes while the answer is waited for; its own end is none of the answer's.
    tokio::select! {
        answer = &mut answer => return answer,
        _ = connection => {}
    }
    answer.await
}

fn tls() -> Result<ClientConfig, FetchError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let rules = ServerRules {
        roots: None,
        names: Vec::new(),
        check_server_name: false,
    };
    let verifier = Verifier::new(rules, &provider);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Tls(error.to_string()))?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}
