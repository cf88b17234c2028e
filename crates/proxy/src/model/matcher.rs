//! Matchers on strings and numbers, shared by routes, TLS validation and header policies.

use std::sync::Arc;

use regex::Regex;

/// A match on one string (Envoy `type.matcher.v3.StringMatcher`).
#[derive(Clone, Debug)]
pub enum StringMatcher {
    /// Equal.
    Exact {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    /// Starts with.
    Prefix {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    /// Ends with.
    Suffix {
        /// The text to compare with; lower case when `ignore_case`.
        value: Arc<str>,
        /// Compare ASCII letters without case.
        ignore_case: bool,
    },
    /// Contains.
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
