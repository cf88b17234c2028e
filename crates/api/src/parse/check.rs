//! Rules for single values: host names, labels of DNS names, header names, regular expressions.

use weft_proto::operators::REGEX_PROGRAM_BYTES_MAX;

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

/// Whether a text names what a proxy can look at: a header, or one of the pseudo-headers that it knows.
pub(super) fn is_field(name: &str) -> bool {
    let pseudo = [":method", ":path", ":authority", ":scheme", ":status"];
    if name.starts_with(':') {
        return pseudo.iter().any(|known| known.eq_ignore_ascii_case(name));
    }
    is_header_name(name)
}

/// Compiles a pattern as proxies will, over the whole text and with their limit. RE2 and this engine share syntax and linear time.
pub(super) fn regex(pattern: &str) -> Result<(), String> {
    if pattern.len() > 4096 {
        return Err("is longer than 4096 characters".to_owned());
    }
    // In parentheses alone a pattern such as `a)(b` would compile that by itself does not.
    let whole = format!("^(?:{pattern})$");
    let compiled = [pattern, &whole].map(|source| {
        let mut builder = regex::RegexBuilder::new(source);
        builder.size_limit(REGEX_PROGRAM_BYTES_MAX).build()
    });
    let Some(error) = compiled.into_iter().find_map(Result::err) else {
        return Ok(());
    };
    if let regex::Error::CompiledTooBig(limit) = error {
        return Err(format!("its program is larger than {limit} bytes"));
    }
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim();
    Err(reason.strip_prefix("error: ").unwrap_or(reason).to_owned())
}

/// Whether a text may replace what a regular expression matched: a backslash stands before a digit or another one.
pub(super) fn is_substitution(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !chars.next().is_some_and(|next| next == '\\' || next.is_ascii_digit()) {
            return false;
        }
    }
    true
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
    fn regular_expressions_report_their_fault() {
        assert_eq!(regex("/v[0-9]+/.*"), Ok(()));
        assert_eq!(regex("a("), Err("unclosed group".to_owned()));
        assert!(regex("(?=x)").is_err());
        assert!(regex("a)(b").is_err());
        assert_eq!(
            regex("(?:[a-z]{1,500}){1,99}").map_err(|reason| reason.starts_with("its program")),
            Err(true)
        );
    }

    #[test]
    fn substitutions_name_groups() {
        for (text, fits) in [
            ("/x/\\1", true),
            ("\\\\", true),
            ("plain $1", true),
            ("\\a", false),
            ("end\\", false),
        ] {
            assert_eq!(is_substitution(text), fits, "{text}");
        }
    }
}
