//! One request from its head to the head of its answer, stage by stage.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use tokio::time::Instant;

use super::body::ResponseBody;
use super::connection::{ActiveRequest, HttpConnection};
use super::context::{RequestContext, note};
use super::exchange::Exchange;
use super::forward;
use super::headers;
use super::normalise::{Normalised, normalise};
use super::received::ReceivedHead;
use super::reply::Reply;
use super::respond::{self, fail};
use super::routed::{Routed, needs_tls};
use super::send::send;
use super::upgrade::{ClientSwitch, upgrade_enabled};
use crate::body::client::{ComingBody, Interim};
use crate::error::{BadRequest, ErrorKind, ResponseFlags, grpc_status_of};
use crate::filters::client_body::{ClientBody, Patience};
use crate::filters::{Answer, RequestPass};
use crate::http2::stream::StreamRef;
use crate::journal::{Whose, say};
use crate::model::route::{RouteAction, VirtualHost};
use crate::route::headers::{apply_to_response, ordered};
use crate::route::rewrite;
use crate::route::table::Found;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::StreamInfo;
use crate::stream_info::request::RequestHead;

/// A request whose head has come.
#[derive(Debug)]
pub struct Received {
    pub head: ReceivedHead,
    pub body: ComingBody,
    /// How its side of a tunnel is had, where it asks for one.
    pub switch: ClientSwitch,
    /// Sends interim answers to the client, where they pass.
    pub interim: Option<Interim>,
    /// The client's stream, where it has one.
    pub stream: Option<StreamRef>,
}

/// Serves one request. Never fails: what goes wrong becomes an answer.
pub async fn serve(connection: Rc<HttpConnection>, request: Received) -> Response<ResponseBody> {
    // Stage 1: the configuration of this request, fixed until its end.
    let (manager, mut context) = begin(&connection, Some(&request.head));
    context.stream.clone_from(&request.stream);

    // Stages 2 to 5: an answer.
    let answer = answer(&connection, &manager, request, context).await;

    // Stage 6: up the filters, to the client.
    send(&manager, answer).await
}

/// Answers what the codec can make no request of. It is counted and logged as any other; `head` is what could be read.
pub async fn refuse_unread(
    connection: Rc<HttpConnection>,
    head: Option<&ReceivedHead>,
    status: StatusCode,
    kind: ErrorKind,
) -> Response<ResponseBody> {
    let (manager, mut context) = begin(&connection, head);
    context.info.request = head.and_then(ReceivedHead::facts);
    send(&manager, refuse(status, kind, false, &connection, context)).await
}

/// Notes what is no request and gets no answer, since its stream was reset.
pub fn refuse_unanswered(connection: &Rc<HttpConnection>, flag: ResponseFlags, details: &'static str) {
    let (_, mut context) = begin(connection, None);
    context.info.flags.insert(flag);
    context.info.details = Some(details.into());
    say!(context.info.journal, reason = details, "request refused");
    context.complete();
}

fn begin(
    connection: &Rc<HttpConnection>,
    head: Option<&ReceivedHead>,
) -> (Arc<ConnectionManager>, Box<RequestContext>) {
    let manager = connection.manager();
    // Made in its place: it is large, and a move of it costs as much as finding a route.
    let info = StreamInfo::new(connection.info.clone(), Instant::now(), SystemTime::now());
    let mut context = RequestContext::new(info, manager.clone(), connection.worker.clone(), Rc::default());
    let info = &mut context.info;
    info.notes.clone_from(&connection.notes);
    info.protocol = Some(if connection.http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    });
    let whose = Whose::from(&*connection.info);
    if let Some(head) = head {
        info.journal = connection.worker.journals.request(whose, &head.headers);
    }
    manager.stats.begin();
    context.active = connection.http2.then(|| ActiveRequest::new(connection.clone()));
    (manager, context)
}

