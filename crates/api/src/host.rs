//! Host names: wildcards, short names, and which of two is the more specific.

/// The full name of a host as written in an object of `namespace`: a name without a dot is a service of that namespace;
/// everything else, wildcards included, is taken as it is (istio.io, VirtualService `hosts`). Result in lower case.
pub fn resolve(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.contains(['.', '*', ':']) || host.is_empty() {
        return host;
    }
    format!("{host}.{namespace}.svc.{domain}")
}

/// Whether `pattern` (a name, `*`, or `*.suffix`) covers `name`; the name may itself be a wildcard.
pub fn covers(pattern: &str, name: &str) -> bool {
    if pattern == "*" || pattern == name {
        return true;
    }
    match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => false,
    }
}

/// Whether any name fits both patterns.
pub fn overlap(a: &str, b: &str) -> bool {
    covers(a, b) || covers(b, a)
}

/// Sort key: exact names first, then longer wildcards, then `*`. Smaller is more specific.
pub fn specificity(pattern: &str) -> (bool, std::cmp::Reverse<usize>) {
    (pattern.starts_with('*'), std::cmp::Reverse(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_get_the_namespace() {
        for (host, expected) in [
            ("reviews", "reviews.ns.svc.cluster.local"),
            ("Reviews", "reviews.ns.svc.cluster.local"),
            ("reviews.other", "reviews.other"),
            ("*", "*"),
            ("*.example.com", "*.example.com"),
            ("example.com.", "example.com"),
        ] {
            assert_eq!(resolve(host, "ns", "cluster.local"), expected);
        }
    }

    #[test]
    fn wildcards_cover_longer_names_only() {
        assert!(covers("*.example.com", "a.example.com"));
        assert!(covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(!covers("*.example.com", ".example.com"));
        assert!(covers("*.com", "*.example.com"));
        assert!(overlap("*.example.com", "*.com") && !overlap("a.com", "b.com"));
        assert!(specificity("a.b") < specificity("*.bcdef") && specificity("*.b") < specificity("*"));
    }
}
