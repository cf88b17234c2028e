//! `security.istio.io` PeerAuthentication: whether workloads accept plain text.

use std::collections::BTreeMap;

use crate::meta::Labels;

/// mTLS that workloads ask of their callers (istio.io, "PeerAuthentication").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Workloads of the namespace; `None` is all of them (in the root namespace: of the mesh).
    pub selector: Option<Labels>,
    /// Mode; `None` inherits from the wider scope.
    pub mode: Option<MtlsMode>,
    /// Modes by port of the workload; `None` inherits the mode above.
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
}

/// What an inbound listener accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// Plain text only.
    Disable,
    /// Plain text and mesh mTLS.
    Permissive,
    /// Mesh mTLS only.
    Strict,
}

impl MtlsMode {
    /// The name in upper case, as in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        }
    }
}
