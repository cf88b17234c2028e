//! Istio's exchange of peer metadata in headers (`istio.metadata_exchange`): who calls, told by the client's proxy and believed only of
//! a mesh peer.

use std::sync::Arc;

use http::HeaderMap;

use super::{AnswerPass, HttpFilter, Making, Next, NoState, RequestPass, Route};
use crate::model::filters::peer_metadata::{Config, RouteConfig};
use crate::model::metadata::WorkloadRef;
use crate::observe::istio::peer::{PEER_METADATA, PEER_METADATA_ID};
use crate::observe::istio::shard::Shard;

/// Reads and takes off what clients' and endpoints' proxies tell.
#[derive(Debug)]
pub(crate) struct Filter {
    config: Config,
}

// === impl Filter ===

impl Filter {
    pub(super) fn propagates(&self) -> bool {
        self.config.propagate
    }

    /// The workload of the client where its certificate proves that it is of the mesh and of the namespace that it names.
    fn discover(&self, request: &mut RequestPass<'_>) -> Option<Arc<WorkloadRef>> {
        let told = request.head.headers.remove(PEER_METADATA);
        request.head.headers.remove(PEER_METADATA_ID);
        let connection = &request.info.connection;
        let identity = connection.peer_identity().filter(|_| self.config.discover)?;
        let workload = connection.told.workload(&told?, |header| request.istio.peer(header))?;
        (*workload.namespace == *identity.namespace()).then_some(workload)
    }
}

impl HttpFilter for Filter {
    type Config = Config;
    type RouteConfig = RouteConfig;
    type State = NoState;

    fn new(config: &Config, _making: &Making<'_>) -> Self {
        Self { config: *config }
    }

    async fn on_request(&self, request: &mut RequestPass<'_>, _route: Route<'_, RouteConfig>) -> Next<NoState> {
        if self.config.discover || self.config.propagate {
            request.info.client_workload = self.discover(request);
        }
        Next::go()
    }

    async fn on_answer(
        &self,
        _state: Option<&mut NoState>,
        answer: &mut AnswerPass<'_>,
        _route: Route<'_, RouteConfig>,
    ) {
        if self.config.propagate {
            // What an endpoint's proxy tells in return.
            answer.headers.remove(PEER_METADATA);
            answer.headers.remove(PEER_METADATA_ID);
        }
    }
}

/// Tells an endpoint of the mesh whose proxy this is.
pub(crate) fn propagate(headers: &mut HeaderMap, istio: &Shard) {
    if let Some(own) = istio.own_headers() {
        headers.insert(PEER_METADATA_ID, own.id.clone());
        headers.insert(PEER_METADATA, own.metadata.clone());
    }
}
