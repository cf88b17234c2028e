//! Names that the injector reads and writes: Istio's labels and annotations, so that what users have keeps its meaning.

/// Namespace label that turns injection on or off.
pub const INJECTION: &str = "istio-injection";
/// Label of namespaces and pods: the revision that is wanted. Annotation of injected pods: the one that was taken.
pub const REVISION: &str = "istio.io/rev";
/// Pod label, or older annotation, that turns injection on or off.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Annotation of injected pods: what was added.
pub const STATUS: &str = "sidecar.istio.io/status";
/// Annotation with a part of Istio's ProxyConfig as YAML.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// Annotation: how traffic comes to the proxy.
pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
/// Annotation: interfaces of virtual machines in the pod.
pub const VIRTUAL_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
/// Label: the pod speaks mesh TLS.
pub const TLS_MODE: &str = "security.istio.io/tlsMode";
/// Label: name of the workload in metrics.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// Label: version of the workload in metrics.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Annotation: whether the proxy answers scrapes for the application.
pub const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";
/// Annotation: the container that `kubectl logs` shows first.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Name of the proxy's container. Tools of Istio's users look for it.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the init container that programs capture.
pub const INIT_CONTAINER: &str = "weft-init";

/// User and group of the proxy; what it sends is not captured.
pub const PROXY_UID: i64 = 1337;
pub const OUTBOUND_PORT: u16 = 15001;
pub const INBOUND_PORT: u16 = 15006;
/// Readiness of the proxy.
pub const READINESS_PORT: u16 = 15021;
/// Metrics and the application's probes.
pub const STATUS_PORT: u16 = 15020;
/// Prometheus port of Istio's proxies, never captured.
pub const PROMETHEUS_PORT: u16 = 15090;
/// Ports of the proxy beside the status port: it, or Istio's tools, expect something else there (istio.io, "Ports used by Istio").
pub const OWN_PORTS: [u16; 8] = [
    15000,
    OUTBOUND_PORT,
    15004,
    INBOUND_PORT,
    15008,
    READINESS_PORT,
    15053,
    PROMETHEUS_PORT,
];
/// Where the proxy answers the names that capture sends to it.
pub const DNS_LISTEN: &str = "127.0.0.1:15053,[::1]:15053";
