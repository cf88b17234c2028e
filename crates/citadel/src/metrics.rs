//! Metrics of the authority, with Istio's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the certificate service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Requests that came.
    pub csr_count: Counter,
    /// Requests whose caller was not known.
    pub authentication_failure_count: Counter,
    /// Requests that could not be parsed.
    pub csr_parsing_err_count: Counter,
    /// Certificates that could not be signed.
    pub csr_sign_err_count: Counter,
    pub success_cert_issuance_count: Counter,
    /// When the root is over, in seconds since 1970.
    pub root_cert_expiry_timestamp: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all of them as `citadel_server_*`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("citadel_server");
        registry.register("csr", "certificate requests", self.csr_count.clone());
        let failures = self.authentication_failure_count.clone();
        registry.register("authentication_failure", "requests of unknown callers", failures);
        registry.register(
            "csr_parsing_err",
            "requests that cannot be parsed",
            self.csr_parsing_err_count.clone(),
        );
        registry.register(
            "csr_sign_err",
            "requests that cannot be signed",
            self.csr_sign_err_count.clone(),
        );
        let issued = self.success_cert_issuance_count.clone();
        registry.register("success_cert_issuance", "certificates issued", issued);
        let expiry = self.root_cert_expiry_timestamp.clone();
        registry.register(
            "root_cert_expiry_timestamp",
            "end of the root, in seconds since 1970",
            expiry,
        );
    }
}
