//! Tracing of connection managers: spans over OTLP to the collector, with Istio's tags.

use weft_proto::xds::envoy::config::trace::v3 as trace;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use weft_proto::xds::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use weft_proto::xds::envoy::r#type::v3::Percent;

use super::collector::SPANS;
use super::wire::{any, grpc_service, uint32};
use crate::view::ProxyView;

/// Longest path of a span, in bytes (Istio: `maxPathTagLength`).
const PATH_BYTES_MAX: u32 = 256;

/// How requests are traced; not at all without a collector.
pub(super) fn tracing(view: &ProxyView) -> Option<Tracing> {
    view.settings.spans.as_ref()?;
    let workload = &view.workload;
    let (service, revision) = (workload.canonical_name(), workload.canonical_revision());
    let provider = trace::OpenTelemetryConfig {
        grpc_service: Some(grpc_service(SPANS)),
        service_name: format!("{service}.{}", workload.key.namespace),
        ..trace::OpenTelemetryConfig::default()
    };
    let percent = |value| Some(Percent { value });
    let tags = [
        ("istio.canonical_revision", revision),
        ("istio.canonical_service", service),
        ("istio.cluster_id", "Kubernetes"),
        ("istio.mesh_id", &view.snapshot.settings.trust_domain),
        ("istio.namespace", view.namespace()),
    ];
    Some(Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(f64::from(view.settings.sampling_ppm) / 10_000.0),
        overall_sampling: percent(100.0),
        max_path_tag_length: Some(uint32(PATH_BYTES_MAX)),
        custom_tags: tags.map(|(tag, value)| literal(tag, value)).into(),
        provider: Some(trace::tracing::Http {
            name: "envoy.tracers.opentelemetry".to_owned(),
            config_type: Some(trace::tracing::http::ConfigType::TypedConfig(any(&provider))),
        }),
        ..Tracing::default()
    })
}

fn literal(tag: &str, value: &str) -> CustomTag {
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Literal(custom_tag::Literal {
            value: value.to_owned(),
        })),
    }
}
