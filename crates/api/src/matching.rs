//! Values that several kinds share: string matches, header operations, destinations, visibility.

use std::fmt;

use crate::meta::Position;

/// How a string must look. `Regex` is RE2 syntax and matches the whole string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    /// Matches as a whole; known to compile.
    Regex(String),
}

/// How a header or query parameter must look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// It is there, whatever its value (an empty match object).
    Present,
    /// Its value matches.
    Value(StringMatch),
}

/// Changes to the headers of one direction, applied in the order set, add, remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Overwritten with the value.
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

/// Changes to the headers of requests and responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// On the way to the destination.
    pub request: HeaderOps,
    /// On the way back.
    pub response: HeaderOps,
}

/// Where traffic goes: a service, one of its subsets, one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Where it is written.
    pub at: Position,
    /// Host as written: a short name is relative to the namespace of the object that names it.
    pub host: String,
    /// Name of a subset of the host's DestinationRule.
    pub subset: Option<String>,
    /// Port of the service; may be left out when it has one port.
    pub port: Option<u16>,
}

/// A percentage, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Eq for Percent {}

/// One namespace, or a rule that stands for several (`exportTo`, `ns/host` prefixes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceScope {
    /// `*`: every namespace.
    All,
    /// `.`: the namespace of the object itself.
    Own,
    /// `~`: none.
    None,
    /// A namespace by name.
    Named(String),
}

/// Which namespaces may see an object. Empty means all (mesh default `["*"]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportTo(pub Vec<NamespaceScope>);

/// Region, zone and sub-zone, each maybe empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    pub region: String,
    /// Zone within the region.
    pub zone: String,
    /// Sub-zone within the zone.
    pub sub_zone: String,
}

// === impl NamespaceScope ===

impl NamespaceScope {
    /// Reads `*`, `.`, `~` or a name.
    pub fn parse(text: &str) -> Self {
        match text {
            "*" => Self::All,
            "." => Self::Own,
            "~" => Self::None,
            name => Self::Named(name.to_owned()),
        }
    }

    /// Whether the scope, written in an object of namespace `own`, covers `namespace`.
    pub fn covers(&self, own: &str, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own => own == namespace,
            Self::None => false,
            Self::Named(name) => name == namespace,
        }
    }
}

// === impl ExportTo ===

impl ExportTo {
    /// Whether an object of namespace `own` may be seen from `client`.
    pub fn visible(&self, own: &str, client: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|scope| scope.covers(own, client))
    }
}

// === impl Locality ===

impl Locality {
    /// Reads `region/zone/subzone`; missing parts are empty.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        Self {
            region: parts.next().unwrap_or_default(),
            zone: parts.next().unwrap_or_default(),
            sub_zone: parts.next().unwrap_or_default(),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        if !self.zone.is_empty() {
            write!(f, "/{}", self.zone)?;
        }
        if !self.sub_zone.is_empty() {
            write!(f, "/{}", self.sub_zone)?;
        }
        Ok(())
    }
}