async fn answer(
    connection: &HttpConnection,
    manager: &Arc<ConnectionManager>,
    request: Received,
    mut context: Box<RequestContext>,
) -> Reply {
    // Stage 2: one normalised form.
    let worker = &connection.worker;
    let Received {
        mut head,
        body,
        switch,
        interim,
        ..
    } = request;
    context.interim = interim.filter(|_| manager.model.proxy_100_continue);
    leave_expectation(&mut head, &body, context.interim.is_some());
    let mut body = ClientBody::Direct(body);
    let id = context.info.journal.id_of(&head.headers);
    let mut head = match normalise(&mut head, manager, &connection.info) {
        Normalised::Request(head) => head,
        Normalised::Redirect(path) => {
            context.info.request = head.facts();
            context.info.journal.identify(id.as_ref());
            return redirect_to(&path, StatusCode::TEMPORARY_REDIRECT, context);
        }
        Normalised::Refused { rule, grpc } => {
            context.info.request = head.facts();
            context.info.journal.identify(id.as_ref());
            let kind = ErrorKind::BadRequest(rule);
            return refuse(kind.status(), kind, grpc, connection, context);
        }
    };
    let client = headers::prepare_request(&mut head, &manager.model, &connection.info, || worker.random());
    // Every client is an outsider (see there).
    let internal = manager
        .routes
        .iter()
        .flat_map(|routes| &routes.table.config().internal_only_headers);
    for name in internal {
        head.headers.remove(name);
    }
    context.info.journal.identify_by(&head.headers);
    say!(context.info.journal, method = %head.method, host = head.host(), path = %head.path, "request normalised");
    if let Some(via) = &manager.via {
        headers::append_to_list(&mut head.headers, &header::VIA, via, ", ");
    }
    if client != connection.info.remote_addr.ip() {
        context.info.remote_addr = (client, 0).into();
    }

    if let Some(tracer) = &manager.tracer {
        context.info.trace = Some(tracer.begin(&mut head.headers, || worker.random()));
    }

    // Stage 3: the route, and its cluster.
    let host = (manager.routes.as_ref()).and_then(|routes| Some((routes, routes.table.host(&head)?)));
    // Whether there is a route for it or not (Envoy: `VirtualHostImpl::getRouteFromEntries`).
    let needs_tls = host.as_ref().is_some_and(|(_, (_, host))| needs_tls(host, &head));
    let random = worker.random();
    let routed = host
        .as_ref()
        .filter(|_| !needs_tls)
        .and_then(|(routes, (host_index, _))| {
            let found = routes.table.find(*host_index, &head, random)?;
            Some(Routed::new(routes, found, &head, worker.random()))
        });
    let host = host.map(|(_, (_, host))| host);
    tell_route(routed.as_ref(), host, needs_tls, &head, &mut context);

    // CONNECT and offers that nothing allows meet no filter, where there is a route (Envoy: `upgrade_failed`).
    if let Some(protocol) = &head.upgrade
        && (routed.is_some() || needs_tls)
        && !upgrade_enabled(
            protocol,
            routed.as_ref().map_or(&[], Routed::upgrades),
            &manager.model.upgrades,
        )
    {
        return fail(ErrorKind::UpgradeRefused, &head, context);
    }

    // Stage 4: down the filters before the router.
    if let Some(answer) = pass_filters(manager, &mut head, &mut body, &mut context).await {
        return filtered(answer, &head, note(&head, manager, context));
    }

    // Stage 5: what the route does.
    if needs_tls {
        let location = format!("https://{}{}", head.host(), head.path);
        return redirect_to(&location, StatusCode::MOVED_PERMANENTLY, note(&head, manager, context));
    }
    let Some(routed) = routed else {
        return fail(ErrorKind::RouteNotFound, &head, context);
    };
    act(connection, routed, (head, body, switch), context).await
}

/// Notes where a request is routed.
fn tell_route(
    routed: Option<&Routed<'_>>,
    host: Option<&VirtualHost>,
    needs_tls: bool,
    head: &RequestHead,
    context: &mut RequestContext,
) {
    match (routed, host) {
        (Some(routed), _) => routed.tell(context),
        (None, Some(host)) if needs_tls => {
            context.info.virtual_host = Some(host.name.clone());
            say!(context.info.journal, virtual_host = %host.name, "sent to tls");
        }
        (None, _) => say!(
            context.info.journal,
            host = head.host(),
            path = head.path_only(),
            "no route found"
        ),
    }
}

/// Leads a request down the filters; an answer is that of one of them.
async fn pass_filters(
    manager: &ConnectionManager,
    head: &mut RequestHead,
    body: &mut ClientBody,
    context: &mut RequestContext,
) -> Option<Answer> {
    if manager.filters.is_empty() {
        return None;
    }
    let RequestContext {
        info,
        progress,
        filters,
        worker,
        ..
    } = context;
    let mut pass = RequestPass {
        head,
        body,
        patience: Patience {
            begun: info.started_at,
            arrival: manager.model.request_timeout,
            idle: manager.model.stream_idle_timeout,
        },
        info,
        progress,
        istio: &worker.istio,
        random: &worker.random,
        services: &**worker,
    };
    manager.filters.on_request(filters, &mut pass).await
}

