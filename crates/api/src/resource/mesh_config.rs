//! Mesh-wide settings: Istio's MeshConfig, from key `mesh` of ConfigMap `istio` in the root namespace.

use std::time::Duration;

use crate::extension_provider::ExtensionProvider;
use crate::sidecar::OutboundPolicy;

/// Name of the ConfigMap (Istio's).
pub const NAME: &str = "istio";

/// The settings that this mesh carries out; absent ones have Istio's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    /// `trustDomain`; must be that of the control plane.
    pub trust_domain: Option<String>,
    /// `trustDomainAliases`: other names of the trust domain in policies.
    pub trust_domain_aliases: Option<Vec<String>>,
    /// `rootNamespace`: where mesh-wide objects are.
    pub root_namespace: Option<String>,
    /// `accessLogFile`; empty for none.
    pub access_log_file: Option<String>,
    /// `accessLogFormat`: a line with Envoy's operators, or a JSON object of them.
    pub access_log_format: Option<String>,
    /// `accessLogEncoding`.
    pub access_log_encoding: Option<LogEncoding>,
    /// `outboundTrafficPolicy.mode`.
    pub outbound_policy: Option<OutboundPolicy>,
    /// `connectTimeout` of clusters.
    pub connect_timeout: Option<Duration>,
    /// `enableAutoMtls`: whether clients use mTLS by themselves where servers take it.
    pub auto_mtls: Option<bool>,
    /// `extensionProviders` that decide about requests.
    pub extension_providers: Option<Vec<ExtensionProvider>>,
    /// `dnsRefreshRate` of clusters that DNS resolves.
    pub dns_refresh_rate: Option<Duration>,
}

/// How access-log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEncoding {
    Text,
    /// One JSON object a line.
    Json,
}
