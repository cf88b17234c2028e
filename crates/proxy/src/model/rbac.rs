//! Rules of access as configured and checked: who may do what (Envoy `config.rbac.v3.RBAC`). `crate::rbac` decides by them.

use std::sync::Arc;

use ipnet::IpNet;

use super::matcher::{HeaderMatcher, StringMatcher};
use super::path_template::PathTemplate;

/// Policies, and what a match of one of them means.
#[derive(Clone, Debug)]
pub struct Rules {
    pub action: Action,
    /// By name, in Envoy's order: that of its bytes. The first that matches is the one that is told of.
    pub policies: Vec<Policy>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What matches may pass, all else may not.
    Allow,
    /// What matches may not pass, all else may.
    Deny,
    /// Everything passes; what matches is marked for the log.
    Log,
}

/// Matches where one of its permissions and one of its principals do.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: Arc<str>,
    pub permissions: Vec<Condition>,
    pub principals: Vec<Condition>,
}

/// Something that holds of a request or connection, or does not: Envoy's permissions and principals in one.
#[derive(Clone, Debug)]
pub enum Condition {
    Any,
    /// Each of these holds.
    All(Vec<Self>),
    /// One of these holds.
    One(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// A header of the request. A connection has none.
    Header(HeaderMatcher),
    /// The path without its query. A connection has none.
    Path(StringMatcher),
    /// The path without its query has this form. A connection has none.
    PathTemplate(PathTemplate),
    /// Our address is one of these.
    DestinationIp(IpNet),
    /// Our port lies in `[start, end)`.
    DestinationPort {
        /// First port inside.
        start: u32,
        /// First port past the end.
        end: u32,
    },
    /// The server name of the client's TLS, empty where it named none.
    ServerName(StringMatcher),
    /// The client has proved who it is by a certificate; where a matcher is given, one of its names fits.
    Authenticated(Option<StringMatcher>),
    /// The peer of the connection, as the PROXY protocol tells it.
    SourceIp(IpNet),
    /// The peer of the socket.
    DirectRemoteIp(IpNet),
    /// The client, as trusted headers tell it.
    RemoteIp(IpNet),
    Metadata(MetadataMatcher),
    /// A value of filter state as text.
    FilterState {
        key: Arc<str>,
        value: StringMatcher,
    },
}

/// A match on dynamic metadata (Envoy `type.matcher.v3.MetadataMatcher`).
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    /// The filter that left it, by its usual name.
    pub namespace: Arc<str>,
    /// Keys down to the value.
    pub path: Vec<Arc<str>>,
    pub value: ValueMatcher,
    /// The result is negated.
    pub invert: bool,
}

/// A match on a value (Envoy `type.matcher.v3.ValueMatcher`).
#[derive(Clone, Debug)]
pub enum ValueMatcher {
    Null,
    /// A number in `[start, end)`, or exactly `start` where there is no end.
    Number {
        start: f64,
        end: Option<f64>,
    },
    Text(StringMatcher),
    Boolean(bool),
    /// There is one (true), or none (false).
    Present(bool),
    /// A list of which one item fits.
    Item(Box<Self>),
    /// One of these fits.
    One(Vec<Self>),
}
