//! What routes say about filters, resolved by name when they are compiled: one look-up by position for a request.

use std::sync::Arc;

use smallvec::SmallVec;

use super::FilterList;
use crate::model::filters::{Override, RouteFilterConfig, Says};
use crate::model::route::RouteConfig;

/// What each route of a configuration says about the filters of a list. Nothing is kept where nothing is said.
#[derive(Debug, Default)]
pub(crate) struct FilterRoutes {
    hosts: Box<[HostSlots]>,
}

#[derive(Debug)]
struct HostSlots {
    routes: Box<[RouteSlots]>,
}

#[derive(Debug)]
struct RouteSlots {
    own: Option<Arc<Slots>>,
    weighted: Box<[Option<Arc<Slots>>]>,
}

/// What is said about the filters of a list, by their positions.
#[derive(Debug)]
pub struct Slots(Box<[Slot]>);

/// What is said about one filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    off: Option<bool>,
    /// The most specific first.
    configs: SmallVec<[Arc<RouteFilterConfig>; 1]>,
}

/// What the levels of a route tell a filter.
#[derive(Debug)]
pub(crate) struct Route<'a, C> {
    slot: Option<&'a Slot>,
    of: fn(&RouteFilterConfig) -> Option<&C>,
}

// === impl FilterRoutes ===

impl FilterRoutes {
    /// Resolves the names of a route configuration.
    pub(crate) fn new(config: &RouteConfig, list: &FilterList) -> Self {
        if list.is_empty() || config.filter_names().next().is_none() {
            return Self::default();
        }
        let least = Slots::under(None, &config.filters, list);
        let hosts = config.virtual_hosts.iter().map(|host| {
            let of_host = Slots::under(least.as_ref(), &host.filters, list);
            let routes = host.routes.iter().map(|route| {
                let own = Slots::under(of_host.as_ref(), &route.filters, list);
                let clusters = route.action.weighted().iter();
                let weighted = clusters.map(|cluster| Slots::under(own.as_ref(), &cluster.filters, list));
                RouteSlots {
                    weighted: weighted.collect(),
                    own,
                }
            });
            HostSlots {
                routes: routes.collect(),
            }
        });
        Self { hosts: hosts.collect() }
    }

    /// What is said for a request on a route and, of several clusters by weight, one.
    pub(crate) fn find(&self, host: usize, route: usize, weighted: Option<usize>) -> Option<&Arc<Slots>> {
        let route = self.hosts.get(host)?.routes.get(route)?;
        match weighted.and_then(|at| route.weighted.get(at)) {
            Some(slots) => slots.as_ref(),
            None => route.own.as_ref(),
        }
    }
}

// === impl Slots ===

impl Slots {
    /// What a level says on top of the less specific ones, which are shared where it says nothing.
    fn under(less: Option<&Arc<Self>>, level: &[Override], list: &FilterList) -> Option<Arc<Self>> {
        let known = |said: &&Override| list.names().any(|name| *name == said.name);
        if !level.iter().any(|said| known(&said)) {
            return less.cloned();
        }
        let slot = |(at, name): (usize, &Arc<str>)| {
            let mut slot = less.and_then(|slots| slots.get(at)).cloned().unwrap_or_default();
            let said = level.iter().find(|said| said.name == *name);
            match said.map(|said| &said.says) {
                None => {}
                Some(Says::Off) => slot.off = Some(true),
                Some(Says::On(config)) => {
                    slot.off = Some(false);
                    if let Some(config) = config {
                        slot.configs.insert(0, config.clone());
                    }
                }
            }
            slot
        };
        Some(Arc::new(Self(list.names().enumerate().map(slot).collect())))
    }

    pub(super) fn get(&self, at: usize) -> Option<&Slot> {
        self.0.get(at)
    }
}

// === impl Slot ===

impl Slot {
    /// Whether the filter is left out, where that is said.
    pub(crate) fn is_off(&self) -> Option<bool> {
        self.off
    }
}

// === impl Route ===

impl<C> Clone for Route<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Route<'_, C> {}

impl<'a, C: 'a> Route<'a, C> {
    pub(super) fn new(slot: Option<&'a Slot>, of: fn(&RouteFilterConfig) -> Option<&C>) -> Self {
        Self { slot, of }
    }

    /// What the most specific level tells that tells anything; nothing where that is meant for another filter.
    pub(crate) fn most_specific(self) -> Option<&'a C> {
        (self.of)(self.slot?.configs.first()?)
    }

    /// What every level tells, the most specific first.
    pub(crate) fn levels(self) -> impl DoubleEndedIterator<Item = &'a C> {
        let configs = self.slot.map_or(&[][..], |slot| &slot.configs);
        let of = self.of;
        configs.iter().filter_map(move |config| of(config))
    }
}
