//! Attempts: an endpoint, a connection, the head of an answer, and again where the policy wants it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::context::RequestContext;
use super::exchange::Exchange;
use super::timeouts::{TimeLimits, TryLimits};
use super::{blame, message, pause};
use crate::error::{ErrorKind, ProxyError, ResponseFlags};
use crate::filters::peer_metadata;
use crate::journal::{Journal, say};
use crate::model::cluster::Discovery;
use crate::model::route::{HostRewrite, RetryPolicy};
use crate::pool::Wanted;
use crate::pool::answer_body::AnswerBody;
use crate::pool::connection::{Lent, SendError};
use crate::pool::request_body::RequestBody;
use crate::route::retry::{self, Outcome};
use crate::stream_info::request::RequestHead;
use crate::tls::asked::Asked;
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::limits::{Guard, Resource};
use crate::upstream::outlier::Report;
use crate::worker::Worker;

/// An answer whose head has come.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<AnswerBody>,
    /// Its connection had served others before.
    pub reused: bool,
    pub endpoint: Arc<Endpoint>,
}

/// An attempt without an answer.
#[derive(Debug)]
struct Failure {
    error: ProxyError,
    request_sent: bool,
    endpoint: Option<Arc<Endpoint>>,
}

/// What an attempt needs, beside its body.
#[derive(Debug)]
struct Attempt<'a> {
    cluster: &'a Arc<Cluster>,
    head: &'a RequestHead,
    policy: Option<&'a RetryPolicy>,
    limits: TryLimits,
    http2: bool,
    /// Whether the endpoint's name becomes the host.
    endpoint_host: bool,
    /// Number of the attempt where upstream is to know it, else 0.
    count: u32,
}

/// Tries until there is an answer to pass on, or nothing is left to try.
pub async fn attempts(
    exchange: &Exchange,
    cluster: &Arc<Cluster>,
    head: &RequestHead,
    limits: &TimeLimits,
    body: &mut RequestBody,
    context: &mut Box<RequestContext>,
) -> Result<Answer, ProxyError> {
    let limits = limits.tries(exchange.policy());
    let policy = exchange.retries(head).cloned();
    let policy = policy.as_deref();
    let mut tried: SmallVec<[u64; 4]> = SmallVec::new();
    let mut count = 0;
    let mut retry_guard = None;
    loop {
        count += 1;
        context.info.attempts = count;
        let told = exchange.routes.host(exchange.host_index).include_request_attempt_count;
        let attempt = Attempt {
            cluster,
            head,
            policy,
            limits,
            http2: exchange.http2,
            endpoint_host: matches!(exchange.action().host_rewrite, Some(HostRewrite::Endpoint)),
            count: if told { count } else { 0 },
        };
        let last = policy.is_none_or(|policy| count > policy.retries_max);
        let own = body.for_attempt(last);
        let result = attempt.exchange(own, &tried, context).await;
        let (outcome, endpoint) = match &result {
            Ok(answer) => {
                let status = answer.response.status();
                let headers = answer.response.headers();
                (Outcome::Answer { status, headers }, Some(&answer.endpoint))
            }
            Err(failure) => {
                let outcome = Outcome::Failure {
                    kind: failure.error.kind,
                    request_sent: failure.request_sent,
                };
                (outcome, failure.endpoint.as_ref())
            }
        };
        // Never the endpoint's fault, and never to be repeated: nobody has the whole of it.
        if let (Err(_), Some(fault)) = (&result, context.progress.fault.get()) {
            return Err(ErrorKind::from(fault).into());
        }
        match outcome {
            Outcome::Answer { .. } => cluster.state.stats().answered(),
            Outcome::Failure { kind, .. } => cluster.state.stats().failed(kind),
        }
        tell(&context.info.journal, &result);
        if let Some(endpoint) = endpoint {
            if let Some(report) = blame::report(head, outcome) {
                cluster.report(endpoint, report, Instant::now(), || context.worker.random());
            }
            tried.push(endpoint.state.id);
        }
        let wanted = policy.filter(|policy| retry::wanted(policy, head, outcome));
        let Some(policy) = wanted else {
            return result.map_err(|failure| failure.error);
        };
        let absent = retry::was_absent(policy, outcome);
        drop(retry_guard.take());
        if last || !body.is_replayable() {
            if policy.retries_max > 0 && last {
                context.info.flags.insert(ResponseFlags::RETRY_LIMIT_EXCEEDED);
            }
            say!(
                context.info.journal,
                last,
                replayable = body.is_replayable(),
                "not tried again though the policy would"
            );
            return result.map_err(|failure| failure.error);
        }
        retry_guard = cluster.state.take(Resource::Retry, &cluster.model.limits);
        if retry_guard.is_none() {
            context.info.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
            say!(
                context.info.journal,
                "not tried again: the cluster's limit of retries is reached"
            );
            return result.map_err(|failure| failure.error);
        }
        drop(result);
        context.leave_endpoint();
        context.manager.stats.retry();
        cluster.state.stats().retried();
        let avoided: &[u64] = if absent && policy.avoid_previous_hosts {
            &tried
        } else {
            &[]
        };
        let backoff = retry::backoff(policy, count, context.worker.random());
        say!(context.info.journal, ?backoff, "the policy tries again");
        pause::between_attempts(cluster, avoided, backoff, body, &context.progress).await?;
    }
}

