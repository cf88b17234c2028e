//! Lines of a hosts file from Services and Endpoints.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::layout::{OUTSIDE, OUTSIDE_NAME};

/// Namespace and name.
pub(crate) type Key = (String, String);

const DOMAIN: &str = "svc.cluster.local";

/// The file's text, sorted.
pub(crate) fn render(services: &BTreeMap<Key, Value>, endpoints: &BTreeMap<Key, Value>) -> String {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    names
        .entry(OUTSIDE_NAME.to_owned())
        .or_default()
        .insert(OUTSIDE.to_owned());
    let mut aliases = Vec::new();
    for (key, service) in services {
        let name = format!("{}.{}.{DOMAIN}", key.1, key.0);
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" {
            let target = spec["externalName"].as_str().unwrap_or_default();
            aliases.push((name, target.trim_end_matches('.').to_owned()));
        } else if spec["clusterIP"] == "None" {
            headless(&mut names, &name, endpoints.get(key));
        } else if let Some(address) = spec["clusterIP"].as_str().filter(|address| !address.is_empty()) {
            names.entry(name).or_default().insert(address.to_owned());
        }
    }
    for (alias, target) in aliases {
        if let Some(addresses) = names.get(&target).cloned() {
            names.insert(alias, addresses);
        }
    }
    let lines = names
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{address} {name}\n")));
    lines.collect()
}

/// Every ready pod under the Service's name, and those with a host name under theirs.
fn headless(names: &mut BTreeMap<String, BTreeSet<String>>, service: &str, endpoints: Option<&Value>) {
    let subsets = endpoints.and_then(|endpoints| endpoints["subsets"].as_array());
    let addresses = subsets
        .into_iter()
        .flatten()
        .filter_map(|subset| subset["addresses"].as_array())
        .flatten();
    for address in addresses {
        let Some(ip) = address["ip"].as_str() else { continue };
        names.entry(service.to_owned()).or_default().insert(ip.to_owned());
        if let Some(host) = address["hostname"].as_str() {
            names
                .entry(format!("{host}.{service}"))
                .or_default()
                .insert(ip.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_have_the_names_that_pods_use() {
        let key = |name: &str| ("default".to_owned(), name.to_owned());
        let services = BTreeMap::from([
            (
                key("alias"),
                json!({"spec": {"type": "ExternalName", "externalName": "plain.default.svc.cluster.local."}}),
            ),
            (
                key("away"),
                json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}),
            ),
            (key("headless"), json!({"spec": {"clusterIP": "None"}})),
            (key("lonely"), json!({"spec": {"clusterIP": "None"}})),
            (key("pending"), json!({"spec": {"clusterIP": ""}})),
            (key("plain"), json!({"spec": {"clusterIP": "10.96.0.7"}})),
        ]);
        let endpoints = BTreeMap::from([(
            key("headless"),
            json!({"subsets": [
                {"addresses": [{"ip": "10.244.1.2", "hostname": "db-0"}, {"ip": "10.244.2.2"}],
                 "notReadyAddresses": [{"ip": "10.244.1.9"}]},
            ]}),
        )]);
        assert_eq!(
            render(&services, &endpoints),
            "10.96.0.7 alias.default.svc.cluster.local\n\
             10.244.1.2 db-0.headless.default.svc.cluster.local\n\
             10.244.1.2 headless.default.svc.cluster.local\n\
             10.244.2.2 headless.default.svc.cluster.local\n\
             203.0.113.10 outside.test\n\
             10.96.0.7 plain.default.svc.cluster.local\n"
                .lines()
                .collect::<Vec<_>>()
                .join("\n")
                + "\n"
        );
    }
}
