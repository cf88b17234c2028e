//! A compiled route configuration: host to virtual host, path to the first route that fits.
//!
//! The first route in order wins (Envoy API, `config.route.v3.VirtualHost.routes`). Exact paths and prefixes are found by
//! look-up; only regular expressions and matches without case are tried one by one.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::hosts::HostIndex;
use super::matcher::criteria_fit;
use crate::model::route::{PathMatch, Route, RouteConfig, VirtualHost};
use crate::stream_info::request::RequestHead;

/// A route configuration ready to be asked.
#[derive(Debug)]
pub struct RouteTable {
    config: Arc<RouteConfig>,
    hosts: HostIndex,
    paths: Vec<HostPaths>,
}

/// The routes of one virtual host.
#[derive(Debug)]
struct HostPaths {
    own: PathIndex,
    /// Those of before, where any are needed.
    before: Option<PathIndex>,
}

/// The route of a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub config: &'a RouteConfig,
    /// Its virtual host.
    pub host: &'a VirtualHost,
    pub route: &'a Route,
    /// Position of the virtual host.
    pub host_index: usize,
    /// Position of the route within it.
    pub route_index: usize,
}

/// Routes of one virtual host by path; positions are in the order of the configuration.
#[derive(Debug, Default)]
struct PathIndex {
    exact: HashMap<Arc<str>, Vec<usize>>,
    prefixes: HashMap<Arc<str>, Vec<usize>>,
    /// Lengths of prefixes that occur.
    prefix_lengths: Vec<usize>,
    others: Vec<usize>,
}

// === impl RouteTable ===

impl RouteTable {
    /// Compiles a configuration.
    pub fn new(config: Arc<RouteConfig>) -> Self {
        let domains = config.virtual_hosts.iter().enumerate();
        let domains = domains.flat_map(|(index, host)| host.domains.iter().map(move |domain| (index, domain)));
        let hosts = HostIndex::new(domains, config.ignore_port_in_host_matching);
        let paths = config.virtual_hosts.iter().map(HostPaths::new).collect();
        Self { config, hosts, paths }
    }

    pub fn config(&self) -> &Arc<RouteConfig> {
        &self.config
    }

    /// The virtual host of a request, with its position.
    pub fn host(&self, request: &RequestHead) -> Option<(usize, &VirtualHost)> {
        let host_index = self.hosts.find(request.host())?;
        Some((host_index, &self.config.virtual_hosts[host_index]))
    }

    /// The route of a request in its virtual host. `random` decides routes that take a share of requests.
    pub fn find(&self, host_index: usize, request: &RequestHead, random: u64) -> Option<Found<'_>> {
        let host = &self.config.virtual_hosts[host_index];
        let route_index = self.paths[host_index].find(&host.routes, request, random)?;
        Some(Found {
            config: &self.config,
            host,
            route: &host.routes[route_index],
            host_index,
            route_index,
        })
    }
}

// === impl HostPaths ===

impl HostPaths {
    fn new(host: &VirtualHost) -> Self {
        let from = host.before_from.unwrap_or(host.routes.len());
        Self {
            own: PathIndex::new(host.routes.iter().enumerate().take(from)),
            before: (host.before_from).map(|from| PathIndex::new(host.routes.iter().enumerate().skip(from))),
        }
    }

    fn find(&self, routes: &[Route], request: &RequestHead, random: u64) -> Option<usize> {
        let own = self.own.find(routes, request, random, |_| true)?;
        match &self.before {
            Some(before) if routes[own].goes_as_before() => Some(self.as_before(own, before, routes, request, random)),
            Some(_) | None => Some(own),
        }
    }

    /// The route of a request whose own one goes as before. Nobody knows whether a route with a refused match is its own: a later one
    /// that would close counts then.
    fn as_before(&self, own: usize, before: &PathIndex, routes: &[Route], request: &RequestHead, random: u64) -> usize {
        if !routes[own].waits {
            let is_known = |at: usize| at > own && (routes[at].waits || !routes[at].goes_as_before());
            let next = self.own.find(routes, request, random, is_known);
            if let Some(next) = next.filter(|next| routes[*next].closes()) {
                return next;
            }
        }
        before.find(routes, request, random, |_| true).unwrap_or(own)
    }
}

// === impl PathIndex ===

impl PathIndex {
    fn new<'a>(routes: impl Iterator<Item = (usize, &'a Route)>) -> Self {
        let mut index = Self::default();
        for (at, route) in routes {
            match &route.matches.path {
                PathMatch::Exact {
                    path,
                    case_sensitive: true,
                } => {
                    index.exact.entry(path.clone()).or_default().push(at);
                }
                PathMatch::Prefix {
                    path,
                    case_sensitive: true,
                }
                | PathMatch::SeparatedPrefix {
                    path,
                    case_sensitive: true,
                } => {
                    index.prefixes.entry(path.clone()).or_default().push(at);
                    if !index.prefix_lengths.contains(&path.len()) {
                        index.prefix_lengths.push(path.len());
                    }
                }
                PathMatch::Exact { .. }
                | PathMatch::Prefix { .. }
                | PathMatch::SeparatedPrefix { .. }
                | PathMatch::Regex(_)
                | PathMatch::Connect => index.others.push(at),
            }
        }
        index
    }

    /// The first of the routes that may be chosen.
    fn find(&self, routes: &[Route], request: &RequestHead, random: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let path = request.path_only();
        let mut candidates: SmallVec<[usize; 16]> = SmallVec::new();
        candidates.extend(self.others.iter().copied());
        candidates.extend(self.exact.get(path).into_iter().flatten().copied());
        for length in &self.prefix_lengths {
            let found = path.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
            candidates.extend(found.into_iter().flatten().copied());
        }
        candidates.sort_unstable();
        candidates
            .into_iter()
            .find(|at| may(*at) && route_fits(&routes[*at], request, path, random))
    }
}

