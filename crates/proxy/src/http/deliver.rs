//! The way back: an upstream's answer as the client gets it, and tunnels.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::response::Parts;
use http::{StatusCode, Version};
use tokio::time::Instant;

use super::attempt::Answer;
use super::body::ResponseBody;
use super::context::RequestContext;
use super::exchange::Exchange;
use super::reply::{Reply, ReplyBody};
use super::timeouts::TimeLimits;
use super::tunnel::{Tunnel, TunnelKind};
use super::upgrade::{CONNECT, ClientSwitch};
use super::upstream_body::{BodyLimits, UpstreamBody};
use super::{message, respond};
use crate::error::ErrorKind;
use crate::http1::framing::is_bodiless;
use crate::pool::switched::Switched;
use crate::runtime::routes::Chosen;
use crate::stream::Rewound;
use crate::stream_info::header_names;
use crate::stream_info::request::RequestHead;
use crate::upstream::cluster::Cluster;

/// Turns an upstream's answer into the client's.
pub fn pass_on(
    exchange: &Exchange,
    chosen: &Chosen,
    answer: Answer,
    head: &RequestHead,
    client: ClientSwitch,
    mut context: Box<RequestContext>,
    limits: &TimeLimits,
) -> Reply {
    let Answer { mut response, .. } = answer;
    context.info.response_began_at = Some(Instant::now());
    context.interim = None;
    context.info.details = Some("via_upstream".into());
    let host = exchange.routes.host(exchange.host_index);
    let levels = chosen.header_changes(&exchange.routes);
    let offered = head.upgrade.as_ref();
    let switched_to = offered.and_then(|_| response.headers().get(header::UPGRADE).cloned());
    // Of an answer before the request's end there is no time that the upstream took.
    let times = offered.is_none() && context.progress.done_at.get().is_some();
    if !exchange.manager.model.suppress_envoy_headers && times {
        let millis = context.info.millis_to(context.info.response_began_at).unwrap_or(0);
        response
            .headers_mut()
            .insert(header_names::SERVICE_TIME, HeaderValue::from(millis));
    }
    respond::head(response.status(), response.headers(), &mut context);
    let attempts = host.include_attempt_count_in_response.then_some(context.info.attempts);
    respond::from_upstream(response.headers_mut(), head, &levels, attempts, &context);
    let (mut parts, incoming) = response.into_parts();
    parts.version = if exchange.http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    let incoming = match incoming.into_switched() {
        Ok(upstream) => {
            if let Some(protocol) = offered.filter(|protocol| &***protocol != CONNECT) {
                as_switch(&mut parts, protocol, switched_to);
            }
            let tunnel = Tunnel {
                client,
                upstream,
                kind: TunnelKind::Upstream,
                limits: limits.of_tunnel(context.info.started_at),
                context,
            };
            return Reply::from_parts(parts, ReplyBody::Tunnel(Box::new(tunnel)));
        }
        Err(incoming) => incoming,
    };
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return respond::failure(&ErrorKind::UpstreamProtocol.into(), head.grpc, context);
    }
    if parts.status.is_success() && matches!(client, ClientSwitch::Http2(_)) {
        return declined(parts, context);
    }
    let arrived = context.progress.done_at.get().unwrap_or_else(Instant::now);
    let due = limits.answer_due(context.info.started_at, arrived);
    let limits = BodyLimits {
        idle: limits.idle,
        due,
        silence: limits.tries(exchange.policy()).idle,
    };
    let barren = is_bodiless(&head.method, parts.status);
    let body = UpstreamBody::new(incoming, context, limits, &chosen.cluster, barren);
    Reply::from_parts(parts, ReplyBody::Body(ResponseBody::Upstream(body)))
}

/// Makes the head of an answer that of a switch, whatever it was upstream.
fn as_switch(parts: &mut Parts, asked: &str, named: Option<HeaderValue>) {
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    parts
        .headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = named.or_else(|| HeaderValue::from_str(asked).ok()) {
        parts.headers.insert(header::UPGRADE, protocol);
    }
}

/// A success that is no switch: over HTTP/2 it would be taken for one. The tunnel ends at once, as Envoy's does.
fn declined(mut parts: Parts, mut context: Box<RequestContext>) -> Reply {
    context.info.details = Some("websocket_handshake_unsuccessful".into());
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = ResponseBody::Local {
        bytes: None,
        sized: true,
        context: Some(context),
    };
    Reply::from_parts(parts, ReplyBody::Body(body))
}

/// Answers a CONNECT by joining the client with a connection to the cluster.
pub async fn tunnel(
    cluster: &Arc<Cluster>,
    head: &RequestHead,
    client: ClientSwitch,
    mut context: Box<RequestContext>,
    limits: &TimeLimits,
) -> Reply {
    let worker = context.worker.clone();
    context.info.attempts = 1;
    let Some(endpoint) = cluster.endpoint(&[], 0, || worker.random()).await else {
        return respond::failure(&ErrorKind::NoHealthyUpstream.into(), head.grpc, context);
    };
    context.info.upstream_host = Some(endpoint.text.clone());
    context.on_endpoint(endpoint.clone());
    let asked = message::asked_of(cluster, &endpoint, head);
    let stream = crate::upstream::connect::to_endpoint(&cluster.model, &endpoint, asked.as_deref()).await;
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => return respond::failure(&error, head.grpc, context),
    };
    context.info.details = Some("via_upstream".into());
    let tunnel = Tunnel {
        client,
        upstream: Switched::Connection(Rewound::new(Bytes::new(), stream), None),
        kind: TunnelKind::Proxy,
        limits: limits.of_tunnel(context.info.started_at),
        context,
    };
    Reply::new(ReplyBody::Tunnel(Box::new(tunnel)))
}
