//! Rules for single values: host names, labels of DNS names, header names, regular expressions.

/// Longest DNS name (RFC 1035, 2.3.4).
const HOST_LENGTH_MAX: usize = 253;

/// What is said of a text that is no host name, wherever a wildcard may stand.
const NO_HOST: &str = "is not a host name";

/// Whether a text is a host name, or one but for its wildcard.
pub(super) fn is_host(text: &str) -> bool {
    host(text, true) != Err(NO_HOST)
}

/// What is wrong with a host name, if anything. `wildcard` allows `*` and `*.suffix`.
pub(super) fn host(host: &str, wildcard: bool) -> Result<(), &'static str> {
    let name = match host.strip_prefix('*') {
        Some(_) if !wildcard => return Err("may not be a wildcard here"),
        Some("") => return Ok(()),
        Some(rest) => rest
            .strip_prefix('.')
            .ok_or("may have `*` only as the whole first part, as in *.example.com")?,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if name.is_empty() || name.len() > HOST_LENGTH_MAX {
        return Err(NO_HOST);
    }
    for label in name.split('.') {
        let fits = (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !fits {
            return Err(NO_HOST);
        }
    }
    Ok(())
}

/// Whether a text is a header name (RFC 9110, 5.1), pseudo-headers included.
pub(super) fn is_header_name(name: &str) -> bool {
    let name = name.strip_prefix(':').unwrap_or(name);
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a text may be sent as a header value (RFC 9110, 5.5).
pub(super) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f))
}

/// Whether every percent sign of a header value is doubled or belongs to an operator of Envoy's, as `%REQ(x-name)%` or
/// `%START_TIME%`: proxies refuse a whole route configuration for one that does not.
pub(super) fn has_whole_operators(value: &str) -> bool {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let name = after
            .bytes()
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
            .count();
        let (name, tail) = after.split_at(name);
        // The argument may have percent signs of its own (`%START_TIME(%Y)%`).
        let tail = match tail.strip_prefix('(') {
            Some(argument) => argument.split_once(')').map(|(_, tail)| tail),
            None => Some(tail),
        };
        let tail = tail.map(|tail| match tail.strip_prefix(':') {
            Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => tail,
        });
        match tail.and_then(|tail| tail.strip_prefix('%')) {
            Some(tail) if !name.is_empty() => rest = tail,
            _ => return false,
        }
    }
    true
}

/// Compiles a pattern as it will be used: over the whole text. RE2 and this engine share syntax and linear time.
pub(super) fn regex(pattern: &str) -> Result<(), String> {
    if pattern.len() > 4096 {
        return Err("is longer than 4096 characters".to_owned());
    }
    match regex::Regex::new(&format!("^(?:{pattern})$")) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim();
            Err(reason.strip_prefix("error: ").unwrap_or(reason).to_owned())
        }
    }
}

/// Whether a text is a DNS label (RFC 1123), as names of subsets and ports are.
pub(super) fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for (name, wildcard, fits) in [
            ("reviews", false, true),
            ("reviews.default.svc.cluster.local", false, true),
            ("example.com.", false, true),
            ("*", true, true),
            ("*", false, false),
            ("*.example.com", true, true),
            ("*example.com", true, false),
            ("a.*.com", true, false),
            ("bad host", true, false),
            ("http://example.com", true, false),
            ("a..b", true, false),
            ("-a.b", true, false),
            ("10.0.0.1", false, true),
            ("", true, false),
        ] {
            assert_eq!(host(name, wildcard).is_ok(), fits, "{name:?}");
        }
    }

    #[test]
    fn percent_signs_begin_operators() {
        for (value, fits) in [
            ("plain", true),
            ("50%%", true),
            ("50%", false),
            ("%REQ(x-name)%", true),
            ("a %START_TIME(%Y/%m)% b %PROTOCOL%", true),
            ("%REQ(x-name):10%", true),
            ("%REQ(x-name", false),
            ("%lower%", false),
        ] {
            assert_eq!(has_whole_operators(value), fits, "{value:?}");
        }
    }

    #[test]
    fn regular_expressions_report_their_fault() {
        assert_eq!(regex("/v[0-9]+/.*"), Ok(()));
        assert_eq!(regex("a("), Err("unclosed group".to_owned()));
        assert!(regex("(?=x)").is_err());
    }
}
