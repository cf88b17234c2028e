//! `meshctl version`: versions of meshctl and of the mesh that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::exit::Exit;
use crate::mesh_target::{Target, TargetArguments};
use crate::output::{self, Format};
use crate::proxy_status;

/// Limit of the question to pilot.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    meshctl: &'static str,
    /// What pilot says; absent where none runs or nobody was asked. While pilots are being replaced, all their versions, with commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pilot: Option<String>,
    /// Number of connected proxies by their version.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    proxies: BTreeMap<String, usize>,
}

/// Prints the versions. A mesh that does not run is no error unless it was named.
pub(crate) async fn run(target: &TargetArguments, client_only: bool, format: Format) -> anyhow::Result<Exit> {
    let mut versions = Versions {
        meshctl: env!("CARGO_PKG_VERSION"),
        pilot: None,
        proxies: BTreeMap::new(),
    };
    if !client_only {
        let asked = target.names_a_mesh();
        let found = match target.find().await {
            Ok(target) => ask(&target, &mut versions).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(()) => {}
            Err(error) if asked => return Err(error),
            // Where nothing was named, there need not be a mesh; but one that does not answer is worth a word.
            Err(error) => output::say(&format!("no version of a mesh: {}", output::causes(&error))),
        }
    }
    output::print(format, &versions, |versions| text(versions, client_only))?;
    Ok(Exit::Ok)
}

async fn ask(target: &Target, versions: &mut Versions) -> anyhow::Result<()> {
    let pilots = target.pilots().await?;
    let mut found = Vec::new();
    for (_, server) in &pilots {
        let body = server.get_page("/version", DEADLINE).await?;
        found.push(String::from_utf8_lossy(&body).trim().to_owned());
    }
    found.sort();
    found.dedup();
    versions.pilot = Some(found.join(", "));
    for proxy in proxy_status::ask(&pilots).await? {
        *versions.proxies.entry(proxy.version).or_default() += 1;
    }
    Ok(())
}

fn text(versions: &Versions, client_only: bool) -> String {
    let mut text = format!("meshctl: {}\n", versions.meshctl);
    if client_only {
        return text;
    }
    let pilot = versions.pilot.as_deref().unwrap_or("no mesh runs");
    text.push_str(&format!("pilot: {pilot}\n"));
    if !versions.proxies.is_empty() {
        let proxies = versions.proxies.iter().map(|(version, count)| match version.as_str() {
            "" => format!("unknown ({count})"),
            version => format!("{version} ({count})"),
        });
        text.push_str(&format!("proxies: {}\n", proxies.collect::<Vec<_>>().join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_counted_by_version() {
        let mut versions = Versions {
            meshctl: "1.0",
            pilot: None,
            proxies: BTreeMap::new(),
        };
        assert_eq!(text(&versions, true), "meshctl: 1.0\n");
        assert_eq!(text(&versions, false), "meshctl: 1.0\npilot: no mesh runs\n");
        versions.pilot = Some("1.0, 1.1".to_owned());
        versions.proxies = BTreeMap::from([("1.0".to_owned(), 3), (String::new(), 1)]);
        assert_eq!(
            text(&versions, false),
            "meshctl: 1.0\npilot: 1.0, 1.1\nproxies: unknown (1), 1.0 (3)\n"
        );
    }
}
