//! Metrics of the discovery server, with Istio's names.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use weft_mesh::snapshot::{Change, MeshSnapshot};
use weft_proto::ads::Kind;

/// Buckets of times in seconds (Istio's, for pushes and convergence).
const SECONDS: [f64; 9] = [0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

/// A count under a name that Istio gave it without OpenMetrics' ending `_total`, so of unknown type on the wire.
#[derive(Clone, Debug, Default)]
pub struct Count(Counter<u64, AtomicU64>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

/// All of them; clones share one state.
#[derive(Clone, Debug)]
pub struct Metrics {
    xds: Family<VersionLabel, Gauge>,
    pushes: Family<TypeLabel, Count>,
    triggers: Family<TypeLabel, Count>,
    push_time: Family<TypeLabel, Histogram>,
    config_size: Family<TypeLabel, Histogram>,
    convergence_time: Histogram,
    queue_time: Histogram,
    rejects: Family<TypeLabel, Count>,
    rejected_total: Count,
    internal_errors: Count,
    expired_nonce: Family<TypeLabel, Count>,
    services: Gauge,
    virtual_services: Gauge,
}

// === impl Count ===

impl EncodeMetric for Count {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Count {
    const TYPE: MetricType = MetricType::Unknown;
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            xds: Family::default(),
            pushes: Family::default(),
            triggers: Family::default(),
            push_time: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            config_size: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1024.0, 4.0, 9))),
            convergence_time: Histogram::new(SECONDS),
            queue_time: Histogram::new(SECONDS),
            rejects: Family::default(),
            rejected_total: Count::default(),
            internal_errors: Count::default(),
            expired_nonce: Family::default(),
            services: Gauge::default(),
            virtual_services: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register("pilot_xds", "connected clients by version", self.xds.clone());
        r.register("pilot_xds_pushes", "responses sent, by type", self.pushes.clone());
        r.register(
            "pilot_push_triggers",
            "what made configuration be pushed",
            self.triggers.clone(),
        );
        let help = "seconds from a change to its response, by type";
        r.register("pilot_xds_push_time", help, self.push_time.clone());
        r.register(
            "pilot_xds_config_size_bytes",
            "bytes of responses, by type",
            self.config_size.clone(),
        );
        let help = "seconds from a change until a client accepted all of it";
        r.register("pilot_proxy_convergence_time", help, self.convergence_time.clone());
        let help = "seconds that a change waited before it was generated for a client";
        r.register("pilot_proxy_queue_time", help, self.queue_time.clone());
        r.register(
            "pilot_xds_rejects",
            "responses that clients rejected, by type",
            self.rejects.clone(),
        );
        r.register(
            "pilot_total_xds_rejects",
            "responses that clients rejected",
            self.rejected_total.clone(),
        );
        let help = "streams that were refused or broke";
        r.register("pilot_total_xds_internal_errors", help, self.internal_errors.clone());
        let help = "answers to older responses than the last";
        r.register("pilot_xds_expired_nonce", help, self.expired_nonce.clone());
        r.register("pilot_services", "services known", self.services.clone());
        r.register(
            "pilot_virt_services",
            "VirtualServices known",
            self.virtual_services.clone(),
        );
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        r.register("pilot", "version of this process", version);
    }

    /// A client connected or left.
    pub(crate) fn clients(&self, version: &str, change: i64) {
        let label = VersionLabel {
            version: version.to_owned(),
        };
        self.xds.get_or_create(&label).inc_by(change);
    }

    /// A response was made, `after` so long since the change that it brings.
    pub(crate) fn pushed(&self, kind: Kind, bytes: usize, after: Option<Duration>) {
        let label = TypeLabel { r#type: kind.short() };
        self.pushes.get_or_create(&label).0.inc();
        #[expect(clippy::cast_precision_loss, reason = "a response has far less than 2^53 bytes")]
        self.config_size.get_or_create(&label).observe(bytes as f64);
        if let Some(after) = after {
            self.push_time.get_or_create(&label).observe(after.as_secs_f64());
        }
    }

    /// A client is about to be served a change that is so old.
    pub(crate) fn queued(&self, time: Duration) {
        self.queue_time.observe(time.as_secs_f64());
    }

    /// A client has accepted all of a change.
    pub(crate) fn converged(&self, time: Duration) {
        self.convergence_time.observe(time.as_secs_f64());
    }

    /// A client rejected a response.
    pub(crate) fn rejected(&self, kind: Kind) {
        self.rejects.get_or_create(&TypeLabel { r#type: kind.short() }).0.inc();
        self.rejected_total.0.inc();
    }

    /// A client answered something older than the last response.
    pub(crate) fn expired(&self, kind: Kind) {
        self.expired_nonce
            .get_or_create(&TypeLabel { r#type: kind.short() })
            .0
            .inc();
    }

    /// A stream was refused or broke.
    pub(crate) fn failed(&self) {
        self.internal_errors.0.inc();
    }

    /// A client asked for more.
    pub(crate) fn requested(&self) {
        self.triggers
            .get_or_create(&TypeLabel { r#type: "proxyrequest" })
            .0
            .inc();
    }

    /// A new state of the mesh is served.
    pub fn published(&self, snapshot: &MeshSnapshot) {
        let reason = match snapshot.change {
            Change::Nothing => None,
            Change::Endpoints => Some("endpoint"),
            Change::Config => Some("config"),
        };
        if let Some(r#type) = reason {
            self.triggers.get_or_create(&TypeLabel { r#type }).0.inc();
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.services.set(count(snapshot.services.iter().count()));
        self.virtual_services
            .set(count(snapshot.virtual_services.iter().count()));
    }
}
