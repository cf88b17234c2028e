//! What is refused of a new version goes on as it was (decision 90): the version before stands in, part by part. What protects is taken as
//! it is now, or closed.
//!
//! What has nothing before it stays closed: its connections are closed, its requests answered with an error.

use std::sync::Arc;

use crate::model::cluster::{Cluster, Security};
use crate::model::convert;
use crate::model::http::{HttpConnectionManager, RouteSource};
use crate::model::listener::{ChainAction, FilterChain, Listener, ListenerRefusal, Taken, TakenHttp};
use crate::model::route::{Refused, Route, RouteAction, RouteConfig, RouteMatch, VirtualHost};

/// Fills in what is refused of a listener; `None` where what it says beside its chains is, and was before.
pub(super) fn listener(mut new: Listener, before: Option<&Listener>) -> Option<Listener> {
    if new.refused.settings {
        let before = before.filter(|before| !before.refused.settings)?;
        new = Listener {
            name: new.name,
            // Chains may need what the version before did not.
            inspect_tls: before.inspect_tls || new.inspect_tls,
            chains: new.chains,
            default_chain: new.default_chain,
            origin: new.origin,
            refused: ListenerRefusal {
                settings: false,
                ..new.refused
            },
            ..before.clone()
        };
    }
    for new in &mut new.chains {
        chain(new, before.and_then(|before| chain_of(before, new)));
    }
    if let Some(new) = &mut new.default_chain {
        chain(new, before.and_then(|before| before.default_chain.as_ref()));
    }
    Some(new)
}

/// What a chain was before: by its name, else by what it takes.
pub(super) fn chain_of<'a>(before: &'a Listener, new: &FilterChain) -> Option<&'a FilterChain> {
    let mut chains = before.chains.iter();
    if new.name.is_empty() {
        chains.find(|before| same(&before.matches, &new.matches))
    } else {
        chains.find(|before| before.name == new.name)
    }
}

/// Fills in what is refused of a route configuration.
pub(super) fn routes(mut new: RouteConfig, before: Option<&RouteConfig>) -> RouteConfig {
    if new.refused {
        match before.filter(|before| !before.refused) {
            Some(before) => {
                new = RouteConfig {
                    name: new.name,
                    virtual_hosts: new.virtual_hosts,
                    ..before.clone()
                }
            }
            None => return convert::closed_routes(&new.name),
        }
    }
    for new in new.virtual_hosts.iter_mut().filter(|host| host.refused.is_some()) {
        let hosts = before.map(|before| before.virtual_hosts.as_slice()).unwrap_or_default();
        host(new, hosts.iter().find(|before| before.name == new.name));
    }
    new
}

/// A cluster of which only what protects it is good; `None` where that is not.
pub(super) fn cluster(security: Security, before: &Cluster) -> Option<Cluster> {
    match security {
        Security::Taken(taken) => Some(Cluster {
            transport: taken.0,
            host_tls: taken.1,
            ..before.clone()
        }),
        Security::Refused => None,
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
        (Taken::Tls, action) => action.clone(),
        (Taken::Http(taken), ChainAction::Http(manager)) => {
            ChainAction::Http(Box::new(merged(taken, (**manager).clone(), before)))
        }
        // Bytes go where they are meant to go now, or nowhere.
        (Taken::Clusters(clusters), ChainAction::Tcp(tcp)) if *clusters == tcp.clusters => before.action.clone(),
        (Taken::Nothing | Taken::Http(_) | Taken::Clusters(_), _) => return,
    };
    new.filters.clone_from(&before.filters);
    new.action = action;
}

/// A connection manager as it was, with what is good of the new one.
fn merged(taken: &TakenHttp, manager: HttpConnectionManager, before: &FilterChain) -> HttpConnectionManager {
    let mut manager = match &taken.edge {
        Some(edge) => manager.with_edge(edge),
        None => manager,
    };
    if let Some((filters, left_out)) = &taken.filters {
        manager.filters.clone_from(filters);
        manager.left_out.clone_from(left_out);
    }
    if let Some(routes) = &taken.routes {
        manager.routes = routes.clone();
        inline(&mut manager.routes, Some(before));
    }
    manager
}

/// Fills in routes that are in the listener.
fn inline(new: &mut RouteSource, before: Option<&FilterChain>) {
    let RouteSource::Inline(config) = new else { return };
    if !config.refused && config.virtual_hosts.iter().all(|host| host.refused.is_none()) {
        return;
    }
    *config = Arc::new(routes(RouteConfig::clone(config), before.and_then(inline_of)));
}

/// The routes that a chain has in itself.
pub(super) fn inline_of(chain: &FilterChain) -> Option<&RouteConfig> {
    match &chain.action {
        ChainAction::Http(manager) => match &manager.routes {
            RouteSource::Inline(routes) => Some(routes),
            RouteSource::Rds(_) => None,
        },
        ChainAction::Tcp(_) | ChainAction::Refused(_) => None,
    }
}

fn host(new: &mut VirtualHost, before: Option<&VirtualHost>) {
    let mut refusal = new.refused.take().unwrap_or_default();
    refusal.before = before.and_then(|before| match &before.refused {
        None => Some(Arc::new(before.clone())),
        Some(refused) => refused.before.clone(),
    });
    for route in &mut new.routes {
        if matches!(route.action, RouteAction::Refused(Refused::Action)) {
            keep_action(route, before);
        }
    }
    // Nobody knows which requests are meant, so that those which may be are routed as before.
    if let Some(before) = &refusal.before
        && new.routes.iter().any(Route::goes_as_before)
    {
        goes_on_from(new, before);
    }
    if refusal.settings {
        let good = before.filter(|before| before.refused.as_ref().is_none_or(|refused| !refused.settings));
        match good {
            Some(before) => {
                *new = VirtualHost {
                    name: new.name.clone(),
                    domains: std::mem::take(&mut new.domains),
                    routes: std::mem::take(&mut new.routes),
                    before_from: new.before_from,
                    require_tls: new.require_tls,
                    origin: new.origin.clone(),
                    ..before.clone()
                };
                refusal.settings = false;
            }
            None => {
                new.routes = vec![Route::refused(Arc::from(""), RouteMatch::all(), Refused::Match)];
                new.before_from = None;
            }
        }
    }
    new.refused = Some(refusal);
}

/// Gives a virtual host the routes of before, for requests that go as before.
pub(super) fn goes_on_from(new: &mut VirtualHost, before: &VirtualHost) {
    if new.before_from.is_some() {
        return;
    }
    let from = before.before_from.unwrap_or_default();
    new.before_from = Some(new.routes.len());
    new.routes.extend(before.routes[from..].iter().cloned());
}

/// Does what was done with the same requests before, if anything was.
fn keep_action(new: &mut Route, before: Option<&VirtualHost>) {
    let routes = before.into_iter().flat_map(|before| {
        let own = before.before_from.unwrap_or(before.routes.len());
        &before.routes[..own]
    });
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
mod closing_tests;
#[cfg(test)]
mod listener_tests;
#[cfg(test)]
mod tests;
