//! A proxy under the mesh's control plane: the bootstrap that its flags stand for, and its identity as secrets.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use weft_base::ca_client::CaConfig;
use weft_base::identity::{IdentityError, SpiffeId};
use weft_base::workload::WorkloadIdentity;

use crate::bootstrap::{self, BootstrapError, Loaded};
use crate::config::{self, Mesh};
use crate::model::secret::{DataSource, SdsSource, Secret};
use crate::secrets::{IDENTITY_CLUSTER, SecretStore};

/// Static cluster of the discovery server, as Istio names it.
const DISCOVERY_CLUSTER: &str = "xds-grpc";

/// Kinds of proxies, as in node ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside a workload.
    Sidecar,
    Gateway,
}

/// Why the flags do not make a bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The discovery address is not `host:port`.
    #[error("--discovery-address {0:?} is not of the form host:port")]
    Address(String),
    /// The file of labels cannot be used.
    #[error("labels file {path}: {reason}")]
    Labels { path: PathBuf, reason: String },
    /// Namespace or service account are not names.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The generated bootstrap is refused.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// The bootstrap that the flags stand for.
pub fn bootstrap(role: Role, options: &Mesh) -> Result<Loaded, MeshError> {
    let wrong = || MeshError::Address(options.discovery_address.clone());
    let (host, port) = options.discovery_address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let text = json!({
        "node": node(role, options, &labels(options)?),
        "admin": {"address": socket(&options.admin_listen.ip().to_string(), options.admin_listen.port())},
        "dynamic_resources": {
            "lds_config": {"ads": {}},
            "cds_config": {"ads": {}},
            "ads_config": {"api_type": "DELTA_GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": DISCOVERY_CLUSTER}}]},
        },
        "static_resources": {"clusters": [discovery_cluster(host, port, options)?]},
    });
    Ok(bootstrap::parse(Path::new("flags"), &text.to_string(), false)?)
}

/// Where the workload gets its certificate.
pub fn ca_config(options: &Mesh) -> Result<CaConfig, MeshError> {
    Ok(CaConfig {
        address: options.ca_address.clone(),
        root_cert: options.ca_root_cert.clone(),
        token_file: options.token_file.clone(),
        id: SpiffeId::new(
            options.trust_domain.clone(),
            &options.namespace,
            &options.service_account,
        )?,
    })
}

/// Answers the secrets `default` and `ROOTCA` from the workload's own certificate.
pub fn deliver(identity: &WorkloadIdentity, secrets: &SecretStore) {
    let source = SdsSource::Cluster(IDENTITY_CLUSTER.into());
    let inline = |pem: &str| DataSource::Inline(Bytes::copy_from_slice(pem.as_bytes()));
    let certificate = Secret::Certificate {
        chain: inline(&identity.chain_pem),
        key: inline(&identity.key_pem),
    };
    let roots = Secret::Validation {
        roots: inline(&identity.roots_pem),
    };
    secrets.deliver(&source, &"ROOTCA".into(), roots);
    secrets.deliver(&source, &"default".into(), certificate);
}

/// Labels of the flags and of the file; the flags win.
fn labels(options: &Mesh) -> Result<serde_json::Map<String, Value>, MeshError> {
    let mut labels = Vec::new();
    if let Some(path) = &options.labels_file {
        let failed = |reason: String| MeshError::Labels {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        labels = config::parse_labels_file(&text).map_err(failed)?;
    }
    labels.extend(options.labels.iter().cloned());
    Ok(labels
        .into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect())
}

fn node(role: Role, options: &Mesh, labels: &serde_json::Map<String, Value>) -> Value {
    let kind = match role {
        Role::Sidecar => "sidecar",
        Role::Gateway => "router",
    };
    let Mesh {
        name, namespace, ip, ..
    } = options;
    let workload = if options.workload_name.is_empty() {
        name
    } else {
        &options.workload_name
    };
    let mut node = json!({
        "id": format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        "cluster": format!("{workload}.{namespace}"),
        "metadata": {
            "NAME": name,
            "NAMESPACE": namespace,
            "WORKLOAD_NAME": workload,
            "SERVICE_ACCOUNT": options.service_account,
            "LABELS": labels,
            "INSTANCE_IPS": ip.to_string(),
            "CLUSTER_ID": "Kubernetes",
            "MESH_ID": options.trust_domain.as_str(),
            "ISTIO_VERSION": env!("CARGO_PKG_VERSION"),
        },
    });
    for (key, value) in &options.metadata {
        node["metadata"][key] = value.clone();
    }
    node
}

/// Discovery is believed only from the identity that it has in this mesh.
fn discovery_cluster(host: &str, port: u16, options: &Mesh) -> Result<Value, IdentityError> {
    let (namespace, account) = &options.discovery_account;
    let pilot = SpiffeId::new(options.trust_domain.clone(), namespace, account)?;
    let identity = |name: &str| {
        json!({"name": name, "sds_config": {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": IDENTITY_CLUSTER}}]}}})
    };
    let kind = if host.parse::<std::net::IpAddr>().is_ok() {
        "STATIC"
    } else {
        "STRICT_DNS"
    };
    Ok(json!({
        "name": DISCOVERY_CLUSTER,
        "type": kind,
        "http2_protocol_options": {},
        "load_assignment": {"cluster_name": DISCOVERY_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(host, port)}}]}]},
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [identity("default")],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": pilot.to_string()}}]},
                    "validation_context_sds_secret_config": identity("ROOTCA"),
                },
            },
        }},
    }))
}

fn socket(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}
