//! Forwarding of a request: cluster, endpoint, connection, attempt, and again where the policy wants it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::uri::{Authority, Scheme as UriScheme};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep};

use super::body::{GiveBack, Kept, RequestBody, ResponseBody, UpstreamBody};
use super::chain::HttpChain;
use super::finish::Finish;
use super::request::{fail, mutate_request, note};
use super::{headers, respond, upgrade};
use crate::error::{ErrorKind, ProxyError, ResponseFlags};
use crate::model::http::XfccMode;
use crate::model::route::{Forward, HeaderMutations, RetryPolicy, RouteAction};
use crate::request::RequestHead;
use crate::route::headers::ordered;
use crate::route::retry::{self, Outcome};
use crate::route::rewrite;
use crate::runtime::{Chosen, CompiledRoutes};
use crate::upstream::cluster::Cluster;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::limits::Resource;
use crate::upstream::outlier;
use crate::upstream::pool::{Connection, Lent, SendError, Wanted};

/// The configuration that an exchange with upstream goes by.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Connection manager.
    pub chain: Arc<HttpChain>,
    /// Routes.
    pub routes: Arc<CompiledRoutes>,
    /// Virtual host.
    pub host_index: usize,
    /// Route within it.
    pub route_index: usize,
    /// Whether the client speaks HTTP/2.
    pub http2: bool,
}

/// An answer whose head has come.
#[derive(Debug)]
struct Answer {
    response: Response<Incoming>,
    lent: Lent,
    endpoint: Arc<Endpoint>,
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
    http2: bool,
    count: u32,
}

// === impl Exchange ===

impl Exchange {
    fn action(&self) -> &Forward {
        match &self.routes.route(self.host_index, self.route_index).action {
            RouteAction::Forward(action) => action,
            RouteAction::Redirect(_) | RouteAction::Direct(_) => {
                unreachable!("only forwarding routes make an exchange")
            }
        }
    }

    fn policy(&self) -> Option<&Arc<RetryPolicy>> {
        self.action()
            .retry
            .as_ref()
            .or_else(|| self.routes.host(self.host_index).retry.as_ref())
    }
}

/// Forwards a request and gives the head of the answer, with a body that goes on by itself.
pub async fn forward(
    exchange: Exchange,
    mut head: RequestHead,
    body: Incoming,
    client: OnUpgrade,
    mut finish: Box<Finish>,
) -> Response<ResponseBody> {
    let worker = finish.worker.clone();
    let chosen = match exchange
        .routes
        .choose(exchange.host_index, exchange.route_index, &head, worker.random())
    {
        Ok(chosen) => chosen,
        Err(kind) => return fail(kind, &head, finish),
    };
    let cluster = chosen.cluster.clone();
    finish.info.upstream_cluster = Some(cluster.model.clone());
    let Some(guard) = cluster.state.take(Resource::Request, &cluster.model.limits) else {
        return fail(ErrorKind::Overflow, &head, finish);
    };
    finish.guards.push(guard);
    let timeout = overall_timeout(exchange.action(), &head);
    prepare(&exchange, &chosen, &mut head, timeout, &finish);
    let mut finish = note(&head, &exchange.chain, finish);
    if head.upgrade.as_deref() == Some("connect") {
        return tunnel(&cluster, &head, client, finish).await;
    }
    let mut body = request_body(&exchange, body, &head, &finish);
    let mut deadline = (!timeout.is_zero()).then(|| Box::pin(tokio::time::sleep(timeout)));
    let attempts = attempts(&exchange, &cluster, &head, &mut body, &mut finish);
    let result = match &mut deadline {
        None => attempts.await,
        Some(deadline) => tokio::select! {
            biased;
            result = attempts => result,
            () = deadline.as_mut() => Err(ErrorKind::UpstreamTimeout.into()),
        },
    };
    match result {
        Ok(answer) => pass_on(&exchange, &chosen, answer, &head, client, finish, deadline),
        Err(error) => respond::failure(&error, head.grpc, finish),
    }
}

