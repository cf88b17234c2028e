//! The filters before the router: injected faults, then cross-origin requests. Both do nothing where no rule is.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::chain::HttpChain;
use super::finish::Finish;
use super::request::note;
use super::respond;
use crate::error::{ResponseFlags, grpc_status_of};
use crate::model::filters::{AbortStatus, Fault};
use crate::request::RequestHead;
use crate::route::filters::{self, CorsLevels};
use crate::route::table::Found;
use crate::runtime::CompiledRoutes;

/// Text of an injected answer, Envoy's.
const ABORT_TEXT: &str = "fault filter abort";

/// What becomes of a request before its route acts.
#[derive(Debug)]
pub enum Before<'a> {
    /// It goes on.
    Go {
        /// Its end.
        finish: Box<Finish>,
        /// What its answer gets.
        opened: Option<Opened<'a>>,
    },
    /// It is answered here.
    Answer(Box<Response<ResponseBody>>),
}

/// An answer that scripts of another origin may read.
#[derive(Debug)]
pub struct Opened<'a> {
    policies: CorsLevels<'a>,
    origin: HeaderValue,
}

// === impl Opened ===

impl Opened<'_> {
    /// Says so in the head of the answer.
    pub fn apply(&self, answer: &mut HeaderMap) {
        filters::expose(self.policies, &self.origin, answer);
    }
}

/// Runs the filters. The most specific rule counts: the route's, its virtual host's, the listener's.
pub async fn before<'a>(
    chain: &Arc<HttpChain>,
    routes: &CompiledRoutes,
    found: &Found<'a>,
    head: &RequestHead,
    mut finish: Box<Finish>,
) -> Before<'a> {
    let levels = [&found.route.filters, &found.host.filters, &chain.manager.rules];
    if chain.manager.rules.fault.is_some()
        && let Some(fault) = levels.iter().find_map(|rules| rules.fault.as_deref())
        && let Some(status) = injected(fault, &mut finish).await
    {
        let finish = answered(found, routes, head, note(head, chain, finish));
        return Before::Answer(Box::new(aborted(status, head, finish)));
    }
    let policies = [&found.route.filters, &found.host.filters].map(|rules| rules.cors.as_deref());
    if chain.manager.rules.cors.is_none() || policies.iter().all(Option::is_none) {
        return Before::Go { finish, opened: None };
    }
    let outcome = filters::cors(policies, head);
    if let Some(headers) = outcome.preflight {
        finish.info.details = Some("cors_response".into());
        let finish = answered(found, routes, head, note(head, chain, finish));
        let answer = respond::with_body(StatusCode::OK, headers, bytes::Bytes::new(), finish);
        return Before::Answer(Box::new(answer));
    }
    let opened = outcome.origin.map(|origin| Opened { policies, origin });
    Before::Go { finish, opened }
}

/// Notes where the request would have gone, as Envoy's log does.
fn answered(found: &Found<'_>, routes: &CompiledRoutes, head: &RequestHead, mut finish: Box<Finish>) -> Box<Finish> {
    let random = finish.worker.random();
    if let Ok(chosen) = routes.choose(found.host_index, found.route_index, head, random) {
        finish.info.upstream_cluster = Some(chosen.cluster.model.clone());
    }
    finish
}

/// Waits if the request is to wait, and says what it is to be answered.
async fn injected(fault: &Fault, finish: &mut Finish) -> Option<AbortStatus> {
    let random = [finish.worker.random(), finish.worker.random()];
    let injected = filters::inject(fault, random);
    if let Some(delay) = injected.delay {
        finish.info.flags.insert(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(delay).await;
    }
    injected.abort
}

fn aborted(status: AbortStatus, head: &RequestHead, mut finish: Box<Finish>) -> Response<ResponseBody> {
    finish.info.flags.insert(ResponseFlags::FAULT_INJECTED);
    finish.info.details = Some("fault_filter_abort".into());
    let (status, grpc) = match status {
        AbortStatus::Http(status) => (status, grpc_status_of(status)),
        AbortStatus::Grpc(code) => (StatusCode::OK, code),
    };
    respond::local(status, ABORT_TEXT.to_owned(), head.grpc.then_some(grpc), finish)
}
