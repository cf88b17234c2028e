//! The immutable view of the whole mesh that everything is generated from.
//!
//! Pure: resources in, indexes and diagnostics out; no clock, no I/O, no tasks. Knows nothing of xDS or of single proxies.

mod authorization;
mod build;
mod check;
mod destination_rules;
mod endpoint;
mod endpoints;
mod gateways;
mod inbound;
mod inputs;
mod peer_authentication;
mod pods;
mod service;
mod services;
mod share;
mod sidecars;
mod slices;
mod vips;
mod virtual_services;
mod workloads;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "it is told, no clock is read")]
use std::time::Instant;

use weft_api::diagnostic::Diagnostic;
use weft_api::extension_provider::ExtensionProvider;
use weft_api::mesh_config::{LogEncoding, MeshConfig};
use weft_api::sidecar::OutboundPolicy;
use weft_proto::defaults::TRUST_DOMAIN;

pub use self::authorization::{Authorization, TokenPlace, is_dry_run};
pub use self::build::build;
pub use self::destination_rules::{DestinationRules, MeshDestinationRule};
pub use self::endpoint::{EndpointAddress, Health, MeshEndpoint};
pub use self::endpoints::{Backends, Endpoints, PortEndpoints};
pub use self::gateways::{Gateways, Secrets};
pub use self::inbound::{Inbound, InboundPort};
pub use self::inputs::{Answer, ByName, Credentials, Inputs};
pub use self::peer_authentication::PeerAuthentications;
pub use self::service::{MeshService, Origin, ServiceKey, ServiceKind, ServicePort};
pub use self::services::Services;
pub use self::share::keep;
pub use self::sidecars::Sidecars;
pub use self::virtual_services::{GatewayRef, MeshVirtualService, VirtualServices};
pub use self::workloads::{Capture, Workload, WorkloadKey, WorkloadPort, Workloads};
pub use weft_api::protocol::Protocol;
pub use weft_api::service_entry::{Location, Resolution};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Trust domain of all identities.
    pub trust_domain: String,
    /// Other names of the trust domain: a principal of one is one of all of them in policies.
    pub trust_domain_aliases: Vec<String>,
    /// DNS domain of Kubernetes services.
    pub domain: String,
    /// Namespace of mesh-wide objects.
    pub root_namespace: String,
    /// Connect timeout of clusters.
    pub connect_timeout: Duration,
    /// How often names of clusters are resolved anew.
    pub dns_refresh_rate: Duration,
    /// Whether clients use mTLS by themselves where servers take it.
    pub auto_mtls: bool,
    /// Whether hosts that nobody registered are refused.
    pub registry_only: bool,
    /// Services that policies of action CUSTOM ask.
    pub providers: Vec<ExtensionProvider>,
    /// The proxies' access logs, where the mesh configuration speaks of them.
    pub access_log: AccessLogSettings,
}

/// Access logs of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// File; empty for none. Absent: as the process was told.
    pub file: Option<String>,
    /// A line with Envoy's operators, or a JSON object of them; absent: Istio's default line.
    pub format: Option<String>,
    /// Whether lines are JSON.
    pub json: bool,
}

/// What differs from the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that is served; maybe diagnostics.
    Nothing,
    /// Only `endpoints` and `ended`: every other index is the same `Arc` as before.
    Endpoints,
    Config,
}

/// One immutable state of the mesh. Cloning is cheap; parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug)]
pub struct MeshSnapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
    /// What differs from the generation before.
    pub change: Change,
    pub settings: Arc<MeshSettings>,
    /// The objects that all this was built from.
    pub inputs: Inputs,
    /// Services by hostname.
    pub services: Arc<Services>,
    /// Pods, workloads of this machine and workload entries.
    pub workloads: Arc<Workloads>,
    /// All endpoints of services, ready or not.
    pub backends: Arc<Backends>,
    /// The ready ones.
    pub endpoints: Arc<Endpoints>,
    /// Pods that live on for their proxies alone, with their uid.
    pub ended: Arc<BTreeMap<WorkloadKey, Arc<str>>>,
    /// What each workload serves.
    pub inbound: Arc<Inbound>,
    /// Routing rules by gateway and host.
    pub virtual_services: Arc<VirtualServices>,
    /// Subsets and client policy by host.
    pub destination_rules: Arc<DestinationRules>,
    /// Who may call whom.
    pub authorization: Arc<Authorization>,
    pub peer_authentications: Arc<PeerAuthentications>,
    pub gateways: Arc<Gateways>,
    pub secrets: Arc<Secrets>,
    /// Scopes of sidecars.
    pub sidecars: Arc<Sidecars>,
    /// Findings about references between objects that hold now, sorted.
    pub diagnostics: Arc<Vec<Diagnostic>>,
    /// Those of them that are told: all, unless the store waits with some (see [`crate::settle`]).
    pub told: Arc<Vec<Diagnostic>>,
    /// Findings of the sources (syntax, fields, files), set by the store.
    pub source_diagnostics: Arc<Vec<Diagnostic>>,
    /// When proxies could see it first, set by the store.
    #[expect(clippy::disallowed_types, reason = "it is told, no clock is read")]
    pub published: OnceLock<Instant>,
}

