//! Subsets and client policy by host; rules of one host, namespace and audience are merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::destination_rule::DestinationRule;
use weft_api::host;
use weft_api::meta::{Kind, Labels, Object, ObjectKey, selects};

use super::MeshSettings;
use super::inputs::{Inputs, by_precedence};
use super::service::Origin;
use super::share;

/// One host's rule, merged from one or more objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshDestinationRule {
    /// Host in full, lower case; maybe a wildcard.
    pub host: Arc<str>,
    /// Namespace of the objects.
    pub namespace: Arc<str>,
    /// The objects, the first of them leads.
    pub origins: Vec<Origin>,
    /// The merged rule: traffic policy of the first object that has one, subsets of all.
    pub rule: DestinationRule,
}

/// A part of an object that merging dropped because an earlier object has it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) loser: Origin,
    pub(super) winner: Origin,
    pub(super) field: String,
    pub(super) what: String,
}

/// Rules of one namespace by host.
type ByHost = BTreeMap<Arc<str>, Vec<Arc<MeshDestinationRule>>>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRules {
    root: Arc<str>,
    /// By namespace, then host; rules with a workload selector first, else winners first.
    by_namespace: BTreeMap<Arc<str>, ByHost>,
    pub(super) dropped: Vec<Dropped>,
}

// === impl MeshDestinationRule ===

impl MeshDestinationRule {
    /// The path that Istio puts into cluster metadata.
    pub fn config_path(&self) -> String {
        let name = self.origins.first().map_or("", |origin| &origin.object.name);
        format!(
            "/apis/networking.istio.io/v1/namespaces/{}/destination-rule/{name}",
            self.namespace
        )
    }

    fn new(object: &Object<DestinationRule>, host: &Arc<str>) -> Self {
        Self {
            host: Arc::clone(host),
            namespace: Arc::clone(&object.meta.namespace),
            origins: vec![origin(object)],
            rule: object.spec.clone(),
        }
    }

    /// Whether a second object may be merged into this one: same audience.
    fn takes(&self, other: &DestinationRule) -> bool {
        self.rule.workload_selector == other.workload_selector && self.rule.export_to == other.export_to
    }

    fn merge(&mut self, object: &Object<DestinationRule>, dropped: &mut Vec<Dropped>) {
        let Some(winner) = self.origins.first().cloned() else {
            return;
        };
        let loser = origin(object);
        let mut drop = |field: String, at, what: String| {
            dropped.push(Dropped {
                loser: Origin {
                    object: loser.object.clone(),
                    place: object.place_of(at),
                },
                winner: winner.clone(),
                field,
                what,
            });
        };
        if let Some(policy) = &object.spec.traffic_policy {
            if self.rule.traffic_policy.is_some() {
                drop(
                    "spec.trafficPolicy".to_owned(),
                    object.place_of_field("trafficPolicy").at,
                    "traffic policy".to_owned(),
                );
            } else {
                self.rule.traffic_policy = Some(policy.clone());
            }
        }
        for (i, subset) in object.spec.subsets.iter().enumerate() {
            if self.rule.subset(&subset.name).is_some() {
                drop(
                    format!("spec.subsets[{i}]"),
                    subset.at,
                    format!("subset {}", subset.name),
                );
            } else {
                self.rule.subsets.push(subset.clone());
            }
        }
        self.origins.push(loser);
    }
}

fn origin(object: &Object<DestinationRule>) -> Origin {
    Origin {
        object: ObjectKey {
            kind: Kind::DestinationRule,
            namespace: Arc::clone(&object.meta.namespace),
            name: Arc::clone(&object.meta.name),
        },
        place: object.place.clone(),
    }
}

// === impl DestinationRules ===

impl DestinationRules {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings, previous: Option<&Self>) -> Self {
        let mut merged: BTreeMap<_, Vec<MeshDestinationRule>> = BTreeMap::new();
        let mut dropped = Vec::new();
        for object in by_precedence(&inputs.destination_rules) {
            let namespace = &object.meta.namespace;
            let host: Arc<str> = host::resolve(&object.spec.host, namespace, &settings.domain).into();
            let rules = merged.entry((Arc::clone(namespace), Arc::clone(&host))).or_default();
            match rules.iter_mut().find(|rule| rule.takes(&object.spec)) {
                Some(rule) => rule.merge(object, &mut dropped),
                None => rules.push(MeshDestinationRule::new(object, &host)),
            }
        }
        let mut built = Self {
            root: settings.root_namespace.as_str().into(),
            by_namespace: BTreeMap::new(),
            dropped,
        };
        for ((namespace, host), mut rules) in merged {
            rules.sort_by_key(|rule| rule.rule.workload_selector.is_none());
            let old = previous
                .and_then(|previous| previous.by_namespace.get(&namespace)?.get(&host))
                .map_or(&[][..], Vec::as_slice);
            let rules = rules
                .into_iter()
                .enumerate()
                .map(|(i, rule)| share::keep(rule, old.get(i)))
                .collect();
            built.by_namespace.entry(namespace).or_default().insert(host, rules);
        }
        built
    }

    /// The rule that a client's proxy applies to a service: looked for in the client's namespace, the service's, the root
    /// namespace, and in each the most specific host (istio.io, "Destination Rule" and "exportTo").
    pub fn lookup(
        &self,
        client_namespace: &str,
        client_labels: &Labels,
        service_namespace: &str,
        hostname: &str,
    ) -> Option<&Arc<MeshDestinationRule>> {
        let mut seen = Vec::with_capacity(3);
        for namespace in [client_namespace, service_namespace, &self.root] {
            if seen.contains(&namespace) {
                continue;
            }
            seen.push(namespace);
            let found = self.lookup_in(namespace, hostname, |rule| {
                let selected = match &rule.rule.workload_selector {
                    Some(selector) => namespace == client_namespace && selects(selector, client_labels),
                    None => true,
                };
                selected && rule.rule.export_to.visible(namespace, client_namespace)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn lookup_in(
        &self,
        namespace: &str,
        hostname: &str,
        applies: impl Fn(&MeshDestinationRule) -> bool,
    ) -> Option<&Arc<MeshDestinationRule>> {
        let hosts = self.by_namespace.get(namespace)?;
        let first = |rules: &'_ Vec<Arc<MeshDestinationRule>>| rules.iter().position(|rule| applies(rule));
        if let Some(rules) = hosts.get(hostname)
            && let Some(index) = first(rules)
        {
            return rules.get(index);
        }
        let mut wild: Vec<_> = hosts
            .iter()
            // `*` sorts before every other character of a host name.
            .take_while(|(pattern, _)| pattern.starts_with('*'))
            .filter(|(pattern, _)| host::covers(pattern, hostname))
            .collect();
        wild.sort_by_key(|(pattern, _)| host::specificity(pattern));
        wild.into_iter()
            .find_map(|(_, rules)| first(rules).and_then(|index| rules.get(index)))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<MeshDestinationRule>> {
        self.by_namespace.values().flat_map(BTreeMap::values).flatten()
    }
}
