//! Probes and HTTP hooks of the application, led through the proxy's status port.
//!
//! The kubelet shows no certificate and comes from the node, so under STRICT its probes would be refused. The proxy asks the
//! application from inside the pod instead. Paths and the variable that describes the originals are Istio's.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::{Container, ContainerPort};
use serde_json::{Map, Value, json};

use super::paths::path;

/// Environment variable of the proxy with the original probes, by path.
pub(super) const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// Probes of a container: field, and last part of its path.
const PROBES: [(&str, &str); 3] = [
    ("readinessProbe", "readyz"),
    ("livenessProbe", "livez"),
    (STARTUP, "startupz"),
];

/// Hooks of a container: field below `lifecycle`, and last part of its path.
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), (POST_START, "poststartz")];

const STARTUP: &str = "startupProbe";
const POST_START: &str = "postStart";

/// Headers of a connection, which is the proxy's own here (RFC 9110, 7.6.1), and the length of a body that a probe does not have.
const DROPPED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Why a probe cannot be led through the proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("container {container}, {probe}: {reason}")]
pub struct BadProbe {
    pub container: String,
    pub probe: &'static str,
    /// What is wrong, with the field.
    pub reason: String,
}

/// Changes the probes of a container of the application, and adds the originals by path.
///
/// A container that is `waited_for` has to start before the proxy does: what Kubernetes asks it until then is left alone.
pub(super) fn rewrite(
    container: &mut Value,
    typed: &Container,
    status_port: u16,
    waited_for: bool,
    originals: &mut Map<String, Value>,
) -> Result<(), BadProbe> {
    let ports = typed.ports.as_deref().unwrap_or_default();
    let mut one = |handler: Option<&mut Value>, field: &'static str, path: String| {
        let Some(handler) = handler.filter(|_| !(waited_for && [STARTUP, POST_START].contains(&field))) else {
            return Ok(());
        };
        let original = rewrite_one(handler, &path, ports, status_port).map_err(|reason| BadProbe {
            container: typed.name.clone(),
            probe: field,
            reason,
        })?;
        originals.extend(original.map(|original| (path, original)));
        Ok(())
    };
    for (field, last) in PROBES {
        let path = format!("/app-health/{}/{last}", typed.name);
        one(container.get_mut(field), field, path)?;
    }
    for (field, last) in HOOKS {
        let path = format!("/app-lifecycle/{}/{last}", typed.name);
        let hook = container.pointer_mut(&format!("/lifecycle/{field}"));
        // Hooks cannot be TCP or gRPC, so only HTTP ones are moved.
        one(hook.filter(|hook| hook.get("httpGet").is_some()), field, path)?;
    }
    Ok(())
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
    let kinds = ["httpGet", "tcpSocket", "grpc"].into_iter();
    let Some((kind, handler)) = kinds.filter_map(|kind| Some((kind, fields.get(kind)?))).next() else {
        return Ok(None);
    };
    let port = number(&handler["port"], ports)?;
    // A probe of the proxy itself, or one to another machine, is not of the application.
    let elsewhere = handler
        .get("host")
        .and_then(Value::as_str)
        .is_some_and(|host| !host.is_empty());
    if port == status_port || elsewhere {
        return Ok(None);
    }
    let handler = match kind {
        "httpGet" => http(handler, port)?,
        "grpc" => json!({"port": port, "service": handler["service"].as_str().unwrap_or_default()}),
        _ => json!({"port": port}),
    };
    let mut original = Map::new();
    original.insert(kind.to_owned(), handler);
    if let Some(timeout) = fields.get("timeoutSeconds").filter(|timeout| timeout.is_u64()) {
        original.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    fields.shift_remove(kind);
    fields.insert(
        "httpGet".to_owned(),
        json!({"path": path, "port": status_port, "scheme": "HTTP"}),
    );
    Ok(Some(Value::Object(original)))
}

