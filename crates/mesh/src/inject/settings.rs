//! What an installation says about injected proxies: image, addresses, resources, defaults that annotations may change.

use serde::{Deserialize, Serialize};
use weft_proto::defaults::{DISCOVERY_ACCOUNT, SYSTEM_NAMESPACE, TRUST_DOMAIN};

/// Settings of the injector. The installer writes them as a file; `meshctl inject` reads the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Revision of the control plane that injected proxies belong to.
    pub revision: String,
    /// Image of the proxy.
    pub image: String,
    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`; empty leaves it to Kubernetes.
    pub image_pull_policy: String,
    /// Names of the Secrets to pull the image with.
    pub image_pull_secrets: Vec<String>,
    /// Discovery server, `host:port`.
    pub discovery_address: String,
    /// Service account of the discovery server, `namespace/name`: its certificate must be that account's.
    pub discovery_account: String,
    /// Certificate authority, `host:port`.
    pub ca_address: String,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// Domain of the cluster's names.
    pub cluster_domain: String,
    /// Name of the cluster.
    pub cluster_id: String,
    /// Network of the cluster's pods; empty for the default one.
    pub network: String,
    /// Whether the proxy is a container that starts before the others and outlives them (`restartPolicy: Always` of an init container), or
    /// one among them. Default of `sidecar.istio.io/nativeSidecar`.
    pub native_sidecar: bool,
    /// Requests and limits of the proxy.
    pub resources: Resources,
    /// Log level of the proxy.
    pub log_level: String,
    /// Worker threads of the proxy; 0 lets it choose.
    pub concurrency: u32,
    /// Whether containers start only once the proxy is ready.
    pub hold_application: bool,
    /// Whether probes go through the status port. A probe from the kubelet has no certificate, so STRICT would refuse it.
    pub rewrite_probes: bool,
    /// Whether the proxy answers scrapes for the application as well.
    pub merge_metrics: bool,
    /// Whether DNS questions of the application go to the proxy.
    pub dns_capture: bool,
    /// Default of `traffic.sidecar.istio.io/includeOutboundIPRanges`.
    pub include_outbound_ip_ranges: String,
    /// Default of `traffic.sidecar.istio.io/excludeOutboundIPRanges`.
    pub exclude_outbound_ip_ranges: String,
    /// Default of `traffic.sidecar.istio.io/includeInboundPorts`.
    pub include_inbound_ports: String,
    /// Default of `traffic.sidecar.istio.io/excludeInboundPorts`.
    pub exclude_inbound_ports: String,
    /// Default of `traffic.sidecar.istio.io/excludeOutboundPorts`.
    pub exclude_outbound_ports: String,
    /// Whether a namespace without any label is injected.
    pub enable_namespaces_by_default: bool,
}

/// Requests and limits of one container, as Kubernetes quantities; empty for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// CPU asked for.
    pub cpu: String,
    pub cpu_limit: String,
    /// Memory asked for.
    pub memory: String,
    pub memory_limit: String,
}

// === impl Settings ===

/// Istio's defaults where it has them.
impl Default for Settings {
    fn default() -> Self {
        Self {
            revision: "default".to_owned(),
            image: concat!("weft/proxy:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            discovery_address: format!("weft-pilot.{SYSTEM_NAMESPACE}.svc:15012"),
            discovery_account: DISCOVERY_ACCOUNT.to_owned(),
            ca_address: format!("weft-citadel.{SYSTEM_NAMESPACE}.svc:15012"),
            trust_domain: TRUST_DOMAIN.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            cluster_id: "Kubernetes".to_owned(),
            network: String::new(),
            native_sidecar: true,
            resources: Resources::default(),
            log_level: "info".to_owned(),
            concurrency: 0,
            hold_application: true,
            rewrite_probes: true,
            merge_metrics: true,
            dns_capture: true,
            include_outbound_ip_ranges: "*".to_owned(),
            exclude_outbound_ip_ranges: String::new(),
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            enable_namespaces_by_default: false,
        }
    }
}

// === impl Resources ===

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: "100m".to_owned(),
            cpu_limit: "2000m".to_owned(),
            memory: "128Mi".to_owned(),
            memory_limit: "1024Mi".to_owned(),
        }
    }
}
