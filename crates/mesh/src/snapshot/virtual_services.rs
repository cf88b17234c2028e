//! Routing rules by gateway and host, with short names resolved.

use std::collections::BTreeMap;
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

/// All routing rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualServices {
    /// Those that win come first.
    all: Vec<Arc<MeshVirtualService>>,
    /// Indexes into `all`, winners first.
    by_gateway: BTreeMap<GatewayRef, BTreeMap<Arc<str>, Vec<usize>>>,
}

// === impl GatewayRef ===

impl GatewayRef {
    /// Reads `mesh`, `name` or `namespace/name` as written in an object of `own`.
    pub fn parse(text: &str, own: &str) -> Self {
        if text == MESH_GATEWAY {
            return Self::Mesh;
        }
        let (namespace, name) = match text.split_once('/') {
            Some((".", name)) => (own, name),
            Some((namespace, name)) => (namespace, name),
            None => (own, text),
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

    /// Hosts of a gateway and the rules that proxies of `namespace` apply to them: of several that claim one host the
    /// first in precedence order wins. Ordered by host.
    pub fn of_gateway<'a>(
        &'a self,
        gateway: &GatewayRef,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<MeshVirtualService>)> {
        self.by_gateway
            .get(gateway)
            .into_iter()
            .flatten()
            .filter_map(move |(host, claims)| {
                self.claimants(claims)
                    .find(|rule| rule.visible_from(namespace))
                    .map(|rule| (host, rule))
            })
    }

    /// The rules that apply to `hostname`: the exact host, else the most specific wildcard that covers it.
    pub fn for_host(&self, gateway: &GatewayRef, hostname: &str, namespace: &str) -> Option<&Arc<MeshVirtualService>> {
        let hosts = self.by_gateway.get(gateway)?;
        if let Some(claims) = hosts.get(hostname)
            && let Some(rule) = self.claimants(claims).find(|rule| rule.visible_from(namespace))
        {
            return Some(rule);
        }
        let mut wild: Vec<_> = hosts
            .iter()
            // `*` sorts before every other character of a host name.
            .take_while(|(pattern, _)| pattern.starts_with('*'))
            .filter(|(pattern, _)| host::covers(pattern, hostname))
            .collect();
        wild.sort_by_key(|(pattern, _)| host::specificity(pattern));
        wild.into_iter()
            .find_map(|(_, claims)| self.claimants(claims).find(|rule| rule.visible_from(namespace)))
    }

    /// Every claim of several rules to one host of one gateway, winners first.
    pub(super) fn contested(&self) -> impl Iterator<Item = (&GatewayRef, &Arc<str>, Vec<&Arc<MeshVirtualService>>)> {
        self.by_gateway.iter().flat_map(move |(gateway, hosts)| {
            hosts
                .iter()
                .filter(|(_, claims)| claims.len() > 1)
                .map(move |(host, claims)| (gateway, host, self.claimants(claims).collect()))
        })
    }

    fn claimants<'a>(&'a self, claims: &'a [usize]) -> impl Iterator<Item = &'a Arc<MeshVirtualService>> {
        claims.iter().filter_map(|index| self.all.get(*index))
    }
}
