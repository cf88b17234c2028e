//! Forwarding of a request: cluster, endpoint, connection, attempt, and again where the policy wants it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::attempt::attempts;
use super::body::ResponseBody;
use super::context::{RequestContext, note};
use super::deliver;
use super::exchange::Exchange;
use super::headers;
use super::reply::{Reply, ReplyBody};
use super::respond::{self, fail};
use super::timeouts::TimeLimits;
use super::upgrade::{ClientSwitch, ends_here};
use crate::body::client::ClientFault;
use crate::error::ErrorKind;
use crate::filters::client_body::ClientBody;
use crate::journal::say;
use crate::model::http::XfccMode;
use crate::model::route::HostRewrite;
use crate::pool::replay::Kept;
use crate::pool::request_body::RequestBody;
use crate::route::rewrite;
use crate::runtime::routes::Chosen;
use crate::stream_info::header_names;
use crate::stream_info::request::RequestHead;
use crate::upstream::limits::Resource;
use crate::upstream::outlier::Report;

/// Forwards a request and gives the head of the answer, with a body that goes on by itself.
pub async fn forward(
    exchange: Exchange,
    chosen: Result<Chosen, ErrorKind>,
    mut head: RequestHead,
    body: ClientBody,
    client: ClientSwitch,
    context: Box<RequestContext>,
) -> Reply {
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(kind) => {
            say!(context.info.journal, target = ?exchange.action().target, "the route's cluster is missing");
            return fail(kind, &head, context);
        }
    };
    let cluster = chosen.cluster.clone();
    let limits = TimeLimits::of(exchange.action(), &exchange.manager.model, &head);
    prepare(&exchange, &chosen, &mut head, limits.answer, &context);
    let mut context = note(&head, &exchange.manager, context);
    if head
        .upgrade
        .as_deref()
        .is_some_and(|protocol| ends_here(protocol, &exchange.action().upgrades))
    {
        let Some(guard) = cluster.state.take(Resource::Request, &cluster.model.limits) else {
            cluster.state.stats().failed(ErrorKind::Overflow);
            cluster.state.stats().completed(ErrorKind::Overflow.status());
            return fail(ErrorKind::Overflow, &head, context);
        };
        context.guards.push(guard);
        context.interim = None;
        return deliver::tunnel(&cluster, &head, client, context, &limits).await;
    }
    let mut body = request_body(&exchange, body, &head, &context);
    let progress = Rc::clone(&context.progress);
    let begun = context.info.started_at;
    let attempts = attempts(&exchange, &cluster, &head, &limits, &mut body, &mut context);
    let result = tokio::select! {
        biased;
        result = attempts => result,
        kind = limits.exceeded(begun, &progress) => Err(kind.into()),
    };
    match result {
        Ok(answer) => {
            cluster.state.stats().completed(answer.response.status());
            deliver::pass_on(&exchange, &chosen, answer, &head, client, context, &limits)
        }
        Err(_) if progress.fault.get() == Some(ClientFault::Malformed) => {
            let kind = ErrorKind::from(ClientFault::Malformed);
            context.info.flags.insert(kind.flag());
            context.info.details = Some(kind.details().into());
            let grpc = head.grpc.then(|| kind.grpc_status());
            respond::local(kind.status(), "Bad Request".to_owned(), grpc, context)
        }
        // Nobody gets this answer, so the log has none: its code is 0, as Envoy's.
        Err(_) if progress.fault.get() == Some(ClientFault::Gone) => {
            drop(context);
            let mut reply = Reply::new(ReplyBody::Body(ResponseBody::bare(Bytes::new())));
            *reply.status_mut() = ErrorKind::ClientGone.status();
            reply
        }
        Err(_) if progress.refused.get().is_some() => {
            context.info.details = Some("request_body_refused".into());
            let reason = progress.refused.get().unwrap_or_default();
            say!(context.info.journal, reason, "the body of the request is refused");
            respond::local(StatusCode::BAD_REQUEST, reason.to_owned(), None, context)
        }
        Err(error) => {
            if error.kind == ErrorKind::UpstreamTimeout {
                cluster.state.stats().failed(error.kind);
                if let Some(endpoint) = context.endpoint.as_ref().filter(|_| context.has_connection) {
                    let random = || context.worker.random();
                    cluster.report(endpoint, Report::TimedOut, Instant::now(), random);
                }
            }
            cluster.state.stats().completed(error.kind.status());
            let attempts = context.info.attempts;
            let mut answer = respond::failure(&error, head.grpc, context);
            if exchange
                .routes
                .host(exchange.host_index)
                .include_attempt_count_in_response
            {
                answer
                    .headers_mut()
                    .insert(header_names::ATTEMPT_COUNT, HeaderValue::from(attempts));
            }
            answer
        }
    }
}

