//! The bootstrap of a stock Envoy as sidecar: who it is, where pilot is, where its certificate comes from.
//!
//! Fields follow Envoy's `config.bootstrap.v3.Bootstrap`; names of clusters and secrets are Istio's, so that generated
//! configuration that refers to them fits.

use std::path::Path;

use serde_json::{Value, json};
use weft_proto::defaults::{SYSTEM_NAMESPACE, TRUST_DOMAIN};

use crate::up::commands::PILOT_ACCOUNT;
use crate::up::plan::Member;

/// Type of the HTTP protocol options of a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The bootstrap of `member`; `xds` is pilot's TLS address, `socket` the agent's.
pub(crate) fn bootstrap(member: &Member, xds: (&str, u16), socket: &Path) -> Value {
    let ads = json!({
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    });
    let over_ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": node(member),
        "admin": {"address": address("127.0.0.1", member.admin)},
        "dynamic_resources": {"ads_config": ads, "cds_config": over_ads, "lds_config": over_ads},
        "static_resources": {"clusters": [
            cluster("xds-grpc", &address(xds.0, xds.1), Some(&pilot_tls())),
            cluster("sds-grpc", &json!({"pipe": {"path": socket}}), None),
        ]},
    })
}

fn node(member: &Member) -> Value {
    let app = member.labels.get("app").unwrap_or(&member.workload);
    json!({
        "id": member.node_id(),
        "cluster": format!("{app}.{}", member.namespace),
        "metadata": {
            "NAME": member.name,
            "NAMESPACE": member.namespace,
            "WORKLOAD_NAME": member.workload,
            "SERVICE_ACCOUNT": member.service_account,
            "LABELS": member.labels,
            "INSTANCE_IPS": "127.0.0.1",
            "CLUSTER_ID": "Kubernetes",
            "MESH_ID": TRUST_DOMAIN,
            "ISTIO_VERSION": env!("CARGO_PKG_VERSION"),
        },
    })
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn cluster(name: &str, address: &Value, transport_socket: Option<&Value>) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {(HTTP_OPTIONS): {
            "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
            "explicit_http_config": {"http2_protocol_options": {
                // Notices a pilot that is gone without a word.
                "connection_keepalive": {"interval": "30s", "timeout": "10s"},
            }},
        }},
    });
    if let Some(socket) = transport_socket {
        cluster["transport_socket"] = socket.clone();
    }
    cluster
}

fn pilot_tls() -> Value {
    let from_agent = json!({
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
    });
    let pilot = format!("spiffe://{TRUST_DOMAIN}/ns/{SYSTEM_NAMESPACE}/sa/{PILOT_ACCOUNT}");
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": from_agent}],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": pilot}},
                    ]},
                    "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": from_agent},
                },
            },
        },
    })
}
