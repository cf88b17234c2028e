//! Istio's exchange of peer metadata in headers: who calls, told by the client's proxy and believed only of a mesh peer.

use std::sync::Arc;

use http::HeaderMap;

use super::connection::HttpConnection;
use super::finish::Finish;
use crate::model::istio::PeerExchange;
use crate::model::metadata::WorkloadRef;
use crate::observe::istio::peer::{PEER_METADATA, PEER_METADATA_ID};
use crate::upstream::endpoint::Endpoint;

/// Takes the headers off a request; the workload of the client where its certificate proves that it is of the mesh and of the
/// namespace that it names.
pub fn discover(
    headers: &mut HeaderMap,
    exchange: &PeerExchange,
    connection: &HttpConnection,
) -> Option<Arc<WorkloadRef>> {
    if !exchange.discover && !exchange.propagate {
        return None;
    }
    let told = headers.remove(PEER_METADATA);
    headers.remove(PEER_METADATA_ID);
    let identity = connection.info.peer_identity().filter(|_| exchange.discover)?;
    let workload = connection.client_workload(&told?)?;
    (*workload.namespace == *identity.namespace()).then_some(workload)
}

/// Tells an endpoint of the mesh whose proxy this is.
pub fn propagate(headers: &mut HeaderMap, finish: &Finish, endpoint: &Endpoint) {
    let mesh = endpoint.tls.is_some() && endpoint.model.workload.is_some();
    if !finish.chain.peers.propagate || !mesh {
        return;
    }
    if let Some(own) = finish.worker.istio.own_headers() {
        headers.insert(PEER_METADATA_ID, own.id.clone());
        headers.insert(PEER_METADATA, own.metadata.clone());
    }
}

/// Takes what an endpoint's proxy tells in return off an answer.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(PEER_METADATA);
    headers.remove(PEER_METADATA_ID);
}
