//! Which of the kinds a server has, and in which version they are read from it.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use weft_api::kind::Kind;

use super::kinds::{Served, watched};

/// Whether the server says that it is ready. One that has just started lists only some of its kinds for a moment, and no
/// custom ones. A server that does not let us ask counts as ready.
async fn is_ready(client: &Client) -> kube::Result<bool> {
    let request = http::Request::get("/readyz").body(Vec::new());
    let request = request.map_err(kube::Error::HttpError)?;
    match client.request_text(request).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) => Ok(status.code < 500),
        Err(error) => Err(error),
    }
}

/// Asks the server; nothing if it is not ready. Each kind that it has comes with the most preferred version that both sides know.
pub(super) async fn served(client: &Client) -> kube::Result<Option<Served>> {
    if !is_ready(client).await? {
        return Ok(None);
    }
    let groups = client.list_api_groups().await?.groups;
    let mut offered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let wanted: BTreeSet<(&str, &str)> = watched()
        .map(Kind::facts)
        .flat_map(|facts| facts.versions.iter().map(|version| (facts.group.name(), *version)))
        .collect();
    for (group, version) in wanted {
        let resources = if group.is_empty() {
            client.list_core_api_resources(version).await?
        } else {
            let known = groups.iter().find(|known| known.name == group);
            if !known.is_some_and(|known| known.versions.iter().any(|known| known.version == version)) {
                continue;
            }
            client.list_api_group_resources(&format!("{group}/{version}")).await?
        };
        let names = resources.resources.into_iter().map(|resource| resource.name);
        offered.entry(format!("{group}/{version}")).or_default().extend(names);
    }
    Ok(Some(choose(|group, version, plural| {
        let names = offered.get(&format!("{group}/{version}"));
        names.is_some_and(|names| names.contains(plural))
    })))
}

/// For each kind the first version that is offered.
fn choose(offered: impl Fn(&str, &str, &str) -> bool) -> Served {
    watched()
        .filter_map(|kind| {
            let facts = kind.facts();
            let mut versions = facts.versions.iter();
            let version = versions.find(|version| offered(facts.group.name(), version, facts.plural))?;
            Some((kind, (*version).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_definitions_are_read_in_their_versions_and_missing_kinds_are_left_out() {
        let server = |group: &str, version: &str, plural: &str| match (group, version) {
            ("", "v1") => true,
            ("networking.istio.io", "v1alpha3" | "v1beta1") => plural == "gateways",
            _ => false,
        };
        let chosen = choose(server);
        assert_eq!(chosen.get(&Kind::Gateway).map(String::as_str), Some("v1beta1"));
        assert_eq!(chosen.get(&Kind::Pod).map(String::as_str), Some("v1"));
        assert_eq!(chosen.get(&Kind::VirtualService), None);
        assert_eq!(chosen.get(&Kind::EndpointSlice), None);
        assert_eq!(chosen.get(&Kind::PeerAuthentication), None);
    }
}