/// Rewrites path, host and headers of the request that goes upstream.
fn prepare(exchange: &Exchange, chosen: &Chosen, head: &mut RequestHead, timeout: Duration, finish: &Finish) {
    let action = exchange.action();
    let matched = &exchange
        .routes
        .route(exchange.host_index, exchange.route_index)
        .matches
        .path;
    if !timeout.is_zero() && !exchange.chain.manager.suppress_envoy_headers {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        head.headers
            .insert(headers::EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
    mutate_request(
        &exchange.routes,
        exchange.host_index,
        exchange.route_index,
        chosen.headers(&exchange.routes),
        head,
        &finish.info,
    );
    let host = match chosen.host_rewrite(&exchange.routes) {
        Some(host) => Some(host.to_string()),
        None => action
            .host_rewrite
            .as_ref()
            .and_then(|rule| rewrite::host(rule, head, "")),
    };
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
        if action.append_x_forwarded_host {
            head.headers.append(headers::FORWARDED_HOST, head.authority.clone());
        }
        head.authority = host;
    }
    if let Some(path) = action
        .path_rewrite
        .as_ref()
        .and_then(|rule| rewrite::path(rule, matched, head))
        && let Ok(path) = path.parse()
    {
        if let Ok(original) = HeaderValue::from_str(head.path.as_str())
            && !exchange.chain.manager.suppress_envoy_headers
        {
            head.headers.insert(headers::ORIGINAL_PATH, original);
        }
        head.path = path;
    }
    debug_assert!(
        exchange.chain.manager.client_cert.mode != XfccMode::Sanitize
            || !head.headers.contains_key(headers::CLIENT_CERT)
    );
}

/// The route's timeout, or what a gRPC client asked for where the route listens to that.
fn overall_timeout(action: &Forward, head: &RequestHead) -> Duration {
    let Some(longest) = action.grpc_timeout_max.filter(|_| head.grpc) else {
        return action.timeout;
    };
    match head
        .headers
        .get("grpc-timeout")
        .and_then(|value| grpc_timeout(value.as_bytes()))
    {
        None => action.timeout,
        Some(asked) if longest.is_zero() => asked,
        Some(asked) => asked.min(longest),
    }
}

/// `grpc-timeout`: at most eight digits and a unit (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The body, kept for other attempts only where a policy may want them.
fn request_body(exchange: &Exchange, body: Incoming, head: &RequestHead, finish: &Finish) -> RequestBody {
    if body.is_end_stream() || head.upgrade.is_some() {
        finish.progress.done_at.set(Some(Instant::now()));
        return RequestBody::Empty;
    }
    let progress = finish.progress.clone();
    if exchange.policy().is_none_or(|policy| policy.retries_max == 0) {
        return RequestBody::Direct {
            incoming: body,
            progress,
        };
    }
    RequestBody::Kept {
        shared: Kept::new(body, exchange.routes.replay_bytes_max, progress),
        next: 0,
    }
}

/// Tries until there is an answer to pass on, or nothing is left to try.
async fn attempts(
    exchange: &Exchange,
    cluster: &Arc<Cluster>,
    head: &RequestHead,
    body: &mut RequestBody,
    finish: &mut Box<Finish>,
) -> Result<Answer, ProxyError> {
    let policy = exchange.policy().cloned();
    let policy = policy.as_deref();
    let mut tried: SmallVec<[u64; 4]> = SmallVec::new();
    let mut count = 0;
    let mut retry_guard = None;
    loop {
        count += 1;
        finish.info.attempts = count;
        let attempt = Attempt {
            cluster,
            head,
            policy,
            http2: exchange.http2,
            count: if exchange.routes.host(exchange.host_index).include_request_attempt_count {
                count
            } else {
                0
            },
        };
        let last = policy.is_none_or(|policy| count > policy.retries_max);
        let own = body.for_attempt(last);
        let result = attempt.run(own, &tried, finish).await;
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
        if let Some(endpoint) = endpoint {
            record(cluster, endpoint, outcome);
            tried.push(endpoint.state.id);
        }
        let wanted = policy.filter(|policy| retry::wanted(policy, head, outcome));
        let Some(policy) = wanted else {
            return result.map_err(|failure| failure.error);
        };
        drop(retry_guard.take());
        if last || !body.is_replayable() {
            if policy.retries_max > 0 && last {
                finish.info.flags.insert(ResponseFlags::RETRY_LIMIT_EXCEEDED);
            }
            return result.map_err(|failure| failure.error);
        }
        retry_guard = cluster.state.take(Resource::Retry, &cluster.model.limits);
        if retry_guard.is_none() {
            finish.info.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
            return result.map_err(|failure| failure.error);
        }
        drop(result);
        finish.leave_endpoint();
        finish.chain.stats.retry();
        tokio::time::sleep(retry::backoff(policy, count, finish.worker.random())).await;
    }
}

fn record(cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome<'_>) {
    let result = match outcome {
        Outcome::Answer { status, .. } => outlier::Result::Status(status.as_u16()),
        Outcome::Failure { .. } => outlier::Result::LocalOrigin,
    };
    cluster.record(endpoint, result, Instant::now());
}

// === impl Attempt ===

impl Attempt<'_> {
    async fn run(&self, body: RequestBody, tried: &[u64], finish: &mut Box<Finish>) -> Result<Answer, Failure> {
        let per_try = self
            .policy
            .and_then(|policy| policy.per_try_timeout)
            .filter(|limit| !limit.is_zero());
        let exchange = self.exchange(body, tried, finish);
        match per_try {
            None => exchange.await,
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(result) => result,
                Err(_) => Err(Failure {
                    error: ErrorKind::PerTryTimeout.into(),
                    request_sent: true,
                    endpoint: finish.endpoint.clone(),
                }),
            },
        }
    }

    async fn exchange(&self, body: RequestBody, tried: &[u64], finish: &mut Box<Finish>) -> Result<Answer, Failure> {
        let avoid = if self.policy.is_some_and(|policy| policy.avoid_previous_hosts) {
            tried
        } else {
            &[]
        };
        let looks = self.policy.map_or(0, |policy| policy.host_selection_attempts_max);
        let worker = finish.worker.clone();
        let endpoint = self.cluster.choose(avoid, looks, || worker.random());
        let Some(endpoint) = endpoint else {
            return Err(before(ErrorKind::NoHealthyUpstream.into(), None));
        };
        finish.info.upstream_host = Some(endpoint.text.clone());
        finish.info.upstream_workload = endpoint.model.workload.clone();
        finish.on_endpoint(endpoint.clone());
        let mut request = None;
        let mut body = Some(body);
        let mut fresh = false;
        loop {
            let wanted = Wanted {
                host: self.head.authority.to_str().ok(),
                fresh,
                downstream_http2: self.http2,
                auto_http2: false,
            };
            let lent = worker.pools.get(&worker, self.cluster, &endpoint, wanted).await;
            let mut lent = lent.map_err(|error| before(error, Some(&endpoint)))?;
            finish.info.upstream_local = lent.connection.local();
            finish.info.upstream_protocol = Some(if lent.connection.is_http2() {
                Version::HTTP_2
            } else {
                Version::HTTP_11
            });
            let message = match (request.take(), body.take()) {
                (Some(request), _) => request,
                (None, body) => {
                    let body = body.unwrap_or(RequestBody::Empty);
                    build(self.head, self.count, lent.connection.is_http2(), body)
                        .map_err(|kind| before(kind.into(), Some(&endpoint)))?
                }
            };
            match lent.connection.send(message).await {
                Ok(response) => {
                    return Ok(Answer {
                        response,
                        lent,
                        endpoint,
                    });
                }
                // The peer closed an idle connection just as it was taken: nothing was sent, a new one takes the request.
                Err(SendError {
                    request: Some(returned),
                    ..
                }) if lent.reused && !fresh => {
                    request = Some(returned);
                    fresh = true;
                }
                Err(SendError { error, request }) => {
                    return Err(Failure {
                        error: ProxyError::because(send_error_kind(&error), &error),
                        request_sent: request.is_none(),
                        endpoint: Some(endpoint),
                    });
                }
            }
        }
    }
}

