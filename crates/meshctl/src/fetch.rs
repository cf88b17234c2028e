//! One HTTP GET to a process of the mesh, over TCP or through the API server of a cluster.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::pod_port::{PodConnection, PodPort};

/// Largest answer that is read; a configuration dump of a big mesh has tens of megabytes.
const ANSWER_BYTES: usize = 512 << 20;

/// How long the reason of a broken stream may come after its end.
const REASON: Duration = Duration::from_secs(1);

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Who is asked.
#[derive(Clone)]
pub(crate) enum Server {
    /// `host:port`.
    Address(String),
    /// A port of a pod, loopback included.
    Pod(PodPort),
}

// === impl Server ===

impl Server {
    /// Sends `GET path` on a connection of its own and reads the whole answer.
    pub(crate) async fn get(&self, path: &str, deadline: Duration) -> anyhow::Result<Answer> {
        tokio::time::timeout(deadline, self.ask(path))
            .await
            .with_context(|| format!("{self}{path}: no answer within {deadline:?}"))?
            .with_context(|| format!("{self}{path}"))
    }

    /// [`Self::get`] for pages that answer 200; anything else is an error with the text of the answer.
    pub(crate) async fn get_page(&self, path: &str, deadline: Duration) -> anyhow::Result<Bytes> {
        let answer = self.get(path, deadline).await?;
        if answer.status != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
            bail!("{self}{path}: {} {text}", answer.status);
        }
        Ok(answer.body)
    }

    /// [`Self::get_page`] for pages of JSON.
    pub(crate) async fn get_json(&self, path: &str, deadline: Duration) -> anyhow::Result<Value> {
        let body = self.get_page(path, deadline).await?;
        serde_json::from_slice(&body).with_context(|| format!("{self}{path}: the answer is not JSON"))
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        match self {
            Self::Address(address) => {
                let stream = TcpStream::connect(address).await.context("cannot connect")?;
                exchange(stream, address, path).await
            }
            Self::Pod(port) => {
                let PodConnection {
                    stream,
                    refusal,
                    _guard,
                } = port.connect().await?;
                let mut refusal = std::pin::pin!(refusal.fuse());
                let answer = tokio::select! {
                    Some(text) = &mut refusal => bail!("{text}"),
                    answer = exchange(stream, "localhost", path) => answer,
                };
                if answer.is_err() && !refusal.is_terminated() {
                    // The stream ends beside the message that says why.
                    if let Ok(Some(text)) = tokio::time::timeout(REASON, refusal).await {
                        bail!("{text}");
                    }
                }
                answer
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "http://{address}"),
            Self::Pod(port) => write!(f, "{port}"),
        }
    }
}

/// [`Server::get`] of `host:port`.
pub(crate) async fn get(address: &str, path: &str, deadline: Duration) -> anyhow::Result<Answer> {
    Server::Address(address.to_owned()).get(path, deadline).await
}

/// [`Server::get_json`] of `host:port`.
pub(crate) async fn get_json(address: &str, path: &str, deadline: Duration) -> anyhow::Result<Value> {
    Server::Address(address.to_owned()).get_json(path, deadline).await
}

async fn exchange<S>(stream: S, host: &str, path: &str) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("cannot read the answer: {error}"))?;
        anyhow::Ok(Answer {
            status: parts.status,
            body: body.to_bytes(),
        })
    };
    // The connection makes progress only while it is polled; when it ends first, the answer holds the result.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        ended = connection => ended?,
    }
    answer.await
}
