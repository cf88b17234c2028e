//! Names and their addresses, found by whole name, by wildcard, and by what a resolver makes of a name with its search domains.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One name of the mesh.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Host name in full; `*.` starts a wildcard.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Short name and namespace of a Kubernetes service, which has further names.
    pub short: Option<(String, String)>,
}

/// All names of the mesh.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<String, Arc<[IpAddr]>>,
    /// By what follows the `*`.
    wildcards: HashMap<String, Arc<[IpAddr]>>,
}

/// A name that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The name without a search domain, where one was asked with.
    pub(super) without_search: Option<String>,
    pub(super) addresses: Arc<[IpAddr]>,
}

// === impl NameTable ===

impl NameTable {
    /// A table. Kubernetes services are also known as `name.namespace` and `name.namespace.svc`.
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut table = Self::default();
        let mut further = Vec::new();
        for entry in entries {
            let addresses: Arc<[IpAddr]> = entry.addresses.into();
            let name = normal(&entry.name);
            match name.strip_prefix('*') {
                Some(suffix) => drop(table.wildcards.insert(suffix.to_owned(), addresses)),
                None => {
                    if let Some((short, namespace)) = entry.short {
                        further.push((normal(&format!("{short}.{namespace}")), addresses.clone()));
                        further.push((normal(&format!("{short}.{namespace}.svc")), addresses.clone()));
                    }
                    table.exact.insert(name, addresses);
                }
            }
        }
        for (name, addresses) in further {
            table.exact.entry(name).or_insert(addresses);
        }
        table
    }

    /// Finds a name, as asked and without each of the resolver's search domains: with `ndots:5` a resolver asks for
    /// `shop.example.com.default.svc.cluster.local` before `shop.example.com`.
    pub(super) fn find(&self, name: &str, search: &[String]) -> Option<Found> {
        let name = normal(name);
        let stripped = search
            .iter()
            .filter_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'));
        let candidates: Vec<&str> = std::iter::once(name.as_str()).chain(stripped).collect();
        let exact = candidates.iter().find_map(|name| Some((*name, self.exact.get(*name)?)));
        let found = exact.or_else(|| candidates.iter().find_map(|name| Some((*name, self.wildcard(name)?))));
        let (matched, addresses) = found?;
        Some(Found {
            without_search: (matched != name).then(|| matched.to_owned()),
            addresses: addresses.clone(),
        })
    }

    fn wildcard(&self, name: &str) -> Option<&Arc<[IpAddr]>> {
        if self.wildcards.is_empty() {
            return None;
        }
        let mut dots = name.char_indices().filter(|(_, c)| *c == '.');
        dots.find_map(|(at, _)| self.wildcards.get(&name[at..]))
    }
}

/// Lower case, without the dot at the end.
fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> NameTable {
        let entry = |name: &str, address: &str, short: Option<(&str, &str)>| Entry {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            short: short.map(|(name, namespace)| (name.to_owned(), namespace.to_owned())),
        };
        NameTable::new(vec![
            entry("web.default.svc.cluster.local", "10.0.0.1", Some(("web", "default"))),
            entry("shop.example.com", "10.0.0.2", None),
            entry("*.example.com", "10.0.0.3", None),
            entry("*.deep.example.com", "10.0.0.4", None),
        ])
    }

    #[track_caller]
    fn check(name: &str, expected: Option<(&str, Option<&str>)>) {
        let search = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned);
        let found = table().find(name, &search);
        let found = found.map(|found| (found.addresses[0].to_string(), found.without_search));
        let expected = expected.map(|(address, name)| (address.to_owned(), name.map(str::to_owned)));
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn names_are_found_as_resolvers_ask_for_them() {
        check("web.default.svc.cluster.local.", Some(("10.0.0.1", None)));
        check("Web.Default.", Some(("10.0.0.1", None)));
        check(
            "web.default.svc.cluster.local.svc.cluster.local.",
            Some(("10.0.0.1", Some("web.default.svc.cluster.local"))),
        );
        check("shop.example.com.", Some(("10.0.0.2", None)));
        check(
            "shop.example.com.default.svc.cluster.local.",
            Some(("10.0.0.2", Some("shop.example.com"))),
        );
        check("other.example.com.", Some(("10.0.0.3", None)));
        check("a.b.example.com.", Some(("10.0.0.3", None)));
        check("x.deep.example.com.", Some(("10.0.0.4", None)));
        check(
            "x.deep.example.com.cluster.local.",
            Some(("10.0.0.4", Some("x.deep.example.com"))),
        );
        check("example.com.", None);
        check("unknown.default.svc.cluster.local.", None);
        check("", None);
        check(".", None);
    }
}
