//! What is refused of a new version goes on as it was (decision 90): the version before stands in, part by part.
//!
//! What has nothing before it stays closed: its connections are closed, its requests answered with an error.

use std::sync::Arc;

use crate::model::http::{HttpConnectionManager, RouteSource};
use crate::model::listener::{ChainAction, FilterChain, Listener, Taken};
use crate::model::route::{Refused, Route, RouteAction, RouteConfig, RouteMatch, VirtualHost};

/// Fills in what is refused of a listener.
pub(super) fn listener(new: &mut Listener, before: Option<&Listener>) {
    for (position, new) in new.chains.iter_mut().enumerate() {
        let chains = before.map(|before| before.chains.as_slice()).unwrap_or_default();
        let found = if new.name.is_empty() {
            chains
                .get(position)
                .filter(|before| same(&before.matches, &new.matches))
        } else {
            chains.iter().find(|before| before.name == new.name)
        };
        chain(new, found);
    }
    if let Some(new) = &mut new.default_chain {
        chain(new, before.and_then(|before| before.default_chain.as_ref()));
    }
}

/// Fills in what is refused of a route configuration.
pub(super) fn routes(new: &mut RouteConfig, before: Option<&RouteConfig>) {
    for new in new.virtual_hosts.iter_mut().filter(|host| host.refused.is_some()) {
        let hosts = before.map(|before| before.virtual_hosts.as_slice()).unwrap_or_default();
        host(new, hosts.iter().find(|before| before.name == new.name));
    }
}

fn chain(new: &mut FilterChain, before: Option<&FilterChain>) {
    let taken = match &mut new.action {
        ChainAction::Http(manager) => return inline(&mut manager.routes, before),
        ChainAction::Tcp(_) => return,
        ChainAction::Refused(taken) => taken,
    };
    let Some(before) = before else { return };
    let action = match (&*taken, &before.action) {
        (Taken::Nothing | Taken::Tls, action) => action.clone(),
        (Taken::Routes(routes), ChainAction::Http(manager)) => {
            let mut routes = routes.clone();
            inline(&mut routes, Some(before));
            ChainAction::Http(Box::new(HttpConnectionManager {
                routes,
                ..(**manager).clone()
            }))
        }
        // Bytes go where they are meant to go now, or nowhere.
        (Taken::Clusters(clusters), ChainAction::Tcp(tcp)) if *clusters == tcp.clusters => before.action.clone(),
        (Taken::Routes(_) | Taken::Clusters(_), _) => return,
    };
    if matches!(taken, Taken::Nothing) {
        new.tls.clone_from(&before.tls);
        new.transport_connect_timeout = before.transport_connect_timeout;
    }
    new.filters.clone_from(&before.filters);
    new.action = action;
}

/// Fills in routes that are in the listener.
fn inline(new: &mut RouteSource, before: Option<&FilterChain>) {
    let RouteSource::Inline(config) = new else { return };
    if config.virtual_hosts.iter().all(|host| host.refused.is_none()) {
        return;
    }
    let before = match before.map(|before| &before.action) {
        Some(ChainAction::Http(manager)) => match &manager.routes {
            RouteSource::Inline(before) => Some(&**before),
            RouteSource::Rds(_) => None,
        },
        Some(ChainAction::Tcp(_) | ChainAction::Refused(_)) | None => None,
    };
    routes(Arc::make_mut(config), before);
}

fn host(new: &mut VirtualHost, before: Option<&VirtualHost>) {
    let mut refusal = new.refused.take().unwrap_or_default();
    refusal.before = before.and_then(|before| match &before.refused {
        None => Some(Arc::new(before.clone())),
        Some(refused) => refused.before.clone(),
    });
    for at in 0..new.routes.len() {
        match new.routes[at].action {
            RouteAction::Refused(Refused::Action) => keep_action(&mut new.routes[at], before),
            // Nobody knows which requests are meant, so that from here on all of them are routed as before.
            RouteAction::Refused(Refused::Match) => {
                if let Some(before) = &refusal.before {
                    new.routes.truncate(at);
                    new.routes.extend(before.routes.iter().cloned());
                    break;
                }
            }
            RouteAction::Forward(_) | RouteAction::Redirect(_) | RouteAction::Direct(_) => {}
        }
    }
    if refusal.settings {
        let good = before.filter(|before| before.refused.as_ref().is_none_or(|refused| !refused.settings));
        match good {
            Some(before) => {
                *new = VirtualHost {
                    name: new.name.clone(),
                    domains: std::mem::take(&mut new.domains),
                    routes: std::mem::take(&mut new.routes),
                    origin: new.origin.clone(),
                    ..before.clone()
                };
                refusal.settings = false;
            }
            None => new.routes = vec![Route::refused(Arc::from(""), RouteMatch::all(), Refused::Match)],
        }
    }
    new.refused = Some(refusal);
}

/// Does what was done with the same requests before, if anything was.
fn keep_action(new: &mut Route, before: Option<&VirtualHost>) {
    let routes = before.into_iter().flat_map(|before| &before.routes);
    let mut good = routes.filter(|route| !matches!(route.action, RouteAction::Refused(_)));
    if let Some(before) = good.find(|before| same(&before.matches, &new.matches)) {
        new.action = before.action.clone();
        new.headers = before.headers.clone();
        new.filters.clone_from(&before.filters);
    }
}

/// Whether two matches take the same. Expressions have no equality of their own; their text has.
fn same(one: &impl std::fmt::Debug, other: &impl std::fmt::Debug) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

#[cfg(test)]
mod listener_tests;
#[cfg(test)]
mod tests;