/// Leaves it to the upstream to say whether it wants the body, where its answer to that passes, else meets the expectation here.
fn leave_expectation(head: &mut ReceivedHead, body: &ComingBody, passes: bool) {
    if passes {
        body.leave_to_upstream();
    } else {
        headers::strip_expectation(&mut head.headers);
    }
}

/// A filter's own answer.
fn filtered(answer: Answer, head: &RequestHead, context: Box<RequestContext>) -> Reply {
    match answer {
        Answer::Told {
            status,
            grpc,
            text,
            headers,
        } => {
            let grpc = head.grpc.then(|| grpc.unwrap_or_else(|| grpc_status_of(status)));
            let mut reply = respond::local(status, text, grpc, context);
            reply.headers_mut().extend(headers);
            // The rest of a body that is too long is not waited for.
            if status == StatusCode::PAYLOAD_TOO_LARGE && head.version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                reply.headers_mut().insert(header::CONNECTION, close);
            }
            reply
        }
        Answer::Plain { status, headers, body } => respond::with_body(status, headers, body, context),
    }
}

/// Does what the route says.
async fn act(
    connection: &HttpConnection,
    routed: Routed<'_>,
    (head, body, switch): (RequestHead, ClientBody, ClientSwitch),
    context: Box<RequestContext>,
) -> Reply {
    let manager = context.manager.clone();
    let found = &routed.found;
    match &found.route.action {
        RouteAction::Direct(direct) => {
            if head.grpc {
                let body = String::from_utf8_lossy(&direct.body).into_owned();
                let context = note(&head, &manager, context);
                return respond::local(direct.status, body, Some(grpc_status_of(direct.status)), context);
            }
            let mut answer = HeaderMap::new();
            if !direct.body.is_empty() {
                answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            }
            let mut context = note(&head, &manager, context);
            context.info.details = Some("direct_response".into());
            say!(context.info.journal, "the route answers directly");
            mutate_local(&mut answer, found, &context);
            respond::with_body(direct.status, answer, direct.body.clone(), context)
        }
        RouteAction::Redirect(redirect) => {
            let location = rewrite::location(redirect, &found.route.matches.path, &head);
            let context = note(&head, &manager, context);
            let mut answer = HeaderMap::new();
            mutate_local(&mut answer, found, &context);
            respond::redirect(answer, &location, redirect.status, head.grpc, context)
        }
        RouteAction::Refused(_) => fail(ErrorKind::RouteRefused, &head, note(&head, &manager, context)),
        RouteAction::Forward(_) => {
            let exchange = Exchange {
                manager: manager.clone(),
                routes: routed.routes.clone(),
                host_index: found.host_index,
                route_index: found.route_index,
                http2: connection.http2,
            };
            forward::forward(exchange, routed.chosen, head, body, switch, context).await
        }
    }
}

/// Answers a request that breaks the protocol.
fn refuse(
    status: StatusCode,
    kind: ErrorKind,
    grpc: bool,
    connection: &HttpConnection,
    mut context: Box<RequestContext>,
) -> Reply {
    context.info.details = Some(kind.details().into());
    say!(context.info.journal, reason = kind.details(), "request refused");
    let mut body = String::new();
    // What the codec would refuse is answered as Envoy's codec does: with the reason as text, and in no other protocol.
    let of_codec = matches!(
        kind,
        ErrorKind::BadRequest(BadRequest::HeadersTooLarge | BadRequest::Protocol | BadRequest::Version)
    );
    if of_codec {
        context.info.flags.insert(kind.flag());
        body.push_str(status.canonical_reason().unwrap_or_default());
    }
    let grpc = (grpc && !of_codec).then(|| kind.grpc_status());
    let mut answer = respond::local(status, body, grpc, context);
    // Where a request goes has nothing to do with how the next one is read.
    if !connection.http2 && kind != ErrorKind::BadRequest(BadRequest::NoPath) {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

fn redirect_to(location: &str, status: StatusCode, context: Box<RequestContext>) -> Reply {
    respond::redirect(HeaderMap::new(), location, status, false, context)
}

fn mutate_local(answer: &mut HeaderMap, found: &Found<'_>, context: &RequestContext) {
    let specific_wins = found.config.most_specific_header_mutations_wins;
    let levels = [&found.route.headers, &found.host.headers, &found.config.headers].map(Some);
    for level in ordered(levels, specific_wins).into_iter().flatten() {
        apply_to_response(level, answer, &context.info);
    }
}
