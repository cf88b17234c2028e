//! A process that is to run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::mesh::record::Kind;

/// Everything needed to start a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessSpec {
    /// Unique in the mesh, for example `pilot` or `callme-v1-0/sidecar`.
    pub name: String,
    /// What it runs.
    pub kind: Kind,
    /// The program, found.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Variables added to meshctl's own.
    pub env: BTreeMap<String, String>,
    pub directory: PathBuf,
}