/// Says what became of an attempt.
fn tell(journal: &Journal, result: &Result<Answer, Failure>) {
    match result {
        Ok(answer) => {
            let status = answer.response.status().as_u16();
            say!(journal, endpoint = %answer.endpoint.text, status, reused = answer.reused, "endpoint answered");
        }
        Err(Failure {
            error,
            request_sent,
            endpoint,
        }) => {
            let endpoint = endpoint.as_ref().map(|endpoint| &*endpoint.text);
            let reason = error.kind.details();
            say!(
                journal,
                endpoint,
                reason,
                cause = error.reason.as_deref(),
                sent = request_sent,
                "attempt failed"
            );
        }
    }
}

// === impl Answer ===

impl Answer {
    fn new(response: Response<AnswerBody>, reused: bool, endpoint: Arc<Endpoint>) -> Self {
        Self {
            response,
            reused,
            endpoint,
        }
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// Where the client meant to go: as a header says, if the cluster believes it, else as the kernel remembers.
    fn original(&self, header: Option<&HeaderName>, port: Option<u16>, context: &RequestContext) -> Option<SocketAddr> {
        let named = header.and_then(|name| self.head.headers.get(name));
        let named = named.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut address: SocketAddr = named.or(context.info.connection.original_dst)?;
        if let Some(port) = port {
            address.set_port(port);
        }
        Some(address)
    }

    /// What an endpoint is sent.
    fn message(
        &self,
        endpoint: &Endpoint,
        http2: bool,
        body: RequestBody,
        context: &RequestContext,
    ) -> Result<Request<RequestBody>, ErrorKind> {
        let host = Some(&endpoint.model.hostname).filter(|name| self.endpoint_host && !name.is_empty());
        let host = host.and_then(|name| HeaderValue::from_str(name).ok());
        let mut message = message::build(self.head, host.as_ref(), self.count, http2, body)?;
        let of_mesh = endpoint.tls.is_some() && endpoint.model.workload.is_some();
        if of_mesh && context.manager.filters.propagates(&context.filters) {
            peer_metadata::propagate(message.headers_mut(), &context.worker.istio);
        }
        Ok(message)
    }

    async fn endpoint(&self, worker: &Worker, tried: &[u64], context: &RequestContext) -> Option<Arc<Endpoint>> {
        let avoid = if self.policy.is_some_and(|policy| policy.avoid_previous_hosts) {
            tried
        } else {
            &[]
        };
        let looks = self.policy.map_or(0, |policy| policy.host_selection_attempts_max);
        match &self.cluster.model.discovery {
            Discovery::OriginalDst { header, port_override } => {
                let address = self.original(header.as_ref(), *port_override, context);
                address.map(|address| worker.originals.endpoint(self.cluster, address, Instant::now()))
            }
            Discovery::Static(_) | Discovery::Eds(_) | Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => {
                self.cluster.endpoint(avoid, looks, || worker.random()).await
            }
        }
    }

    /// A connection to the endpoint, and a unit of the requests that the cluster may have on connections.
    async fn connection(
        &self,
        worker: &Worker,
        endpoint: &Arc<Endpoint>,
        asked: Option<&Arc<Asked>>,
        fresh: bool,
        context: &mut RequestContext,
    ) -> Result<(Lent, Guard), Failure> {
        let wanted = Wanted {
            asked,
            fresh,
            downstream_http2: self.http2,
            auto_http2: false,
        };
        context.has_connection = false;
        let lent = worker.pools.get(self.cluster, endpoint, wanted).await;
        let lent = lent.map_err(|error| before(error, Some(endpoint)))?;
        let Some(counted) = self.cluster.state.take(Resource::Request, &self.cluster.model.limits) else {
            lent.give_back(self.cluster);
            return Err(before(ErrorKind::Overflow.into(), Some(endpoint)));
        };
        context.has_connection = true;
        let random = || worker.random();
        self.cluster.report(endpoint, Report::Connected, Instant::now(), random);
        context.info.upstream_local = lent.connection.local();
        context.info.upstream_identity = lent.connection.identity().cloned();
        context.info.upstream_protocol = Some(if lent.connection.is_http2() {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        });
        Ok((lent, counted))
    }

    async fn exchange(
        &self,
        body: RequestBody,
        tried: &[u64],
        context: &mut Box<RequestContext>,
    ) -> Result<Answer, Failure> {
        let worker = context.worker.clone();
        let Some(endpoint) = self.endpoint(&worker, tried, context).await else {
            return Err(before(ErrorKind::NoHealthyUpstream.into(), None));
        };
        context.info.upstream_host = Some(endpoint.text.clone());
        context.info.upstream_workload = endpoint.model.workload.clone();
        context.on_endpoint(endpoint.clone());
        let mut request = None;
        let repeatable = matches!(body, RequestBody::Empty) && self.head.method.is_idempotent();
        let mut body = Some(body);
        let mut fresh = false;
        let asked = message::asked_of(self.cluster, &endpoint, self.head);
        loop {
            let (lent, counted) = self
                .connection(&worker, &endpoint, asked.as_ref(), fresh, context)
                .await?;
            let now = Instant::now();
            let message = match (request.take(), body.take()) {
                (Some(request), _) => request,
                (None, body) => {
                    let body = body.unwrap_or(RequestBody::Empty);
                    let message = self.message(&endpoint, lent.connection.is_http2(), body, context);
                    message.map_err(|kind| before(kind.into(), Some(&endpoint)))?
                }
            };
            let reused = lent.reused;
            let answer = lent.send(
                &self.head.path,
                message,
                self.cluster,
                counted,
                context.interim.as_ref(),
            );
            let answer = match self.limits.hold(answer, now, &context.progress).await {
                Ok(answer) => answer,
                Err(kind) => return Err(after(kind.into(), endpoint)),
            };
            match answer {
                Ok(response) => return Ok(Answer::new(response, reused, endpoint)),
                // The peer closed an idle connection just as it was taken: nothing was sent, a new one takes the request.
                Err(SendError {
                    request: Some(returned),
                    ..
                }) if reused && !fresh => {
                    request = Some(returned);
                    fresh = true;
                }
                // The same, and the request was on its way: one that may be sent twice is (RFC 9110, section 9.2.2). A server that ends
                // closes the connections that seem idle to it.
                Err(SendError {
                    kind: ErrorKind::ConnectionTerminated,
                    request: None,
                    ..
                }) if reused && !fresh && repeatable => {
                    fresh = true;
                }
                // A new connection that takes nothing is as good as none.
                Err(SendError {
                    reason,
                    request: Some(_),
                    ..
                }) => {
                    let error = ProxyError::because(ErrorKind::ConnectFailed, &reason);
                    return Err(before(error, Some(&endpoint)));
                }
                Err(SendError {
                    kind,
                    reason,
                    request: None,
                }) => {
                    return Err(after(ProxyError::because(kind, &reason), endpoint));
                }
            }
        }
    }
}

/// The request was on its way, perhaps with the endpoint.
fn after(error: ProxyError, endpoint: Arc<Endpoint>) -> Failure {
    Failure {
        error,
        request_sent: true,
        endpoint: Some(endpoint),
    }
}

fn before(error: ProxyError, endpoint: Option<&Arc<Endpoint>>) -> Failure {
    Failure {
        error,
        request_sent: false,
        endpoint: endpoint.cloned(),
    }
}
