//! An HTTP/1.1 client that sends everything through one forward proxy, as `http_proxy` asks, over kept connections.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many idle connections are kept.
const IDLE: usize = 64;

/// Largest answer that is read.
const ANSWER_BYTES: usize = 1 << 20;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(70);

type Sender = SendRequest<Empty<Bytes>>;

/// The client; without a proxy it connects to each URL's own host.
#[derive(Debug)]
pub(crate) struct Client {
    proxy: Option<String>,
    idle: Mutex<Vec<(String, Sender)>>,
    connections: Mutex<JoinSet<()>>,
}

// === impl Client ===

impl Client {
    /// `proxy` is a URL such as `http://127.0.0.1:15001`.
    pub(crate) fn new(proxy: Option<&str>) -> anyhow::Result<Self> {
        let proxy = proxy.filter(|text| !text.is_empty()).map(peer_of_proxy).transpose()?;
        Ok(Self {
            proxy,
            idle: Mutex::default(),
            connections: Mutex::default(),
        })
    }

    /// Sends a request whose URI is absolute and reads the whole answer.
    pub(crate) async fn call(&self, request: Request<Empty<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        tokio::time::timeout(CALL, self.exchange(request))
            .await
            .with_context(|| format!("no answer within {} s", CALL.as_secs()))?
    }

    async fn exchange(&self, mut request: Request<Empty<Bytes>>) -> anyhow::Result<Response<Bytes>> {
        let authority = request.uri().authority().context("the URL has no host")?.clone();
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(authority.as_str())?);
        let peer = match &self.proxy {
            // A forward proxy gets the absolute form (RFC 9112 section 3.2.2).
            Some(proxy) => proxy.clone(),
            None => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
                format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80))
            }
        };
        match self.take(&peer) {
            // The other side may close an idle connection at the moment it is used; a GET can simply be sent again.
            Some(reused) => match self.send(&peer, reused, request.clone()).await {
                Err(_) => self.send(&peer, self.connect(&peer).await?, request).await,
                answer => answer,
            },
            None => self.send(&peer, self.connect(&peer).await?, request).await,
        }
    }

    async fn send(
        &self,
        peer: &str,
        mut sender: Sender,
        request: Request<Empty<Bytes>>,
    ) -> anyhow::Result<Response<Bytes>> {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!("cannot read the answer: {error}"))?
            .to_bytes();
        self.keep(peer.to_owned(), sender);
        Ok(Response::from_parts(parts, body))
    }

    fn take(&self, peer: &str) -> Option<Sender> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, sender)| !sender.is_closed());
        let index = idle.iter().rposition(|(to, sender)| to == peer && sender.is_ready())?;
        Some(idle.swap_remove(index).1)
    }

    fn keep(&self, peer: String, sender: Sender) {
        let mut idle = self.idle.lock();
        if !sender.is_closed() && idle.len() < IDLE {
            idle.push((peer, sender));
        }
    }

    async fn connect(&self, peer: &str) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(peer)
            .await
            .with_context(|| format!("cannot connect to {peer}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut connections = self.connections.lock();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            // A broken connection shows as the error of the request on it.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

fn peer_of_proxy(text: &str) -> anyhow::Result<String> {
    let uri: Uri = text
        .parse()
        .with_context(|| format!("http_proxy={text} is not a URL"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        bail!("http_proxy={text} must look like http://127.0.0.1:15001");
    };
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_http_urls() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(peer_of_proxy(text).ok().as_deref(), expected, "{text}");
        }
        check("http://127.0.0.1:15001", Some("127.0.0.1:15001"));
        check("http://proxy/", Some("proxy:80"));
        check("https://proxy", None);
        check("127.0.0.1:15001", None);
        check("/", None);
    }
}
