//! What runs in a cluster and whether it is ready: the Deployments of the control plane and the proxies that it serves.

use serde::Serialize;

use crate::cluster::{Component, ControlPlane, components};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Table};
use crate::proxy_status::{self, ProxyState};

/// Most refusals that are named.
const REFUSALS_MAX: usize = 20;

/// The mesh of a cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Namespace of the control plane.
    namespace: String,
    /// Whether everything below is as it should be.
    ready: bool,
    components: Vec<Component>,
    /// Absent where no pilot is ready to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<Proxies>,
}

/// Numbers of proxies.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Proxies {
    connected: usize,
    /// Without the latest configuration.
    stale: usize,
    /// Those that refused configuration.
    refused: usize,
    /// What they said, with proxy and type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<String>,
}

/// Shows it; exit code 79 if something is not ready.
pub(super) async fn show(plane: &ControlPlane, format: Format) -> anyhow::Result<Exit> {
    let components = components(&plane.client, &plane.namespace).await?;
    if components.is_empty() {
        let message = format!(
            "no mesh is installed in namespace {}; install one with meshctl install, or name the namespace of its control \
             plane by --system-namespace",
            plane.namespace
        );
        return Err(Failure::failed(message).into());
    }
    let pilot_runs = components.iter().any(|part| part.is_pilot && part.ready > 0);
    let proxies = if pilot_runs {
        Some(count(&proxy_status::ask(&plane.pilots().await?).await?))
    } else {
        None
    };
    let status = Status::new(plane.namespace.clone(), components, proxies);
    output::print(format, &status, table)?;
    Ok(if status.ready { Exit::Ok } else { Exit::Findings })
}

fn count(states: &[ProxyState]) -> Proxies {
    let number = |condition: fn(&ProxyState) -> bool| states.iter().filter(|state| condition(state)).count();
    Proxies {
        connected: states.len(),
        stale: number(|state| !state.stale_types.is_empty()),
        refused: number(|state| !state.errors.is_empty()),
        refusals: states
            .iter()
            .flat_map(ProxyState::refusals)
            .take(REFUSALS_MAX)
            .collect(),
    }
}

fn table(status: &Status) -> String {
    let mut rows = Table::new(&["COMPONENT", "READY", "VERSION", "TROUBLE"]);
    for part in &status.components {
        rows.row([
            part.name.clone(),
            format!("{}/{}", part.ready, part.wanted),
            part.version.clone().unwrap_or_else(|| "-".to_owned()),
            part.trouble.first().cloned().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let ready = if status.ready { "ready" } else { "not ready" };
    let proxies = match &status.proxies {
        Some(proxies) => {
            let mut text = format!(
                "Proxies: {} connected, {} without the latest configuration, {} refused some",
                proxies.connected, proxies.stale, proxies.refused
            );
            proxies
                .refusals
                .iter()
                .for_each(|refusal| text.push_str(&format!("\n  {refusal}")));
            text
        }
        None => "Proxies: not known, since no pilot is ready".to_owned(),
    };
    format!(
        "Mesh in namespace {}: {ready}\n\n{}\n{proxies}\n",
        status.namespace,
        rows.render()
    )
}

// === impl Status ===

impl Status {
    fn new(namespace: String, components: Vec<Component>, proxies: Option<Proxies>) -> Self {
        // A proxy that is a moment behind is as it should be.
        let served = proxies.as_ref().is_some_and(|proxies| proxies.refused == 0);
        Self {
            namespace,
            ready: served && components.iter().all(Component::is_well),
            components,
            proxies,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn component(name: &str, ready: i32, wanted: i32) -> Component {
        Component {
            name: name.to_owned(),
            is_pilot: name == "weft-pilot",
            version: Some("0.1.0".to_owned()),
            ready,
            wanted,
            trouble: Vec::new(),
        }
    }

    #[test]
    fn components_and_proxies_are_shown() {
        let parts = || vec![component("weft-citadel", 2, 2), component("weft-pilot", 1, 1)];
        let proxies = Proxies {
            connected: 5,
            stale: 1,
            ..Proxies::default()
        };
        let status = Status::new("weft-system".to_owned(), parts(), Some(proxies));
        expect![[r#"
            Mesh in namespace weft-system: ready

            COMPONENT       READY    VERSION    TROUBLE
            weft-citadel    2/2      0.1.0      -
            weft-pilot      1/1      0.1.0      -

            Proxies: 5 connected, 1 without the latest configuration, 0 refused some
        "#]]
        .assert_eq(&table(&status));
        let refused = count(&[ProxyState::refusing("a.b", "Listener refused: x: no such field")]);
        let status = Status::new(String::new(), parts(), Some(refused));
        assert!(!status.ready);
        let text = table(&status);
        assert!(
            text.ends_with("1 refused some\n  a.b: Listener refused: x: no such field\n"),
            "{text}"
        );
        assert!(!Status::new(String::new(), parts(), None).ready);
        let lame = vec![component("weft-citadel", 1, 2)];
        assert!(!Status::new(String::new(), lame, Some(Proxies::default())).ready);
    }
}
