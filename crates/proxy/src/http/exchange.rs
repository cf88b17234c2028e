//! What an exchange with upstream goes by: connection manager and route, fixed until its end.

use std::sync::Arc;

use crate::model::route::{Forward, RetryPolicy, RouteAction};
use crate::route::headers::apply_to_request;
use crate::route::retry;
use crate::runtime::connection_manager::ConnectionManager;
use crate::runtime::routes::{Chosen, CompiledRoutes};
use crate::stream_info::StreamInfo;
use crate::stream_info::request::RequestHead;

/// The configuration that an exchange with upstream goes by.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub manager: Arc<ConnectionManager>,
    pub routes: Arc<CompiledRoutes>,
    pub host_index: usize,
    /// Route within it.
    pub route_index: usize,
    /// Whether the client speaks HTTP/2.
    pub http2: bool,
}

// === impl Exchange ===

impl Exchange {
    /// What the route says.
    pub fn action(&self) -> &Forward {
        match &self.routes.route(self.host_index, self.route_index).action {
            RouteAction::Forward(action) => action,
            RouteAction::Redirect(_) | RouteAction::Direct(_) | RouteAction::Refused(_) => {
                unreachable!("only forwarding routes make an exchange")
            }
        }
    }

    /// Retries of the route, else of the virtual host.
    pub fn policy(&self) -> Option<&Arc<RetryPolicy>> {
        self.action()
            .retry
            .as_ref()
            .or_else(|| self.routes.host(self.host_index).retry.as_ref())
    }

    /// The same if they are for this request.
    pub fn retries(&self, head: &RequestHead) -> Option<&Arc<RetryPolicy>> {
        self.policy().filter(|policy| retry::covers(policy, head))
    }

    /// Applies the header changes of a request in Envoy's order.
    pub fn mutate(&self, chosen: &Chosen, head: &mut RequestHead, info: &StreamInfo) {
        for level in chosen.header_changes(&self.routes).into_iter().flatten() {
            apply_to_request(level, head, info);
        }
    }
}
