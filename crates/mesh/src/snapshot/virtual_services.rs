//! Routing rules by gateway and host, with short names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use weft_api::host;
use weft_api::meta::Object;
use weft_api::virtual_service::{MESH_GATEWAY, VirtualService};

use super::MeshSettings;
use super::inputs::{Inputs, by_precedence};
use super::share;

/// Where routing rules bind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayRef {
    Mesh,
    /// The workloads that a Gateway object selects.
    Named {
        /// Namespace of the Gateway.
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

/// A VirtualService with resolved names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshVirtualService {
    /// The object; its destinations' hosts are as written, see [`Self::resolve`].
    pub object: Arc<Object<VirtualService>>,
    /// Hosts in full, lower case.
    pub hosts: Vec<Arc<str>>,
    pub gateways: Vec<GatewayRef>,
    domain: Arc<str>,
}

/// The rules of each host, as indexes into all, winners first.
type ByHost = BTreeMap<Arc<str>, Vec<usize>>;

/// All routing rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualServices {
    /// Those that win come first.
    all: Vec<Arc<MeshVirtualService>>,
    by_gateway: BTreeMap<GatewayRef, ByHost>,
}

// === impl GatewayRef ===

impl GatewayRef {
    /// Reads `mesh`, `name`, `namespace/name`, or a DNS name that begins with name and namespace, as written in an object of `own`
    /// (Istio: `resolveGatewayName`).
    pub fn parse(text: &str, own: &str) -> Self {
        if text == MESH_GATEWAY {
            return Self::Mesh;
        }
        let mut labels = text.split('.');
        let (namespace, name) = match text.split_once('/') {
            Some((".", name)) => (own, name),
            Some((namespace, name)) => (namespace, name),
            None => match (labels.next(), labels.next()) {
                (Some(name), Some(namespace)) => (namespace, name),
                _ => (own, text),
            },
        };
        Self::Named {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str(MESH_GATEWAY),
            Self::Named { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

// === impl MeshVirtualService ===

impl MeshVirtualService {
    fn new(object: &Arc<Object<VirtualService>>, domain: &Arc<str>) -> Self {
        let namespace = &object.meta.namespace;
        Self {
            hosts: object
                .spec
                .hosts
                .iter()
                .map(|name| host::resolve(name, namespace, domain).into())
                .collect(),
            gateways: object
                .spec
                .gateways
                .iter()
                .map(|gateway| GatewayRef::parse(gateway, namespace))
                .collect(),
            domain: Arc::clone(domain),
            object: Arc::clone(object),
        }
    }

    /// The full name of a destination's host as written in this object.
    pub fn resolve(&self, destination: &str) -> String {
        host::resolve(destination, &self.object.meta.namespace, &self.domain)
    }

    /// The gateways of one match: its own list, else the object's.
    pub fn match_applies(&self, match_gateways: &[String], gateway: &GatewayRef) -> bool {
        match_gateways.is_empty()
            || match_gateways
                .iter()
                .any(|text| GatewayRef::parse(text, &self.object.meta.namespace) == *gateway)
    }

    /// Whether proxies of `namespace` may see it.
    pub fn visible_from(&self, namespace: &str) -> bool {
        self.object
            .spec
            .export_to
            .visible(&self.object.meta.namespace, namespace)
    }
}

// === impl VirtualServices ===

impl VirtualServices {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings, previous: Option<&Self>) -> Self {
        let domain: Arc<str> = settings.domain.as_str().into();
        let old: BTreeMap<_, _> = previous
            .into_iter()
            .flat_map(|previous| &previous.all)
            .map(|rule| ((&rule.object.meta.namespace, &rule.object.meta.name), rule))
            .collect();
        let mut built = Self::default();
        for object in by_precedence(&inputs.virtual_services) {
            let index = built.all.len();
            let rule = MeshVirtualService::new(object, &domain);
            for gateway in &rule.gateways {
                let hosts = built.by_gateway.entry(gateway.clone()).or_default();
                for host in &rule.hosts {
                    let claims: &mut Vec<usize> = hosts.entry(Arc::clone(host)).or_default();
                    if claims.last() != Some(&index) {
                        claims.push(index);
                    }
                }
            }
            let old = old.get(&(&object.meta.namespace, &object.meta.name));
            built.all.push(share::keep(rule, old.copied()));
        }
        built
    }

    /// All rules, winners first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<MeshVirtualService>> {
        self.all.iter()
    }

    /// Hosts of a gateway and the rules that proxies of `namespace` see for them. Ordered by host, those of one host winners first.
    pub fn of_gateway<'a>(
        &'a self,
        gateway: &GatewayRef,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<MeshVirtualService>)> {
        let hosts = self.by_gateway.get(gateway).into_iter().flatten();
        hosts.flat_map(move |(host, claims)| {
            let seen = self.claimants(claims).filter(move |rule| rule.visible_from(namespace));
            seen.map(move |rule| (host, rule))
        })
    }

    /// The same rules once each, winners first.
    pub fn at_gateway(&self, gateway: &GatewayRef, namespace: &str) -> Vec<&Arc<MeshVirtualService>> {
        let hosts = self.by_gateway.get(gateway).into_iter().flatten();
        self.seen(hosts.flat_map(|(_, claims)| claims.iter().copied()), namespace)
    }

    /// The rules that may apply to requests for `hostname`, the first that say anything winning: those of the exact host, else those
    /// that win the most specific wildcard that covers it (Istio: `mostSpecificWildcardVsIndex`). `seen` says who is looked at.
    pub fn for_host(
        &self,
        gateway: &GatewayRef,
        hostname: &str,
        seen: impl Fn(&MeshVirtualService) -> bool,
    ) -> Vec<&Arc<MeshVirtualService>> {
        let Some(hosts) = self.by_gateway.get(gateway) else {
            return Vec::new();
        };
        let claims = hosts.get(hostname).map_or(&[][..], Vec::as_slice);
        let exact: Vec<_> = self.claimants(claims).filter(|rule| seen(rule)).collect();
        if !exact.is_empty() {
            return exact;
        }
        let mut wild: Vec<_> = wildcards_over(hosts, hostname).collect();
        wild.sort_by_key(|(pattern, _)| host::specificity(pattern));
        let winner = |(_, claims): (&Arc<str>, &'_ Vec<usize>)| {
            let index = claims
                .iter()
                .find(|index| self.all.get(**index).is_some_and(|rule| seen(rule)))?;
            self.all.get(*index)
        };
        wild.into_iter().find_map(winner).into_iter().collect()
    }

    /// All rules that name `hostname` or a wildcard that covers it, winners first: connections, unlike requests, go by the rules of all of
    /// them.
    pub fn covering(&self, gateway: &GatewayRef, hostname: &str, namespace: &str) -> Vec<&Arc<MeshVirtualService>> {
        let Some(hosts) = self.by_gateway.get(gateway) else {
            return Vec::new();
        };
        let exact = hosts.get(hostname).into_iter().flatten();
        let wild = wildcards_over(hosts, hostname).flat_map(|(_, claims)| claims);
        self.seen(exact.chain(wild).copied(), namespace)
    }

    /// Those of some rules that proxies of `namespace` see, once each, winners first.
    fn seen(&self, indexes: impl Iterator<Item = usize>, namespace: &str) -> Vec<&Arc<MeshVirtualService>> {
        let indexes: BTreeSet<usize> = indexes.collect();
        let rules = indexes.iter().filter_map(|index| self.all.get(*index));
        rules.filter(|rule| rule.visible_from(namespace)).collect()
    }

    /// Every claim of several rules to one host of a gateway, winners first.
    pub(super) fn contested(
        &self,
        gateway: &GatewayRef,
    ) -> impl Iterator<Item = (&Arc<str>, Vec<&Arc<MeshVirtualService>>)> {
        let hosts = self.by_gateway.get(gateway).into_iter().flatten();
        let several = hosts.filter(|(_, claims)| claims.len() > 1);
        several.map(|(host, claims)| (host, self.claimants(claims).collect()))
    }

    fn claimants<'a>(&'a self, claims: &'a [usize]) -> impl Iterator<Item = &'a Arc<MeshVirtualService>> {
        claims.iter().filter_map(|index| self.all.get(*index))
    }
}

/// The wildcards among some hosts that cover a name, with their rules.
fn wildcards_over<'a>(hosts: &'a ByHost, hostname: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Vec<usize>)> {
    // `*` sorts before every other character of a host name.
    let wild = hosts.iter().take_while(|(pattern, _)| pattern.starts_with('*'));
    wild.filter(move |(pattern, _)| host::covers(pattern, hostname))
}
