//! `meshctl proxy-status`: which proxies pilot serves and whether they took its latest configuration, from `/debug/syncz`.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::fetch::Server;
use crate::mesh_target::TargetArguments;
use crate::output::{self, Format, Table};

/// Limit of the question to pilot.
const DEADLINE: Duration = Duration::from_secs(10);

/// Types of resources, with the name that Istio's tool gives them, the field of `/debug/syncz`, and the end of the name of their message
/// in its field `resources`.
const TYPES: [(&str, &str, &str); 5] = [
    ("CDS", "cluster", ".Cluster"),
    ("LDS", "listener", ".Listener"),
    ("EDS", "endpoint", ".ClusterLoadAssignment"),
    ("RDS", "route", ".RouteConfiguration"),
    ("ECDS", "extensionconfig", ".TypedExtensionConfig"),
];

/// State of one proxy.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyState {
    pub(crate) name: String,
    cluster: String,
    istiod: String,
    pub(crate) version: String,
    subscribed_types: Vec<String>,
    /// Types whose latest version the proxy did not take yet.
    pub(crate) stale_types: Vec<String>,
    /// What the proxy said when it refused a version, by type.
    pub(crate) errors: Vec<String>,
}

/// Shows the proxies; exit code 79 if one refused something.
pub(crate) async fn run(target: &TargetArguments, pilot: Option<String>, format: Format) -> anyhow::Result<Exit> {
    let pilots = match pilot {
        Some(address) => vec![(address.clone(), Server::Address(address))],
        None => target.find().await?.pilots().await?,
    };
    let states = ask(&pilots).await?;
    output::print(format, &states, |states| table(states))?;
    for state in &states {
        for refusal in state.refusals() {
            output::say(&refusal);
        }
    }
    let refused = states.iter().any(|state| !state.errors.is_empty());
    Ok(if refused { Exit::Findings } else { Exit::Ok })
}

/// Proxies of all pilots, each of which knows those that are connected to it.
pub(crate) async fn ask(pilots: &[(String, Server)]) -> anyhow::Result<Vec<ProxyState>> {
    let mut all = Vec::new();
    for (name, server) in pilots {
        let page = server.get_json("/debug/syncz", DEADLINE).await?;
        all.extend(states(&page, name)?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The same of one pilot by its address.
pub(crate) async fn ask_at(pilot: &str) -> anyhow::Result<Vec<ProxyState>> {
    ask(&[(pilot.to_owned(), Server::Address(pilot.to_owned()))]).await
}

fn states(page: &Value, pilot: &str) -> Result<Vec<ProxyState>, Failure> {
    let list = page
        .as_array()
        .ok_or_else(|| Failure::bad_data("the answer of /debug/syncz is no list"))?;
    let mut states: Vec<ProxyState> = list.iter().map(|entry| state(entry, pilot)).collect();
    states.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(states)
}

// === impl ProxyState ===

impl ProxyState {
    /// What it refused, each with its name.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = String> {
        self.errors.iter().map(|error| format!("{}: {error}", self.name))
    }

    /// A proxy that refuses something, for tests.
    #[cfg(test)]
    pub(crate) fn refusing(name: &str, error: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: String::new(),
            istiod: String::new(),
            version: String::new(),
            subscribed_types: Vec::new(),
            stale_types: Vec::new(),
            errors: vec![error.to_owned()],
        }
    }
}

fn state(entry: &Value, pilot: &str) -> ProxyState {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let resources = || entry.get("resources").and_then(Value::as_object).into_iter().flatten();
    let mut subscribed = Vec::new();
    let mut stale = Vec::new();
    for (name, field, message) in TYPES {
        let sent = text(&format!("{field}_sent"));
        // A proxy that connects again with all that it needs is subscribed and sent nothing.
        if sent.is_empty() && !resources().any(|(kind, _)| kind.ends_with(message)) {
            continue;
        }
        subscribed.push(name.to_owned());
        if text(&format!("{field}_acked")) != sent {
            stale.push(name.to_owned());
        }
    }
    let errors = resources().filter_map(|(kind, resource)| {
        let error = resource.get("lastError")?.as_str().filter(|error| !error.is_empty())?;
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        Some(format!("{kind} refused: {error}"))
    });
    ProxyState {
        name: text("proxy").to_owned(),
        cluster: text("cluster_id").to_owned(),
        istiod: pilot.to_owned(),
        version: text("istio_version").to_owned(),
        subscribed_types: subscribed,
        stale_types: stale,
        errors: errors.collect(),
    }
}

/// Istio's columns; a type that the proxy has not taken yet is marked.
fn table(states: &[ProxyState]) -> String {
    let mut table = Table::new(&["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"]);
    for state in states {
        let types: Vec<String> = state
            .subscribed_types
            .iter()
            .map(|name| {
                if state.stale_types.contains(name) {
                    format!("{name} (stale)")
                } else {
                    name.clone()
                }
            })
            .collect();
        table.row([
            state.name.clone(),
            state.cluster.clone(),
            state.istiod.clone(),
            state.version.clone(),
            format!("{} ({})", types.len(), types.join(",")),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_istios_columns() {
        let page = json!([
            {"proxy": "callme-v1-0.default", "proxy_type": "sidecar", "cluster_id": "Kubernetes", "istio_version": "0.1.0",
             "cluster_sent": "n2", "cluster_acked": "n2", "listener_sent": "n3", "listener_acked": "n3",
             "route_sent": "n5", "route_acked": "n4", "endpoint_sent": "n6", "endpoint_acked": "n6"},
            {"proxy": "caller-0.default", "cluster_id": "Kubernetes", "istio_version": "0.1.0", "cluster_sent": "n2", "cluster_acked": "n1",
             "resources": {"type.googleapis.com/envoy.config.cluster.v3.Cluster": {"lastError": "no such field"}}},
        ]);
        let states = states(&page, "127.0.0.1:15014").unwrap();
        expect![[r#"
            NAME                   CLUSTER       ISTIOD             VERSION    SUBSCRIBED TYPES
            caller-0.default       Kubernetes    127.0.0.1:15014    0.1.0      1 (CDS (stale))
            callme-v1-0.default    Kubernetes    127.0.0.1:15014    0.1.0      4 (CDS,LDS,EDS,RDS (stale))
        "#]]
        .assert_eq(&table(&states));
        assert_eq!(states[0].errors, ["Cluster refused: no such field"]);
        // As it is after a restart of pilot: endpoints and routes are those that the proxy has.
        let nothing = json!({"sent": "", "acked": "", "lastError": ""});
        let again = json!([{"proxy": "a.b", "cluster_sent": "n1", "cluster_acked": "n1", "route_sent": "", "resources": {
            "type.googleapis.com/envoy.config.route.v3.RouteConfiguration": nothing,
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment": nothing,
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": nothing}}]);
        let again = super::states(&again, "x").unwrap();
        assert_eq!(
            (again[0].subscribed_types.join(","), again[0].stale_types.len()),
            ("CDS,EDS,RDS".to_owned(), 0)
        );
        assert!(super::states(&json!({}), "x").is_err());
    }
}
