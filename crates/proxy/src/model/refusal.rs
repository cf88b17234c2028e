//! What of routes and virtual hosts was refused, and the routes that stand in for it.

use std::sync::Arc;

use super::route::{HeaderMutations, PathMatch, Route, RouteAction, RouteMatch, VirtualHost};

/// What of a virtual host was refused beside routes, which say so themselves.
#[derive(Clone, Debug, Default)]
pub struct HostRefusal {
    /// What it says of all its requests beside `require_tls`, so that none is served by routes without it.
    pub settings: bool,
    /// As it was when all of it was good; what is refused goes on from there.
    pub before: Option<Arc<VirtualHost>>,
}

/// What of a route was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What it does.
    Action,
    /// What it does or which requests it takes, where it would let none through: nothing goes on in its place.
    Closing,
    /// Which requests it takes; those that it might take are known at most.
    Match,
}

// === impl Route ===

impl Route {
    /// A route that answers an error to all that it takes.
    pub fn refused(name: Arc<str>, matches: RouteMatch, what: Refused) -> Self {
        Self {
            name,
            matches,
            action: RouteAction::Refused(what),
            waits: false,
            headers: HeaderMutations::default(),
            filters: Vec::new(),
            origin: None,
        }
    }

    /// Whether its requests are for the routes of before, if any of those takes them.
    pub fn goes_as_before(&self) -> bool {
        self.waits || matches!(self.action, RouteAction::Refused(Refused::Match))
    }

    /// Whether it lets no request through: an answer that is an error, or a redirect to TLS.
    pub fn closes(&self) -> bool {
        match &self.action {
            RouteAction::Direct(direct) => direct.status.as_u16() >= 400,
            RouteAction::Redirect(redirect) => redirect.https || redirect.scheme.as_deref() == Some("https"),
            RouteAction::Refused(Refused::Closing) => true,
            RouteAction::Forward(_) | RouteAction::Refused(Refused::Action | Refused::Match) => false,
        }
    }
}

// === impl RouteMatch ===

impl RouteMatch {
    /// Takes every request that has a path.
    pub fn all() -> Self {
        Self {
            path: PathMatch::Prefix {
                path: Arc::from(""),
                case_sensitive: true,
            },
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
            fraction: None,
        }
    }
}