// === impl MeshSnapshot ===

impl MeshSnapshot {
    /// What differs from an older snapshot, not only from the one just before: readers may have skipped some.
    pub fn change_since(&self, old: &Self) -> Change {
        let same_config = Arc::ptr_eq(&old.settings, &self.settings)
            && Arc::ptr_eq(&old.services, &self.services)
            && Arc::ptr_eq(&old.workloads, &self.workloads)
            && Arc::ptr_eq(&old.backends, &self.backends)
            && Arc::ptr_eq(&old.inbound, &self.inbound)
            && Arc::ptr_eq(&old.virtual_services, &self.virtual_services)
            && Arc::ptr_eq(&old.destination_rules, &self.destination_rules)
            && Arc::ptr_eq(&old.peer_authentications, &self.peer_authentications)
            && Arc::ptr_eq(&old.authorization, &self.authorization)
            && Arc::ptr_eq(&old.gateways, &self.gateways)
            && Arc::ptr_eq(&old.secrets, &self.secrets)
            && Arc::ptr_eq(&old.sidecars, &self.sidecars);
        if !same_config {
            Change::Config
        } else if Arc::ptr_eq(&old.endpoints, &self.endpoints) && Arc::ptr_eq(&old.ended, &self.ended) {
            Change::Nothing
        } else {
            Change::Endpoints
        }
    }

    /// The workload that a proxy at an address stands in front of; also one whose pod has no address yet.
    pub fn workload_of(&self, namespace: &Arc<str>, name: &Arc<str>, address: Option<IpAddr>) -> Option<Arc<Workload>> {
        let registered = self.workloads.get(namespace, name).cloned();
        registered.or_else(|| pods::starting(&self.inputs, namespace, name, address?).map(Arc::new))
    }

    /// All findings that are told: of the sources, then about references between objects.
    pub fn all_diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.source_diagnostics.iter().chain(self.told.iter())
    }

    /// Findings that hold and are not told yet, because what they miss may be on its way.
    pub fn unsettled(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|found| !self.told.contains(found))
    }
}

// === impl MeshSettings ===

impl MeshSettings {
    /// The provider of a name.
    pub(crate) fn provider(&self, name: &str) -> Option<&ExtensionProvider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// These settings with what the mesh configuration says. Its trust domain is not taken: every certificate has the one of
    /// the processes, and another one is reported.
    #[must_use]
    pub fn with(&self, config: &MeshConfig) -> Self {
        Self {
            trust_domain: self.trust_domain.clone(),
            trust_domain_aliases: config
                .trust_domain_aliases
                .clone()
                .unwrap_or_else(|| self.trust_domain_aliases.clone()),
            domain: self.domain.clone(),
            root_namespace: config
                .root_namespace
                .clone()
                .unwrap_or_else(|| self.root_namespace.clone()),
            connect_timeout: config.connect_timeout.unwrap_or(self.connect_timeout),
            dns_refresh_rate: config.dns_refresh_rate.unwrap_or(self.dns_refresh_rate),
            auto_mtls: config.auto_mtls.unwrap_or(self.auto_mtls),
            registry_only: config
                .outbound_policy
                .map_or(self.registry_only, |policy| policy == OutboundPolicy::RegistryOnly),
            providers: config
                .extension_providers
                .clone()
                .unwrap_or_else(|| self.providers.clone()),
            access_log: AccessLogSettings {
                file: config.access_log_file.clone().or_else(|| self.access_log.file.clone()),
                format: config
                    .access_log_format
                    .clone()
                    .or_else(|| self.access_log.format.clone()),
                json: config
                    .access_log_encoding
                    .map_or(self.access_log.json, |encoding| encoding == LogEncoding::Json),
            },
        }
    }
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            trust_domain: TRUST_DOMAIN.to_owned(),
            trust_domain_aliases: Vec::new(),
            domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            connect_timeout: Duration::from_secs(10),
            dns_refresh_rate: Duration::from_secs(60),
            auto_mtls: true,
            registry_only: false,
            providers: Vec::new(),
            access_log: AccessLogSettings::default(),
        }
    }
}
