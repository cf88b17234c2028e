//! What of routes and virtual hosts was refused, and the routes that stand in for it.

use std::sync::Arc;

use super::route::{HeaderMutations, PathMatch, Route, RouteAction, RouteMatch, VirtualHost};

/// What of a virtual host was refused beside routes, which say so themselves.
#[derive(Clone, Debug, Default)]
pub struct HostRefusal {
    /// What it says of all its requests, so that none is served by routes without it.
    pub settings: bool,
    /// As it was when all of it was good; what is refused goes on from there.
    pub before: Option<Arc<VirtualHost>>,
}

/// What of a route was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What it does.
    Action,
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
            headers: HeaderMutations::default(),
            filters: Vec::new(),
            origin: None,
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
