//! Which virtual host serves a host name: exact, then the longest suffix wildcard, then the longest prefix wildcard, then `*`
//! (Envoy API, `config.route.v3.VirtualHost.domains`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::stream_info::request::split_port;

/// Look-ups by domain, each to the index of a virtual host.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    exact: HashMap<Arc<str>, usize>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<usize>,
    ignore_port: bool,
}

/// Wildcards by the text beside the star.
#[derive(Debug, Default)]
struct Wildcards {
    by_text: HashMap<Arc<str>, usize>,
    /// Lengths that occur, longest first.
    lengths: Vec<usize>,
}

// === impl HostIndex ===

impl HostIndex {
    /// Builds the look-ups; `domains` are lower case.
    pub(crate) fn new<'a>(domains: impl Iterator<Item = (usize, &'a Arc<str>)>, ignore_port: bool) -> Self {
        let mut index = Self {
            ignore_port,
            ..Self::default()
        };
        for (host, domain) in domains {
            if &**domain == "*" {
                index.any = Some(host);
            } else if let Some(suffix) = domain.strip_prefix('*') {
                index.suffixes.insert(suffix, host);
            } else if let Some(prefix) = domain.strip_suffix('*') {
                index.prefixes.insert(prefix, host);
            } else {
                index.exact.insert(domain.clone(), host);
            }
        }
        index
    }

    /// The virtual host of an authority, whatever its case.
    pub(crate) fn find(&self, authority: &str) -> Option<usize> {
        let host = if self.ignore_port {
            split_port(authority).0
        } else {
            authority
        };
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.find_lower(&host.to_ascii_lowercase());
        }
        self.find_lower(host)
    }

    fn find_lower(&self, host: &str) -> Option<usize> {
        if let Some(found) = self.exact.get(host) {
            return Some(*found);
        }
        // A wildcard stands for at least one character.
        let longest = host.len().saturating_sub(1);
        let suffix = self.suffixes.find(longest, |length| host.get(host.len() - length..));
        let found = suffix.or_else(|| self.prefixes.find(longest, |length| host.get(..length)));
        found.or(self.any)
    }
}

// === impl Wildcards ===

impl Wildcards {
    fn insert(&mut self, text: &str, host: usize) {
        self.by_text.insert(Arc::from(text), host);
        if !self.lengths.contains(&text.len()) {
            self.lengths.push(text.len());
            self.lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    fn find<'a>(&self, longest: usize, part: impl Fn(usize) -> Option<&'a str>) -> Option<usize> {
        let lengths = self.lengths.iter().filter(|length| **length <= longest);
        lengths
            .filter_map(|length| self.by_text.get(part(*length)?))
            .next()
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_domain_wins() {
        let domains: Vec<Arc<str>> = [
            "a.example.com",
            "*.example.com",
            "*.com",
            "a.*",
            "a.example.*",
            "*",
            "b:80",
            "*-x",
        ]
        .map(Arc::from)
        .to_vec();
        let index = HostIndex::new(domains.iter().enumerate(), false);
        for (host, expected) in [
            ("a.example.com", "a.example.com"),
            ("A.Example.COM", "a.example.com"),
            ("b.example.com", "*.example.com"),
            ("x.y.example.com", "*.example.com"),
            ("example.com", "*.com"),
            ("a.example.org", "a.example.*"),
            ("a.org", "a.*"),
            ("b:80", "b:80"),
            ("b", "*"),
            ("y-x", "*-x"),
            ("-x", "*"),
            ("", "*"),
        ] {
            assert_eq!(&*domains[index.find(host).unwrap()], expected, "{host}");
        }
        let index = HostIndex::new(domains[..1].iter().enumerate(), true);
        assert_eq!(index.find("a.example.com:8080"), Some(0));
        assert_eq!(index.find("b.example.com"), None);
    }
}
