//! The route of a request, and whether its virtual host wants TLS.

use std::sync::Arc;

use super::context::RequestContext;
use super::own_answers::AnsweringRoute;
use crate::error::ErrorKind;
use crate::filters::Passage;
use crate::journal::say;
use crate::model::http::Upgrade;
use crate::model::route::{RequireTls, RouteAction, VirtualHost};
use crate::route::table::Found;
use crate::runtime::routes::{Chosen, CompiledRoutes};
use crate::stream_info::header_names;
use crate::stream_info::request::{RequestHead, Scheme};

/// A request's route and, where it forwards, the cluster that takes the request.
#[derive(Debug)]
pub(super) struct Routed<'a> {
    pub(super) routes: &'a Arc<CompiledRoutes>,
    pub(super) found: Found<'a>,
    pub(super) chosen: Result<Chosen, ErrorKind>,
}

// === impl Routed ===

impl<'a> Routed<'a> {
    pub(super) fn new(routes: &'a Arc<CompiledRoutes>, found: Found<'a>, head: &RequestHead, random: u64) -> Self {
        Self {
            chosen: routes.choose(found.host_index, found.route_index, head, random),
            routes,
            found,
        }
    }

    /// What it says of offers of other protocols.
    pub(super) fn upgrades(&self) -> &[Upgrade] {
        match &self.found.route.action {
            RouteAction::Forward(action) => &action.upgrades,
            RouteAction::Direct(_) | RouteAction::Redirect(_) | RouteAction::Refused(_) => &[],
        }
    }

    /// Notes what logs and filters want to know of it.
    pub(super) fn tell(&self, context: &mut RequestContext) {
        let found = &self.found;
        context.info.route_name = Some(found.route.name.clone()).filter(|name| !name.is_empty());
        context.info.virtual_host = Some(found.host.name.clone());
        context.info.route_origin = found.route.origin.clone();
        context.info.journal.route(&found.route.name);
        let cluster = self.chosen.as_ref().ok().map(|chosen| &*chosen.cluster.model.name);
        say!(context.info.journal, virtual_host = %found.host.name, cluster, "route found");
        let chosen = self.chosen.as_ref().ok();
        context.info.upstream_cluster = chosen.map(|chosen| chosen.cluster.model.clone());
        context.filters = Passage::new(self.routes.filter_slots(found, chosen).cloned());
        context.route = matches!(found.route.action, RouteAction::Forward(_)).then(|| AnsweringRoute {
            routes: self.routes.clone(),
            host_index: found.host_index,
            route_index: found.route_index,
            weighted: chosen.and_then(Chosen::weighted),
        });
    }
}

/// Whether a virtual host sends a request to where TLS is. What counts is what the last hop that is trusted says; every client is an
/// outsider, so that both kinds of requirement are one.
pub(super) fn needs_tls(host: &VirtualHost, head: &RequestHead) -> bool {
    let is_secured = || {
        let scheme = head.headers.get(header_names::FORWARDED_PROTO);
        scheme.is_some_and(|scheme| scheme == Scheme::Https.as_str())
    };
    host.require_tls != RequireTls::None && !is_secured()
}
