//! Services by hostname, from Kubernetes Services and ServiceEntries.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::host;
use weft_api::meta::{Kind, Object, ObjectKey, Place};
use weft_api::service::{ClusterIp, Service, TargetPort};
use weft_api::service_entry::{Location, Resolution, ServiceEntry};

use super::MeshSettings;
use super::inputs::{Inputs, by_precedence};
use super::service::{MeshService, Origin, ServiceKey, ServiceKind, ServicePort};
use super::{share, vips};

/// Services by hostname and namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The services; where two objects of one namespace claim one hostname, only the winner.
    by_key: BTreeMap<ServiceKey, Arc<MeshService>>,
    /// Losers of such claims, with the winner: (loser, winner).
    pub(super) displaced: Vec<(Origin, Origin, Arc<str>)>,
    /// Ports of merged ServiceEntries that an earlier one defines otherwise: (loser, winner, service, port).
    pub(super) disputed: Vec<(Origin, Origin, ServiceKey, u16)>,
}

// === impl Services ===

impl Services {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings, previous: Option<&Self>) -> Self {
        let mut built = Self::default();
        for object in by_precedence(&inputs.services) {
            built.add(from_service(object, &settings.domain), &object.place);
        }
        for object in by_precedence(&inputs.service_entries) {
            for hostname in &object.spec.hosts {
                let service = from_entry(object, hostname);
                let same_labels = |name: &Arc<str>| {
                    let name = (Arc::clone(&object.meta.namespace), Arc::clone(name));
                    let other = inputs.service_entries.get(&name);
                    other.is_some_and(|other| other.meta.labels == object.meta.labels)
                };
                match built.by_key.get_mut(&service.key) {
                    Some(first) if is_one(first, &service) && same_labels(&first.name) => {
                        let first = Arc::make_mut(first);
                        built.disputed.extend(merge(first, service));
                    }
                    _ => built.add(service, &object.place_of_field("hosts")),
                }
            }
        }
        vips::allocate(&mut built.by_key, |service| {
            let name = (Arc::clone(&service.key.namespace), Arc::clone(&service.name));
            let entry = inputs.service_entries.get(&name);
            entry.is_some_and(|entry| vips::wanted(service, &entry.meta.labels))
        });
        if let Some(previous) = previous {
            share::entries(&mut built.by_key, &previous.by_key);
        }
        built
    }

    /// Adds a service unless its host belongs to another one already; `claim` is where the host is named.
    fn add(&mut self, service: MeshService, claim: &Place) {
        if let Some(winner) = self.by_key.get(&service.key) {
            if winner.origin.object != service.origin.object {
                let loser = Origin {
                    object: service.origin.object,
                    place: claim.clone(),
                };
                self.displaced
                    .push((loser, winner.origin.clone(), Arc::clone(&winner.key.hostname)));
            }
            return;
        }
        self.by_key.insert(service.key.clone(), Arc::new(service));
    }

    /// All services, ordered by hostname, then namespace.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<MeshService>> {
        self.by_key.values()
    }

    /// A service by identity.
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<MeshService>> {
        self.by_key.get(key)
    }

    /// The services that clients of `namespace` may see, one per hostname: the client's own namespace wins, then Kubernetes
    /// Services over ServiceEntries, then the first namespace by name.
    pub fn visible_from<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<MeshService>> {
        let mut services = self.by_key.values().peekable();
        std::iter::from_fn(move || {
            loop {
                let first = services.next()?;
                let mut best = first.visible_from(namespace).then_some(first);
                while let Some(other) = services.next_if(|next| next.key.hostname == first.key.hostname) {
                    if other.visible_from(namespace)
                        && best.is_none_or(|best| rank(other, namespace) < rank(best, namespace))
                    {
                        best = Some(other);
                    }
                }
                if best.is_some() {
                    return best;
                }
            }
        })
    }

    /// The service with exactly this hostname that clients of `namespace` see.
    pub fn exact(&self, hostname: &str, namespace: &str) -> Option<&Arc<MeshService>> {
        self.of_host(hostname)
            .filter(|service| service.visible_from(namespace))
            .min_by(|a, b| rank(a, namespace).cmp(&rank(b, namespace)))
    }

    /// Like [`Self::exact`], else the most specific wildcard service that covers the name.
    pub fn lookup(&self, hostname: &str, namespace: &str) -> Option<&Arc<MeshService>> {
        if let Some(service) = self.exact(hostname, namespace) {
            return Some(service);
        }
        self.by_key
            .values()
            // `*` sorts before every other character of a host name.
            .take_while(|service| service.is_wildcard())
            .filter(|service| host::covers(&service.key.hostname, hostname) && service.visible_from(namespace))
            .min_by_key(|service| host::specificity(&service.key.hostname))
    }

    /// All services with this hostname, whoever may see them.
    pub fn of_host(&self, hostname: &str) -> impl Iterator<Item = &Arc<MeshService>> + use<'_> {
        let from = ServiceKey {
            hostname: hostname.into(),
            namespace: "".into(),
        };
        let wanted = Arc::clone(&from.hostname);
        self.by_key
            .range(from..)
            .take_while(move |(key, _)| key.hostname == wanted)
            .map(|(_, service)| service)
    }
}