/// The request of an HTTP probe, as the proxy can send it.
fn http(handler: &Value, port: u16) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut request = Map::new();
    let path = path(&text(&handler["path"])).map_err(|reason| format!("httpGet.path: {reason}"))?;
    request.insert("path".to_owned(), path.into());
    request.insert("port".to_owned(), port.into());
    let scheme = text(&handler["scheme"]);
    match scheme.as_str() {
        "" => {}
        "HTTP" | "HTTPS" => drop(request.insert("scheme".to_owned(), scheme.into())),
        other => return Err(format!("httpGet.scheme: {other:?} is neither HTTP nor HTTPS")),
    }
    let mut headers = Vec::new();
    for header in handler["httpHeaders"].as_array().into_iter().flatten() {
        let (name, value) = (text(&header["name"]), text(&header["value"]));
        if name.parse::<HeaderName>().is_err() || HeaderValue::from_str(&value).is_err() {
            return Err(format!("httpGet.httpHeaders: {name:?}: {value:?} is not a header"));
        }
        if !DROPPED.contains(&name.to_ascii_lowercase().as_str()) {
            headers.push(json!({"name": name, "value": value}));
        }
    }
    if !headers.is_empty() {
        request.insert("httpHeaders".to_owned(), headers.into());
    }
    Ok(Value::Object(request))
}

/// A port by number, or by its name among the container's ports.
fn number(port: &Value, ports: &[ContainerPort]) -> Result<u16, String> {
    let name = port.as_str().unwrap_or_default();
    let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
    let number = match named {
        Some(named) => Some(i64::from(named.container_port)),
        None => port.as_i64().or_else(|| name.parse().ok()),
    };
    let Some(number) = number else {
        return Err(format!("port {name:?} is not the name of one of its ports"));
    };
    let fits = u16::try_from(number).ok().filter(|port| *port > 0);
    fits.ok_or_else(|| format!("port {number} is not from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(container: &Value, waited_for: bool) -> Result<(Value, Map<String, Value>), BadProbe> {
        let typed: Container = serde_json::from_value(container.clone()).unwrap();
        let (mut changed, mut originals) = (container.clone(), Map::new());
        rewrite(&mut changed, &typed, 15020, waited_for, &mut originals)?;
        Ok((changed, originals))
    }

    #[test]
    fn what_the_proxy_would_refuse_is_refused_here() {
        for (handler, expected) in [
            (json!({"httpGet": {"port": 70000}}), "port 70000 is not from 1 to 65535"),
            (json!({"tcpSocket": {"port": 0}}), "port 0 is not from 1 to 65535"),
            (
                json!({"httpGet": {"port": "admin"}}),
                "port \"admin\" is not the name of one of its ports",
            ),
            (
                json!({"httpGet": {"port": 80, "scheme": "ftp"}}),
                "httpGet.scheme: \"ftp\" is neither HTTP nor HTTPS",
            ),
            (
                json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "x", "value": "a\nb"}]}}),
                "httpGet.httpHeaders: \"x\": \"a\\nb\" is not a header",
            ),
        ] {
            let error = of(&json!({"name": "web", "livenessProbe": handler}), false).unwrap_err();
            assert_eq!(error.to_string(), format!("container web, livenessProbe: {expected}"));
        }
    }

    #[test]
    fn what_can_be_mended_is_mended() {
        let headers = json!([
            {"name": "Connection", "value": "close"},
            {"name": "X-A", "value": "b"},
            {"name": "TE", "value": "trailers"},
        ]);
        let probe = json!({"httpGet": {"path": "a b", "port": "8080", "httpHeaders": headers}});
        let (_, originals) = of(&json!({"name": "web", "readinessProbe": probe}), false).unwrap();
        let expected = json!({"path": "/a%20b", "port": 8080, "httpHeaders": [{"name": "X-A", "value": "b"}]});
        assert_eq!(originals["/app-health/web/readyz"]["httpGet"], expected);
    }

    #[test]
    fn a_container_that_starts_before_the_proxy_is_asked_directly_until_then() {
        let get = json!({"httpGet": {"path": "/", "port": 80}});
        let container = json!({
            "name": "web", "startupProbe": get, "livenessProbe": get,
            "lifecycle": {"postStart": get, "preStop": get},
        });
        let paths = |originals: Map<String, Value>| originals.into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let (changed, originals) = of(&container, true).unwrap();
        assert_eq!(
            paths(originals),
            ["/app-health/web/livez", "/app-lifecycle/web/prestopz"]
        );
        assert_eq!(
            (&changed["startupProbe"], &changed["lifecycle"]["postStart"]),
            (&get, &get)
        );
        assert_eq!(of(&container, false).unwrap().1.len(), 4);
    }
}
