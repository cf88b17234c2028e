//! Questions of filters to services, over the connections that requests use.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::HeaderMap;
use tokio::time::Instant;

use super::message;
use crate::error::{ErrorKind, ProxyError};
use crate::filters::ask::{Answered, Asking, NoAnswer, Question, Services};
use crate::model::cluster::UpstreamProtocol;
use crate::pool::Wanted;
use crate::pool::answer_body::AnswerBody;
use crate::pool::connection::SendError;
use crate::pool::request_body::RequestBody;
use crate::stream_info::request::{RequestHead, Scheme};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::limits::Resource;
use crate::upstream::outlier::Report;
use crate::worker::Worker;

// === impl Worker ===

impl Services for Worker {
    fn ask(&self, question: Question) -> Asking<'_> {
        Box::pin(async move {
            let timeout = question.timeout;
            let asking = ask(self, question);
            if timeout.is_zero() {
                return asking.await;
            }
            tokio::time::timeout(timeout, asking)
                .await
                .unwrap_or(Err(NoAnswer::TimedOut))
        })
    }
}

async fn ask(worker: &Worker, question: Question) -> Result<Answered, NoAnswer> {
    let Some(cluster) = worker.runtime.clusters().get(&question.cluster) else {
        return Err(NoAnswer::NoCluster);
    };
    if question.grpc && matches!(cluster.model.protocol, UpstreamProtocol::Http1(_)) {
        return Err(NoAnswer::NoHttp2);
    }
    let Some(endpoint) = cluster.endpoint(&[], 0, || worker.random()).await else {
        return Err(NoAnswer::Failed(ErrorKind::NoHealthyUpstream));
    };
    let answer_bytes_max = question.answer_bytes_max;
    let (head, body) = head_of(question, endpoint.tls.is_some());
    let sent = send(worker, &cluster, &endpoint, &head, body).await;
    let report = match &sent {
        Ok(response) => Report::Status(response.status().as_u16()),
        Err(_) => Report::Failed,
    };
    cluster.report(&endpoint, report, Instant::now(), || worker.random());
    let (parts, body) = sent.map_err(|error| NoAnswer::Failed(error.kind))?.into_parts();
    let (body, trailers) = collect(body, answer_bytes_max).await?;
    Ok(Answered {
        status: parts.status,
        headers: parts.headers,
        body,
        trailers,
    })
}

fn head_of(question: Question, secured: bool) -> (RequestHead, Bytes) {
    let head = RequestHead {
        method: question.method,
        scheme: if secured { Scheme::Https } else { Scheme::Http },
        authority: question.authority,
        path: question.path,
        headers: question.headers,
        version: Version::HTTP_11,
        grpc: question.grpc,
        grpc_upstream: question.grpc,
        upgrade: None,
    };
    (head, question.body)
}

/// Sends a question; a connection that its peer closed just as it was taken is replaced once.
async fn send(
    worker: &Worker,
    cluster: &Arc<Cluster>,
    endpoint: &Arc<Endpoint>,
    head: &RequestHead,
    body: Bytes,
) -> Result<http::Response<AnswerBody>, ProxyError> {
    let asked = message::asked_of(cluster, endpoint, head);
    let mut fresh = false;
    loop {
        let wanted = Wanted {
            asked: asked.as_ref(),
            fresh,
            downstream_http2: head.grpc,
            auto_http2: head.grpc,
        };
        let lent = worker.pools.get(cluster, endpoint, wanted).await?;
        let counted = cluster.state.take(Resource::Request, &cluster.model.limits);
        let Some(counted) = counted else {
            lent.give_back(cluster);
            return Err(ErrorKind::Overflow.into());
        };
        let own = RequestBody::own(body.clone());
        let message = message::build(head, None, 0, lent.connection.is_http2(), own).map_err(ProxyError::from)?;
        let reused = lent.reused;
        match lent.send(&head.path, message, cluster, counted, None).await {
            Ok(response) => return Ok(response),
            Err(SendError { request: Some(_), .. }) if reused && !fresh => fresh = true,
            Err(SendError {
                kind: ErrorKind::ConnectionTerminated,
                ..
            }) if reused && !fresh => fresh = true,
            Err(SendError { kind, reason, .. }) => return Err(ProxyError::because(kind, &reason)),
        }
    }
}

async fn collect(mut body: AnswerBody, bytes_max: usize) -> Result<(Bytes, HeaderMap), NoAnswer> {
    let mut all = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        match frame.map_err(|_| NoAnswer::Broken)?.into_data() {
            Ok(data) if all.len() + data.len() > bytes_max => return Err(NoAnswer::TooLarge),
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((all.freeze(), trailers))
}