/// Whether two ServiceEntries of one host and namespace are one service (Istio: `canMergeServices`; labels are for the caller to compare).
fn is_one(first: &MeshService, other: &MeshService) -> bool {
    first.kind == ServiceKind::Entry
        && first.resolution == other.resolution
        && first.selector == other.selector
        && first.export_to == other.export_to
}

/// Adds the ports of another ServiceEntry to a service, but for those that it has. All else is as the first says.
fn merge(first: &mut MeshService, other: MeshService) -> Vec<(Origin, Origin, ServiceKey, u16)> {
    let mut disputed = Vec::new();
    if first.name == other.name {
        // The host is given twice.
        return disputed;
    }
    for port in other.ports {
        let Some(known) = first.port(port.port) else {
            first.ports.push(port);
            continue;
        };
        if known.protocol != port.protocol {
            let loser = Origin {
                object: other.origin.object.clone(),
                place: port.place.clone(),
            };
            disputed.push((loser, first.origin.clone(), first.key.clone(), port.port));
        }
    }
    first.merged.push(other.name);
    disputed
}

fn rank<'a>(service: &'a MeshService, namespace: &str) -> (bool, ServiceKind, &'a str) {
    (
        *service.key.namespace != *namespace,
        service.kind,
        &service.key.namespace,
    )
}

fn from_service(object: &Arc<Object<Service>>, domain: &str) -> MeshService {
    let (spec, meta) = (&object.spec, &object.meta);
    let external = spec.external_name.is_some();
    MeshService {
        key: ServiceKey {
            hostname: format!("{}.{}.svc.{domain}", meta.name, meta.namespace)
                .to_ascii_lowercase()
                .into(),
            namespace: Arc::clone(&meta.namespace),
        },
        name: Arc::clone(&meta.name),
        kind: ServiceKind::Kubernetes,
        origin: origin(Kind::Service, object),
        merged: Vec::new(),
        ports: spec
            .ports
            .iter()
            .map(|port| ServicePort {
                name: port.name.clone(),
                port: port.port,
                protocol: port.protocol,
                target: port.target.clone(),
                place: object.place_of(port.at),
            })
            .collect(),
        resolution: if external { Resolution::Dns } else { Resolution::Static },
        location: if external {
            Location::External
        } else {
            Location::Internal
        },
        addresses: match &spec.cluster_ip {
            ClusterIp::Assigned(addresses) => addresses.iter().map(ToString::to_string).collect(),
            ClusterIp::Unassigned | ClusterIp::Headless => Vec::new(),
        },
        auto_addresses: Vec::new(),
        headless: spec.cluster_ip == ClusterIp::Headless,
        selector: (!spec.selector.is_empty() && !external).then(|| spec.selector.clone()),
        subject_alt_names: Vec::new(),
        alias_of: spec
            .external_name
            .as_ref()
            .map(|host| host.trim_end_matches('.').to_ascii_lowercase().into()),
        export_to: spec.export_to.clone(),
    }
}

fn from_entry(object: &Arc<Object<ServiceEntry>>, hostname: &str) -> MeshService {
    let (spec, meta) = (&object.spec, &object.meta);
    MeshService {
        key: ServiceKey {
            hostname: hostname.trim_end_matches('.').to_ascii_lowercase().into(),
            namespace: Arc::clone(&meta.namespace),
        },
        name: Arc::clone(&meta.name),
        kind: ServiceKind::Entry,
        origin: origin(Kind::ServiceEntry, object),
        merged: Vec::new(),
        ports: spec
            .ports
            .iter()
            .map(|port| ServicePort {
                name: port.name.clone(),
                port: port.number,
                protocol: port.protocol,
                target: port.target_port.map_or(TargetPort::Same, TargetPort::Number),
                place: object.place_of(port.at),
            })
            .collect(),
        resolution: spec.resolution,
        location: spec.location,
        addresses: spec.addresses.clone(),
        auto_addresses: Vec::new(),
        headless: false,
        selector: spec.workload_selector.clone(),
        subject_alt_names: spec.subject_alt_names.clone(),
        alias_of: None,
        export_to: spec.export_to.clone(),
    }
}

fn origin<T>(kind: Kind, object: &Object<T>) -> Origin {
    Origin {
        object: ObjectKey {
            kind,
            namespace: Arc::clone(&object.meta.namespace),
            name: Arc::clone(&object.meta.name),
        },
        place: object.place.clone(),
    }
}