fn before(error: ProxyError, endpoint: Option<&Arc<Endpoint>>) -> Failure {
    Failure {
        error,
        request_sent: false,
        endpoint: endpoint.cloned(),
    }
}

fn send_error_kind(error: &hyper::Error) -> ErrorKind {
    use std::error::Error as _;
    if error.is_parse() || error.is_parse_status() {
        return ErrorKind::UpstreamProtocol;
    }
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    if h2.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM) {
        return ErrorKind::RefusedStream;
    }
    ErrorKind::ConnectionTerminated
}

/// The message that goes upstream, made from the normalised head alone.
fn build(head: &RequestHead, count: u32, http2: bool, body: RequestBody) -> Result<Request<RequestBody>, ErrorKind> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    if count > 0 {
        request
            .headers_mut()
            .insert(headers::ATTEMPT_COUNT, HeaderValue::from(count));
    }
    if http2 {
        let authority = Authority::try_from(head.authority.as_bytes());
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(match head.scheme {
            crate::request::Scheme::Http => UriScheme::HTTP,
            crate::request::Scheme::Https => UriScheme::HTTPS,
        });
        parts.authority = Some(authority.map_err(|_| ErrorKind::BadRequest(crate::error::BadRequest::Host))?);
        parts.path_and_query = Some(head.path.clone());
        *request.uri_mut() =
            Uri::from_parts(parts).map_err(|_| ErrorKind::BadRequest(crate::error::BadRequest::Path))?;
        *request.version_mut() = Version::HTTP_2;
        return Ok(request);
    }
    *request.uri_mut() = Uri::from(head.path.clone());
    request.headers_mut().insert(header::HOST, head.authority.clone());
    if let Some(protocol) = &head.upgrade {
        let named = HeaderValue::from_str(protocol).map_err(|_| ErrorKind::UpgradeRefused)?;
        request
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(header::UPGRADE, named);
    }
    Ok(request)
}

