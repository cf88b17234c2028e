//! What a route adds to the answers that the proxy gives on it itself.

use std::sync::Arc;

use http::header::{self, HeaderMap};

use crate::route::headers::apply_to_response;
use crate::runtime::routes::CompiledRoutes;
use crate::stream_info::StreamInfo;

/// The route by which a request would be forwarded. Its header changes are made on answers of the proxy's own as on those of upstreams, be
/// they a filter's or of a failure (Envoy, `DownstreamFilterManager::sendLocalReply`). Routes that answer themselves are none.
#[derive(Clone, Debug)]
pub struct AnsweringRoute {
    pub routes: Arc<CompiledRoutes>,
    pub host_index: usize,
    /// Route within it.
    pub route_index: usize,
    /// Entry of its weighted target.
    pub weighted: Option<usize>,
}

// === impl AnsweringRoute ===

impl AnsweringRoute {
    /// The head that an answer begins with. How long a body is, is not the route's to say.
    pub fn head(&self, info: &StreamInfo) -> HeaderMap {
        let mut head = HeaderMap::new();
        let changes = self
            .routes
            .header_changes(self.host_index, self.route_index, self.weighted);
        for level in changes.into_iter().flatten() {
            apply_to_response(level, &mut head, info);
        }
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            head.remove(name);
        }
        head
    }
}
