//! The parts of Envoy `metadata` that the mesh gives a meaning to.

use std::sync::Arc;

/// Where a generated resource comes from in the user's configuration (`filter_metadata["weft"]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Kind, namespace and name, for example `VirtualService/default/callme`.
    pub object: Arc<str>,
    /// Index of the rule within the object.
    pub rule: Option<u32>,
    /// File, where the object came from a file.
    pub file: Option<Arc<str>>,
    /// Line of the rule within the file, from 1.
    pub line: Option<u32>,
}

/// A service that a cluster leads to (`filter_metadata["istio"].services[]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRef {
    /// Fully qualified host name.
    pub host: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
}

/// The workload behind an endpoint (`filter_metadata["istio"].workload`,
/// `name;namespace;canonical;revision;cluster[;app;version]`: Istio writes five parts and reads the first five), or a client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadRef {
    /// Workload name, for example the Deployment's.
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    /// Canonical service name.
    pub canonical_name: Arc<str>,
    pub canonical_revision: Arc<str>,
    pub cluster: Arc<str>,
    /// Label `app`; empty where unknown.
    pub app: Arc<str>,
    /// Label `version`; empty where unknown.
    pub version: Arc<str>,
}

// === impl Origin ===

impl std::fmt::Display for Origin {
    /// `object rule[n] file:line`, as far as known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.object)?;
        if let Some(rule) = self.rule {
            write!(f, " rule[{rule}]")?;
        }
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            write!(f, " {file}:{line}")?;
        }
        Ok(())
    }
}
