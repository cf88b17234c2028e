//! Probes and HTTP hooks of the application, led through the proxy's status port.
//!
//! The kubelet shows no certificate and comes from the node, so under STRICT its probes would be refused. The proxy asks the application from
//! inside the pod instead. Paths and the variable that describes the originals are Istio's.

use k8s_openapi::api::core::v1::{Container, ContainerPort};
use serde_json::{Map, Value, json};

/// Environment variable of the proxy with the original probes, by path.
pub(super) const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// Probes of a container: field, and last part of its path.
const PROBES: [(&str, &str); 3] = [
    ("readinessProbe", "readyz"),
    ("livenessProbe", "livez"),
    ("startupProbe", "startupz"),
];

/// Hooks of a container: field below `lifecycle`, and last part of its path.
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

/// Why a probe cannot be led through the proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("container {container}, {probe}: port {port:?} is not the name of one of its ports")]
pub struct UnknownPort {
    /// The container.
    pub container: String,
    /// The probe.
    pub probe: String,
    /// The name that it has as port.
    pub port: String,
}

/// Changes the probes of `containers`, which are those of the application, and returns the originals by path.
pub(super) fn rewrite(
    containers: &mut [Value],
    typed: &[Container],
    status_port: u16,
) -> Result<Map<String, Value>, UnknownPort> {
    let mut originals = Map::new();
    for (container, typed) in containers.iter_mut().zip(typed) {
        let ports = typed.ports.as_deref().unwrap_or_default();
        for (field, last) in PROBES {
            if let Some(probe) = container.get_mut(field) {
                let path = format!("/app-health/{}/{last}", typed.name);
                if let Some(original) = rewrite_one(probe, &path, ports, status_port).map_err(|port| UnknownPort {
                    container: typed.name.clone(),
                    probe: field.to_owned(),
                    port,
                })? {
                    originals.insert(path, original);
                }
            }
        }
        for (field, last) in HOOKS {
            if let Some(hook) = container.pointer_mut(&format!("/lifecycle/{field}")) {
                // Hooks cannot be TCP or gRPC, so only HTTP ones are moved.
                if hook.get("httpGet").is_none() {
                    continue;
                }
                let path = format!("/app-lifecycle/{}/{last}", typed.name);
                if let Some(original) = rewrite_one(hook, &path, ports, status_port).map_err(|port| UnknownPort {
                    container: typed.name.clone(),
                    probe: field.to_owned(),
                    port,
                })? {
                    originals.insert(path, original);
                }
            }
        }
    }
    Ok(originals)
}

/// Replaces one handler by a request to the status port; returns the original, or nothing where it is left alone.
fn rewrite_one(
    probe: &mut Value,
    path: &str,
    ports: &[ContainerPort],
    status_port: u16,
) -> Result<Option<Value>, String> {
    let Some(fields) = probe.as_object_mut() else {
        return Ok(None);
    };
    let Some(kind) = ["httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .find(|kind| fields.contains_key(*kind))
    else {
        return Ok(None);
    };
    let mut handler = fields.get(kind).cloned().unwrap_or_default();
    let port = number(&handler["port"], ports)?;
    // A probe of the proxy itself, or one to another machine, is not of the application.
    let elsewhere = handler
        .get("host")
        .and_then(Value::as_str)
        .is_some_and(|host| !host.is_empty());
    if port == u64::from(status_port) || elsewhere {
        return Ok(None);
    }
    handler["port"] = Value::from(port);
    let mut original = Map::new();
    original.insert(kind.to_owned(), handler);
    if let Some(timeout) = fields.get("timeoutSeconds") {
        original.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    fields.shift_remove(kind);
    fields.insert(
        "httpGet".to_owned(),
        json!({"path": path, "port": status_port, "scheme": "HTTP"}),
    );
    Ok(Some(Value::Object(original)))
}

/// A port by number, or by its name among the container's ports.
fn number(port: &Value, ports: &[ContainerPort]) -> Result<u64, String> {
    if let Some(number) = port.as_u64() {
        return Ok(number);
    }
    let name = port.as_str().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
    let number = named.and_then(|port| u64::try_from(port.container_port).ok());
    number.or_else(|| name.parse().ok()).ok_or_else(|| name.to_owned())
}