/// Rewrites path, host and headers of the request that goes upstream.
fn prepare(exchange: &Exchange, chosen: &Chosen, head: &mut RequestHead, timeout: Duration, context: &RequestContext) {
    let action = exchange.action();
    let matched = &exchange
        .routes
        .route(exchange.host_index, exchange.route_index)
        .matches
        .path;
    let own = !exchange.manager.model.suppress_envoy_headers;
    let per_try = exchange.policy().and_then(|policy| policy.per_try_timeout);
    // Upstream is told how long it has: one try's time where that is shorter.
    let expected = [Some(timeout), per_try]
        .into_iter()
        .flatten()
        .filter(|limit| !limit.is_zero())
        .min();
    if let Some(expected) = expected.filter(|_| own) {
        let millis = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
        head.headers
            .insert(header_names::EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    exchange.mutate(chosen, head, &context.info);
    let host = match chosen.host_rewrite(&exchange.routes) {
        Some(host) => Some(host.to_string()),
        None => action
            .host_rewrite
            .as_ref()
            .and_then(|rule| rewrite::host(rule, head, "")),
    };
    let by_endpoint = matches!(action.host_rewrite, Some(HostRewrite::Endpoint));
    let host = host.and_then(|host| HeaderValue::try_from(host).ok());
    if (host.is_some() || by_endpoint) && !head.authority.is_empty() {
        if action.append_x_forwarded_host {
            headers::append_to_list(&mut head.headers, &header_names::FORWARDED_HOST, &head.authority, ",");
        }
        if own && chosen.host_rewrite(&exchange.routes).is_none() {
            head.headers.insert(header_names::ORIGINAL_HOST, head.authority.clone());
        }
    }
    if let Some(host) = host {
        head.authority = host;
    }
    if let Some(path) = action
        .path_rewrite
        .as_ref()
        .and_then(|rule| rewrite::path(rule, matched, head))
        && let Ok(path) = path.parse()
    {
        if let Ok(original) = HeaderValue::from_str(head.path.as_str())
            && own
        {
            head.headers.insert(header_names::ORIGINAL_PATH, original);
        }
        head.path = path;
    }
    debug_assert!(
        exchange.manager.model.client_cert.mode != XfccMode::Sanitize
            || !head.headers.contains_key(header_names::CLIENT_CERT)
    );
}

/// The body, kept for other attempts only where a policy may want them.
fn request_body(exchange: &Exchange, body: ClientBody, head: &RequestHead, context: &RequestContext) -> RequestBody {
    // What follows a CONNECT is the tunnel; what follows an offer of HTTP/1.1 is the body of the request.
    if body.is_end_stream() || head.method == Method::CONNECT {
        context.progress.done_at.set(Some(Instant::now()));
        return RequestBody::Empty;
    }
    let progress = context.progress.clone();
    if exchange.retries(head).is_none_or(|policy| policy.retries_max == 0) {
        return RequestBody::Direct { body, progress };
    }
    RequestBody::Kept {
        shared: Kept::new(body, exchange.routes.replay_bytes_max, progress),
        next: 0,
    }
}