/// Whether a route takes a request.
fn route_fits(route: &Route, request: &RequestHead, path: &str, random: u64) -> bool {
    path_fits(&route.matches.path, request, path) && criteria_fit(&route.matches, request, random)
}

fn path_fits(matcher: &PathMatch, request: &RequestHead, path: &str) -> bool {
    let connect = request.method == http::Method::CONNECT && request.upgrade.as_deref() == Some("connect");
    if connect {
        // A CONNECT has no path that others could match (Envoy API, RouteMatch.connect_matcher).
        return matches!(matcher, PathMatch::Connect);
    }
    match matcher {
        PathMatch::Exact {
            path: own,
            case_sensitive,
        } => equal(path, own, *case_sensitive),
        PathMatch::Prefix {
            path: own,
            case_sensitive,
        } => starts(path, own, *case_sensitive),
        PathMatch::SeparatedPrefix {
            path: own,
            case_sensitive,
        } => starts(path, own, *case_sensitive) && matches!(path.as_bytes().get(own.len()), None | Some(b'/')),
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::Connect => false,
    }
}

fn equal(a: &str, b: &str, case_sensitive: bool) -> bool {
    if case_sensitive {
        a == b
    } else {
        a.eq_ignore_ascii_case(b)
    }
}

fn starts(path: &str, prefix: &str, case_sensitive: bool) -> bool {
    let Some(start) = path.as_bytes().get(..prefix.len()) else {
        return false;
    };
    if case_sensitive {
        start == prefix.as_bytes()
    } else {
        start.eq_ignore_ascii_case(prefix.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::model::route::{DirectResponse, HeaderMutations, Refused, RouteAction, RouteMatch};
    use crate::stream_info::request::Scheme;

    fn route(path: PathMatch) -> Route {
        Route {
            name: Arc::from(""),
            matches: RouteMatch {
                path,
                headers: Vec::new(),
                query: Vec::new(),
                grpc: false,
                fraction: None,
            },
            action: RouteAction::Direct(DirectResponse {
                status: http::StatusCode::OK,
                body: bytes::Bytes::new(),
            }),
            waits: false,
            headers: HeaderMutations::default(),
            filters: Vec::new(),
            origin: None,
        }
    }

    fn prefix(path: &str) -> Route {
        route(PathMatch::Prefix {
            path: path.into(),
            case_sensitive: true,
        })
    }

    #[test]
    fn what_goes_as_before_never_passes_what_closes() {
        let waits = Route {
            waits: true,
            ..prefix("/waits")
        };
        let refused = |path: &str| Route::refused("".into(), prefix(path).matches, Refused::Match);
        let closing = |path: &str| Route {
            action: RouteAction::Direct(DirectResponse {
                status: http::StatusCode::FORBIDDEN,
                body: bytes::Bytes::new(),
            }),
            ..prefix(path)
        };
        let own = [
            waits,
            refused("/x"),
            refused("/x/y"),
            closing("/x/closed"),
            prefix("/x/open"),
            prefix("/"),
        ];
        let before = [prefix("/waits/before"), prefix("/x")];
        let host = VirtualHost {
            routes: own.into_iter().chain(before).collect(),
            before_from: Some(6),
            ..VirtualHost::default()
        };
        let paths = HostPaths::new(&host);
        for (path, expected) in [
            ("/waits/before", 6),
            ("/waits/new", 0),
            ("/x/open", 7),
            ("/x/closed", 3),
            ("/x/y", 7),
            ("/else", 5),
        ] {
            assert_eq!(paths.find(&host.routes, &request(path), 0), Some(expected), "{path}");
        }
    }

    fn request(path: &str) -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: HeaderValue::from_static("h"),
            path: path.parse().unwrap(),
            headers: HeaderMap::new(),
            version: Version::HTTP_11,
            grpc: false,
            grpc_upstream: false,
            upgrade: None,
        }
    }

    fn path_match() -> impl Strategy<Value = PathMatch> {
        let path = "(/[aAb]{0,2}){1,3}";
        let own = (path, any::<bool>(), 0..4u8);
        own.prop_map(|(path, case_sensitive, kind)| {
            let path: Arc<str> = Arc::from(path);
            match kind {
                0 => PathMatch::Exact { path, case_sensitive },
                1 => PathMatch::Prefix { path, case_sensitive },
                2 => PathMatch::SeparatedPrefix {
                    path: Arc::from(path.trim_end_matches('/')),
                    case_sensitive,
                },
                _ => PathMatch::Regex(regex::Regex::new(&format!("^(?:{path}.?)$")).unwrap()),
            }
        })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_walk_in_order_finds(
            matches in prop::collection::vec(path_match(), 0..12),
            path in "(/[aAb]{0,2}){1,4}",
        ) {
            let routes: Vec<Route> = matches.into_iter().map(route).collect();
            let request = request(&path);
            let walk = routes.iter().position(|route| route_fits(route, &request, request.path_only(), 0));
            let index = PathIndex::new(routes.iter().enumerate());
            prop_assert_eq!(index.find(&routes, &request, 0, |_| true), walk);
        }
    }
}