/// Turns an upstream's answer into the client's.
fn pass_on(
    exchange: &Exchange,
    chosen: &Chosen,
    answer: Answer,
    head: &RequestHead,
    client: OnUpgrade,
    mut finish: Box<Finish>,
    deadline: Option<Pin<Box<Sleep>>>,
) -> Response<ResponseBody> {
    let Answer { mut response, lent, .. } = answer;
    finish.info.response_began_at = Some(Instant::now());
    finish.info.details = Some("via_upstream".into());
    let host = exchange.routes.host(exchange.host_index);
    let route = exchange.routes.route(exchange.host_index, exchange.route_index);
    let config = exchange.routes.table.config();
    let levels: [Option<&HeaderMutations>; 4] = [
        chosen.headers(&exchange.routes),
        Some(&route.headers),
        Some(&host.headers),
        Some(&config.headers),
    ];
    let levels = ordered(levels, config.most_specific_header_mutations_wins);
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let upstream = switching.then(|| hyper::upgrade::on(&mut response));
    if !exchange.chain.manager.suppress_envoy_headers {
        let millis = finish.info.millis_to(finish.info.response_began_at).unwrap_or(0);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        response
            .headers_mut()
            .insert(headers::SERVICE_TIME, HeaderValue::from(millis));
    }
    let attempts = host.include_attempt_count_in_response.then_some(finish.info.attempts);
    respond::from_upstream(response.headers_mut(), head, &levels, attempts, &finish);
    let (parts, incoming) = response.into_parts();
    let mut out = Response::from_parts(parts, ResponseBody::bare(bytes::Bytes::new()));
    *out.version_mut() = if exchange.http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    respond::head(&out, &mut finish);
    if let Some(upstream) = upstream {
        out.headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            out.headers_mut().insert(header::UPGRADE, protocol);
        }
        let worker = finish.worker.clone();
        upgrade::join(&worker, client, upstream, finish);
        return out;
    }
    let cluster = chosen.cluster.clone();
    let (give_back, stream) = match lent.connection {
        Connection::Http1(connection) => {
            let pool = lent.pool;
            (
                Some(GiveBack {
                    connection,
                    pool,
                    cluster,
                }),
                None,
            )
        }
        Connection::Http2 { stream, .. } => (None, Some(stream)),
    };
    let idle = exchange
        .action()
        .idle_timeout
        .unwrap_or(exchange.chain.manager.stream_idle_timeout);
    let body = UpstreamBody::new(incoming, give_back, stream, finish, idle, deadline);
    *out.body_mut() = ResponseBody::Upstream(body);
    out
}

/// Answers a CONNECT by joining the client with a connection to the cluster.
async fn tunnel(
    cluster: &Arc<Cluster>,
    head: &RequestHead,
    client: OnUpgrade,
    mut finish: Box<Finish>,
) -> Response<ResponseBody> {
    let worker = finish.worker.clone();
    let Some(endpoint) = cluster.choose(&[], 0, || worker.random()) else {
        return respond::failure(&ErrorKind::NoHealthyUpstream.into(), head.grpc, finish);
    };
    finish.info.upstream_host = Some(endpoint.text.clone());
    finish.on_endpoint(endpoint.clone());
    let stream = crate::upstream::connect::to_endpoint(&cluster.model, &endpoint, None).await;
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => return respond::failure(&error, head.grpc, finish),
    };
    let mut out = Response::new(ResponseBody::bare(bytes::Bytes::new()));
    respond::head(&out, &mut finish);
    finish.info.details = Some("via_upstream".into());
    if let Some(server) = &finish.chain.server {
        out.headers_mut().insert(header::SERVER, server.clone());
    }
    upgrade::join_stream(&worker, client, stream, finish);
    out
}

// === impl RequestBody ===

impl RequestBody {
    /// The body of one attempt. The last attempt may take the original.
    fn for_attempt(&mut self, last: bool) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Direct { .. } => {
                debug_assert!(last, "a direct body has one attempt");
                std::mem::replace(self, Self::Empty)
            }
            Self::Kept { shared, .. } => Self::Kept {
                shared: Rc::clone(shared),
                next: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_bounded() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        }
    }
}
