//! Virtual hosts: what of one may be refused while the rest goes on.
//!
//! A request that belongs to something refused is answered with an error, or goes on as before (`xds/keep.rs`). It never finds a wilder
//! virtual host or a later route instead.

use std::collections::HashMap;
use std::sync::Arc;

use weft_proto::xds::envoy::config::route::v3 as route;

use super::route::{one_route, route_match};
use super::route_headers::mutations;
use super::route_retry::retry;
use super::{Path, Result, origin, text};
use crate::model::filters::overrides;
use crate::model::route as model;

/// Names of virtual hosts by the domains that they have.
pub(super) type Taken = HashMap<Arc<str>, String>;

/// A virtual host. Where it is refused it is there without what was, and says so: its requests must not find another one.
pub(super) fn virtual_host(
    source: &route::VirtualHost,
    taken: &mut Taken,
    body_max: usize,
    at: &Path,
) -> Result<model::VirtualHost> {
    let mut domains = Vec::with_capacity(source.domains.len());
    let mut all_domains = true;
    for (index, name) in source.domains.iter().enumerate() {
        let good = at
            .field("domains")
            .index(index)
            .part(|at| domain(name, &source.name, taken, at))?;
        all_domains &= good.is_some();
        domains.extend(good);
    }
    let routes = routes(&source.routes, body_max, &at.field("routes"))?;
    let any_refused = routes
        .iter()
        .any(|route| matches!(route.action, model::RouteAction::Refused(_)));
    let at_tls = at.field("require_tls");
    let require_tls = at_tls.part(|at| require_tls(source.require_tls, at))?;
    let settings = at.part(|at| settings(source, at))?;
    let refused = !all_domains || any_refused || require_tls.is_none() || settings.is_none();
    let refusal = model::HostRefusal {
        settings: settings.is_none(),
        before: None,
    };
    Ok(model::VirtualHost {
        name: text(&source.name),
        domains,
        routes,
        refused: refused.then(|| Box::new(refusal)),
        origin: origin(source.metadata.as_ref()),
        // What cannot be read may ask for the most.
        require_tls: require_tls.unwrap_or(model::RequireTls::All),
        ..settings.unwrap_or_default()
    })
}

/// A domain in lower case, which no other virtual host has.
fn domain(source: &str, host: &str, taken: &mut Taken, at: &Path) -> Result<Arc<str>> {
    let inner = source.strip_prefix('*').or_else(|| source.strip_suffix('*'));
    if source.is_empty() || inner.unwrap_or(source).contains('*') {
        return Err(at.error(format!("{source:?} must be a host, *suffix, prefix* or *")));
    }
    let domain = text(&source.to_ascii_lowercase());
    if let Some(first) = taken.get(&domain) {
        return Err(at.error(format!("domain {domain:?} is already one of virtual host {first:?}")));
    }
    taken.insert(domain.clone(), host.to_owned());
    Ok(domain)
}

fn require_tls(source: i32, at: &Path) -> Result<model::RequireTls> {
    use route::virtual_host::TlsRequirementType as Tls;
    let value = Tls::try_from(source).map_err(|_| at.error(format!("{source} is not a value of it")))?;
    Ok(match value {
        Tls::None => model::RequireTls::None,
        Tls::ExternalOnly => model::RequireTls::ExternalOnly,
        Tls::All => model::RequireTls::All,
    })
}

/// What a virtual host says of all its requests beside `require_tls`.
fn settings(source: &route::VirtualHost, at: &Path) -> Result<model::VirtualHost> {
    Ok(model::VirtualHost {
        headers: mutations(
            &source.request_headers_to_add,
            &source.request_headers_to_remove,
            &source.response_headers_to_add,
            &source.response_headers_to_remove,
            at,
        )?,
        retry: retry(source.retry_policy.as_ref(), &at.field("retry_policy"))?,
        include_request_attempt_count: source.include_request_attempt_count,
        include_attempt_count_in_response: source.include_attempt_count_in_response,
        filters: overrides(&source.typed_per_filter_config, at)?,
        ..model::VirtualHost::default()
    })
}

/// What stands in for a route configuration that is refused as a whole: every request is answered with an error.
pub fn closed_routes(name: &str) -> model::RouteConfig {
    let closed = model::Route::refused(text(""), model::RouteMatch::all(), model::Refused::Match);
    model::RouteConfig {
        name: text(name),
        virtual_hosts: vec![model::VirtualHost {
            domains: vec![text("*")],
            routes: vec![closed],
            ..model::VirtualHost::default()
        }],
        headers: model::HeaderMutations::default(),
        internal_only_headers: Vec::new(),
        most_specific_header_mutations_wins: false,
        ignore_port_in_host_matching: false,
        filters: Vec::new(),
        refused: true,
    }
}

/// The routes in order. In the place of one that is refused there is one that answers an error to all that it would take, and where that
/// is not known, to all that it might take.
fn routes(source: &[route::Route], body_max: usize, at: &Path) -> Result<Vec<model::Route>> {
    let mut routes = Vec::with_capacity(source.len());
    for (index, source) in source.iter().enumerate() {
        let mut at = at.index(index);
        let origin = origin(source.metadata.as_ref());
        if let Some(origin) = &origin {
            at = at.owned_by(&origin.object);
        }
        let matches = at.field("match").part(|at| {
            let matches = source.r#match.as_ref().ok_or_else(|| at.error("is required"))?;
            route_match(matches, at)
        })?;
        let rest = at.part(|at| one_route(source, matches.clone(), body_max, at))?;
        let refused = |matches, what| model::Route {
            origin: origin.clone(),
            ..model::Route::refused(text(&source.name), matches, what)
        };
        routes.push(match (matches, rest) {
            (_, Some(Some(route))) => route,
            (Some(matches), _) if closes(source) => refused(matches, model::Refused::Closing),
            (Some(matches), _) => refused(matches, model::Refused::Action),
            (None, _) if closes(source) => refused(might_match(source), model::Refused::Closing),
            (None, _) => refused(might_match(source), model::Refused::Match),
        });
    }
    Ok(routes)
}

/// Whether a route lets no request through: an answer that is an error, or a redirect to TLS ([`model::Route::closes`] of one that is
/// good).
fn closes(source: &route::Route) -> bool {
    use route::redirect_action::SchemeRewriteSpecifier as Scheme;
    use route::route::Action;
    match &source.action {
        Some(Action::DirectResponse(direct)) => direct.status >= 400,
        Some(Action::Redirect(redirect)) => match &redirect.scheme_rewrite_specifier {
            Some(Scheme::HttpsRedirect(https)) => *https,
            Some(Scheme::SchemeRedirect(scheme)) => scheme == "https",
            None => false,
        },
        // What is not read may close.
        Some(_) if !matches!(source.action, Some(Action::Route(_))) => true,
        Some(_) | None => false,
    }
}

/// A match of at least all that a refused match would take: its path alone, else everything.
fn might_match(source: &route::Route) -> model::RouteMatch {
    let path_alone = source.r#match.as_ref().map(|matches| route::RouteMatch {
        path_specifier: matches.path_specifier.clone(),
        case_sensitive: matches.case_sensitive,
        ..route::RouteMatch::default()
    });
    let path_alone = path_alone.and_then(|matches| route_match(&matches, &Path::default()).ok());
    path_alone.unwrap_or_else(model::RouteMatch::all)
}
