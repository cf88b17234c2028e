//! One HTTP GET to a process of the mesh.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Largest answer that is read; a configuration dump of a big mesh has tens of megabytes.
const ANSWER_BYTES: usize = 512 << 20;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Sends `GET path` to `address` (`host:port`) on a connection of its own and reads the whole answer.
pub(crate) async fn get(address: &str, path: &str, deadline: Duration) -> anyhow::Result<Answer> {
    tokio::time::timeout(deadline, exchange(address, path))
        .await
        .with_context(|| format!("http://{address}{path}: no answer within {deadline:?}"))?
        .with_context(|| format!("http://{address}{path}"))
}

/// [`get`] for pages that answer 200 with JSON.
pub(crate) async fn get_json(address: &str, path: &str, deadline: Duration) -> anyhow::Result<Value> {
    let answer = get(address, path, deadline).await?;
    if answer.status != StatusCode::OK {
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        bail!("http://{address}{path}: {} {text}", answer.status);
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("http://{address}{path}: the answer is not JSON"))
}

async fn exchange(address: &str, path: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, address)
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
