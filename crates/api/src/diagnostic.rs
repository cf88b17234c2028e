//! One finding about one place in the user's configuration.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Info,
    /// Applied, but probably not what was meant.
    Warning,
    /// The object, or the part that is named, is not applied.
    Error,
}

/// One finding: what is wrong, where, and what to do about it.
///
/// It doubles as its own serialised form (`meshctl -o json`, `/debug`): all fields are plain text and numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Diagnostic {
    /// File as it was named to the parser; empty where no file is involved.
    pub file: Arc<str>,
    /// Line, from 1; 0 where unknown.
    pub line: u32,
    /// Column, from 1; 0 where unknown.
    pub column: u32,
    /// How bad it is.
    pub severity: Severity,
    /// Istio's analyzer code where one fits (`IST0101`), else ours (`WEFT0003`).
    pub code: Arc<str>,
    /// The object as `Kind/namespace/name`; empty where the document names none.
    pub object: String,
    /// Path of the field, for example `spec.http[0].route[1].weight`; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// Codes of findings. `IST` codes are those of Istio's analyzers (istio.io, "Analyzer messages").
pub mod code {
    /// The document is not YAML, or is larger or deeper than the limits allow.
    pub const SYNTAX: &str = "WEFT0001";
    /// A field that the kind does not have.
    pub const UNKNOWN_FIELD: &str = "WEFT0002";
    /// A field of Istio that this mesh does not carry out.
    pub const UNSUPPORTED_FIELD: &str = "WEFT0003";
    /// A kind or version that this mesh does not read.
    pub const UNHANDLED_KIND: &str = "WEFT0004";
    /// A file or directory that cannot be read.
    pub const UNREADABLE: &str = "WEFT0005";
    /// Two documents describe the same object.
    pub const DUPLICATE_OBJECT: &str = "WEFT0006";
    /// Two services claim one hostname.
    pub const DUPLICATE_HOSTNAME: &str = "WEFT0007";
    /// A service port fits no port of a selected workload.
    pub const PORT_UNMATCHED: &str = "WEFT0008";
    /// Two destination rules of one host define the same thing.
    pub const CONFLICTING_DESTINATION_RULES: &str = "WEFT0009";
    /// An endpoint that takes mesh TLS has no service account.
    pub const ENDPOINT_WITHOUT_IDENTITY: &str = "WEFT0026";
    /// Two workloads of one machine would bind the same address.
    pub const LISTENER_ADDRESS_TAKEN: &str = "WEFT0025";
    /// A proxy refused what was made of the object.
    pub const REFUSED_BY_PROXY: &str = "WEFT0027";
    /// A wrong type, bad value, or missing field.
    pub const SCHEMA: &str = "IST0106";
    /// Something that the object refers to does not exist.
    pub const REFERENCE_NOT_FOUND: &str = "IST0101";
    /// Two VirtualServices claim one host on the mesh or on one gateway.
    pub const CONFLICTING_HOSTS: &str = "IST0109";
    /// Two Sidecars select the same workload.
    pub const CONFLICTING_SIDECAR_SELECTORS: &str = "IST0110";
    /// A namespace has more than one Sidecar without a selector.
    pub const MULTIPLE_DEFAULT_SIDECARS: &str = "IST0111";
    /// A destination needs a port because its service has several.
    pub const DESTINATION_PORT_REQUIRED: &str = "IST0112";
    /// A port name says nothing of its protocol.
    pub const PORT_NAME: &str = "IST0118";
    /// A selector selects no workload.
    pub const NO_WORKLOAD: &str = "IST0127";
    /// A rule that an earlier rule hides.
    pub const UNREACHABLE_RULE: &str = "IST0130";
    /// A VirtualService names a host that its gateway does not serve.
    pub const HOST_NOT_IN_GATEWAY: &str = "IST0132";
    /// Legal, but almost certainly not meant.
    pub const SCHEMA_WARNING: &str = "IST0133";
    /// Two gateway servers claim the same port and host.
    pub const CONFLICTING_GATEWAYS: &str = "IST0145";
    /// A gateway credential that does not exist or does not hold what it must.
    pub const GATEWAY_CREDENTIAL: &str = "IST0161";
    /// A gateway serves a port that its workload does not bind.
    pub const GATEWAY_PORT: &str = "IST0162";
    /// A policy that another one displaces.
    pub const INEFFECTIVE_POLICY: &str = "IST0167";
    /// A subset selects no workload.
    pub const SUBSET_SELECTS_NOTHING: &str = "IST0173";
    /// A DestinationRule names a host that no service has.
    pub const UNKNOWN_DESTINATION_RULE_HOST: &str = "IST0174";
    /// Services without an address share a port, so that connections to them are not told apart, or ServiceEntries of one host give a port
    /// several protocols.
    pub const CONFLICTING_PORTS: &str = "IST0177";
}

// === impl Severity ===

impl Severity {
    /// `error`, `warning` or `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Diagnostic ===

/// One line: `file:line:column: severity [CODE] Kind/ns/name field: message; hint`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
                if self.column > 0 {
                    write!(f, "{}:", self.column)?;
                }
            }
            f.write_str(" ")?;
        }
        write!(f, "{} [{}]", self.severity, self.code)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_line_with_what_is_known() {
        let mut diagnostic = Diagnostic {
            file: "vs.yaml".into(),
            line: 3,
            column: 7,
            severity: Severity::Error,
            code: code::SCHEMA.into(),
            object: "VirtualService/default/a".to_owned(),
            field: "spec.hosts".to_owned(),
            message: "is missing".to_owned(),
            hint: "name at least one host".to_owned(),
        };
        assert_eq!(
            diagnostic.to_string(),
            "vs.yaml:3:7: error [IST0106] VirtualService/default/a spec.hosts: is missing; name at least one host"
        );
        diagnostic.line = 0;
        diagnostic.object.clear();
        diagnostic.field.clear();
        diagnostic.hint.clear();
        assert_eq!(diagnostic.to_string(), "vs.yaml: error [IST0106]: is missing");
    }
}
