//! Waits until what pilot knows has reached every proxy, so that the first request after "ready" is not one too early.
//!
//! Three things must hold, each read from pilot's debug pages: pilot serves every endpoint that the mesh should have; every
//! member's proxy was served that generation; every proxy took it, or said why not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::fetch;
use crate::up::plan::Plan;

/// An endpoint of a service: hostname and port of the workload's sidecar.
pub(crate) type Expected = BTreeSet<(String, u16)>;

/// Time between looks.
const LOOK: Duration = Duration::from_millis(50);

/// Limit of one page.
const PAGE: Duration = Duration::from_secs(2);

/// Looks until everything has arrived or was refused, and says what was refused; never returns before. `missing` always holds what does not
/// hold yet.
pub(crate) async fn settled(plan: &Plan, expected: &Expected, missing: &mut String) -> Vec<String> {
    let monitoring = &plan.addresses.pilot_monitoring;
    loop {
        match look(monitoring, plan, expected).await {
            Ok(Look::Arrived(refused)) => return refused,
            Ok(Look::Missing(what)) => *missing = what,
            Err(error) => *missing = format!("{error:#}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What one look saw.
enum Look {
    Missing(String),
    /// Everything is there, but for what was refused.
    Arrived(Vec<String>),
}

async fn look(monitoring: &str, plan: &Plan, expected: &Expected) -> anyhow::Result<Look> {
    let registry = fetch::get_json(monitoring, "/debug/registryz", PAGE).await?;
    if let Some((host, port)) = expected.difference(&served(&registry)).next() {
        return Ok(Look::Missing(format!(
            "pilot does not serve the endpoint 127.0.0.1:{port} of {host} yet"
        )));
    }
    let mut refused = Vec::new();
    let Some(first) = plan.members.first() else {
        return Ok(Look::Arrived(refused));
    };
    // Read after the endpoints: proxies that have this generation have the endpoints.
    let page = format!("/debug/config_dump?proxyID={}.{}", first.name, first.namespace);
    let dump = fetch::get_json(monitoring, &page, PAGE).await?;
    let generation = dump.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let sync = fetch::get_json(monitoring, "/debug/syncz", PAGE).await?;
    let proxies = sync.as_array().map(Vec::as_slice).unwrap_or_default();
    for member in &plan.members {
        let name = format!("{}.{}", member.name, member.namespace);
        let Some(proxy) = proxies
            .iter()
            .find(|proxy| proxy.get("proxy").and_then(Value::as_str) == Some(&name))
        else {
            return Ok(Look::Missing(format!("the proxy of {name} is not connected to pilot")));
        };
        if let Some(what) = behind(proxy, generation) {
            return Ok(Look::Missing(format!("the proxy of {name} {what}")));
        }
        refused.extend(refusals(proxy).map(|what| format!("{name}: {what}")));
    }
    Ok(Look::Arrived(refused))
}

/// What a proxy refuses, by type.
fn refusals(proxy: &Value) -> impl Iterator<Item = String> {
    let types = proxy.get("resources").and_then(Value::as_object).into_iter().flatten();
    types.filter_map(|(kind, state)| {
        let error = state.get("lastError")?.as_str().filter(|error| !error.is_empty())?;
        Some(format!("{} refused: {error}", kind.rsplit('.').next().unwrap_or(kind)))
    })
}

/// Endpoints in pilot's registry page.
fn served(registry: &Value) -> Expected {
    let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut served = Expected::new();
    for service in registry.as_array().into_iter().flatten() {
        let host = service.get("hostname").and_then(Value::as_str).unwrap_or_default();
        for endpoint in list(service, "ports").iter().flat_map(|port| list(port, "endpoints")) {
            let port = endpoint
                .get("port")
                .and_then(Value::as_u64)
                .and_then(|port| u16::try_from(port).ok());
            served.extend(port.map(|port| (host.to_owned(), port)));
        }
    }
    served
}

/// What a proxy does not have yet of a generation. A refusal counts as an answer: it will not change by waiting.
fn behind(proxy: &Value, generation: u64) -> Option<String> {
    let seen = proxy.get("generation").and_then(Value::as_u64).unwrap_or_default();
    if seen < generation {
        return Some(format!("was served generation {seen}, pilot has {generation}"));
    }
    let types = proxy.get("resources").and_then(Value::as_object).into_iter().flatten();
    for (kind, state) in types {
        let text = |field: &str| state.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("lastError").is_empty() && text("sent") != text("acked") {
            let kind = kind.rsplit('.').next().unwrap_or(kind);
            return Some(format!("has not taken the latest {kind} yet"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_read_from_the_registry() {
        let page = json!([
            {"hostname": "a.default.svc.cluster.local", "ports": [
                {"port": 80, "endpoints": [{"address": "127.0.0.1", "port": 20001}, {"port": 20002}]},
                {"port": 81, "endpoints": []},
            ]},
            {"hostname": "b.example", "ports": []},
        ]);
        let host = "a.default.svc.cluster.local".to_owned();
        assert_eq!(served(&page), [(host.clone(), 20001), (host, 20002)].into());
        assert!(served(&json!("no list")).is_empty());
    }

    #[test]
    fn a_proxy_is_behind_until_it_answered() {
        #[track_caller]
        fn check(proxy: &Value, expected: Option<&str>) {
            assert_eq!(behind(proxy, 3).as_deref(), expected);
        }
        let with = |sent: &str, acked: &str, error: Value| {
            let cluster = json!({"sent": sent, "acked": acked, "lastError": error});
            json!({"generation": 3, "resources": {"type.googleapis.com/a.Cluster": cluster}})
        };
        check(
            &json!({"generation": 2, "resources": {}}),
            Some("was served generation 2, pilot has 3"),
        );
        check(
            &with("n2", "n1", json!("")),
            Some("has not taken the latest Cluster yet"),
        );
        check(
            &with("n2", "n1", Value::Null),
            Some("has not taken the latest Cluster yet"),
        );
        let refusing = with("n2", "n1", json!("no such field"));
        check(&refusing, None);
        assert_eq!(
            refusals(&refusing).collect::<Vec<_>>(),
            ["Cluster refused: no such field"]
        );
        assert_eq!(refusals(&with("n2", "n2", Value::Null)).count(), 0);
        check(&with("n2", "n2", Value::Null), None);
    }
}
