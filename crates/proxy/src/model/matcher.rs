//! Matchers on strings and numbers, shared by routes, TLS validation and header policies.

use std::sync::Arc;

use regex::Regex;

/// A match on one string (Envoy `type.matcher.v3.StringMatcher`).
#[derive(Clone, Debug)]
pub enum StringMatcher {
    Exact {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    Prefix {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    Suffix {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    Contains {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    /// The whole string matches the expression; compiled once, anchored at both ends.
    Regex(Regex),
}

/// A match on one request header (Envoy `config.route.v3.HeaderMatcher`).
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// Lower-case header name, or a pseudo header such as `:method`, `:authority`, `:path`, `:scheme`.
    pub name: HeaderKey,
    /// What its value must be.
    pub value: HeaderValueMatcher,
    /// The result is negated.
    pub invert: bool,
    /// A missing header is read as an empty value instead of failing the match.
    pub treat_missing_as_empty: bool,
}

/// The header that a matcher or a format operator reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderKey {
    /// `:method`.
    Method,
    /// `:path`, with the query.
    Path,
    /// `:authority` (or `host`).
    Authority,
    /// `:scheme`.
    Scheme,
    /// `:status`, in responses.
    Status,
    /// An ordinary header.
    Name(::http::HeaderName),
}

/// What the value of a header must be.
#[derive(Clone, Debug)]
pub enum HeaderValueMatcher {
    /// Present (true) or absent (false).
    Present(bool),
    /// The value as a string; several values are joined by a comma as Envoy does.
    String(StringMatcher),
    /// An integer within `[start, end)`.
    Range {
        /// First value inside.
        start: i64,
        /// First value past the end.
        end: i64,
    },
}

/// A match on one query parameter.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    /// Parameter name, compared with case.
    pub name: Arc<str>,
    /// Its value; `None` asks for presence only.
    pub value: Option<StringMatcher>,
}

/// A share of requests in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// 0 to 1,000,000.
    pub parts_per_million: u32,
}

// === impl Fraction ===

impl Fraction {
    /// Whether a request is of the share. `random` is uniform over all 64-bit numbers.
    pub fn includes(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.parts_per_million)
    }
}

// === impl StringMatcher ===

impl StringMatcher {
    /// Whether `text` matches. Allocates nothing.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact { value, ignore_case } => equal(text.as_bytes(), value.as_bytes(), *ignore_case),
            Self::Prefix { value, ignore_case } => {
                (text.as_bytes().get(..value.len())).is_some_and(|start| equal(start, value.as_bytes(), *ignore_case))
            }
            Self::Suffix { value, ignore_case } => (text.len().checked_sub(value.len()))
                .is_some_and(|at| equal(&text.as_bytes()[at..], value.as_bytes(), *ignore_case)),
            Self::Contains { value, ignore_case } => {
                value.is_empty()
                    || (text.as_bytes().windows(value.len())).any(|part| equal(part, value.as_bytes(), *ignore_case))
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

fn equal(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matcher: StringMatcher, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matcher.matches(text), "{matcher:?} on {text:?}");
        }
        for text in no {
            assert!(!matcher.matches(text), "{matcher:?} on {text:?}");
        }
    }

    #[test]
    fn strings_match_by_kind_and_case() {
        let value = || Arc::from("ab");
        let exact = |ignore_case| StringMatcher::Exact {
            value: value(),
            ignore_case,
        };
        check(exact(false), &["ab"], &["AB", "a", "abc", ""]);
        check(exact(true), &["ab", "AB", "aB"], &["abc"]);
        let prefix = |ignore_case| StringMatcher::Prefix {
            value: value(),
            ignore_case,
        };
        check(prefix(false), &["ab", "abc"], &["a", "ABc", "xab"]);
        check(prefix(true), &["ABc"], &["\u{e9}b"]);
        let suffix = |ignore_case| StringMatcher::Suffix {
            value: value(),
            ignore_case,
        };
        check(suffix(false), &["ab", "xab"], &["abx", "b"]);
        check(suffix(true), &["xAB"], &["x\u{e9}"]);
        let contains = |ignore_case| StringMatcher::Contains {
            value: value(),
            ignore_case,
        };
        check(contains(false), &["xaby", "ab"], &["aXb", ""]);
        check(contains(true), &["xABy"], &["a"]);
        check(
            StringMatcher::Regex(Regex::new("^(?:a+)$").unwrap()),
            &["aaa"],
            &["ab", ""],
        );
    }
}
