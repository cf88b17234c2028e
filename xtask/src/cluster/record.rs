//! What a cluster is, kept beside it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::config;
use super::layout::Layout;

/// The cluster as it was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    pub(crate) nodes: u8,
    /// The folder of the programs that it runs.
    pub(crate) programs: PathBuf,
    /// Whether it came up.
    pub(crate) complete: bool,
}

// === impl Record ===

impl Record {
    pub(crate) fn write(&self, cluster: &Layout) -> Result<()> {
        let state = cluster.state();
        fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
        config::write(&cluster.record(), &serde_json::to_string(self)?)
    }

    pub(crate) fn read(cluster: &Layout) -> Result<Self> {
        let text = fs::read_to_string(cluster.record());
        let text = text.context("there is no local cluster; `cargo xtask cluster up` makes one")?;
        serde_json::from_str(&text).with_context(|| format!("{} is broken", cluster.record().display()))
    }
}
