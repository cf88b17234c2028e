//! A server outside the cluster that its pods can reach.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::cluster::handle::Cluster;
use crate::cluster::layout::{OUTSIDE, OUTSIDE_NAME};
use crate::workspace;

const PORT: u16 = 8080;

/// A running server; it ends with the value.
#[derive(Debug)]
pub(crate) struct Outside {
    server: Child,
    folder: PathBuf,
}

// === impl Outside ===

impl Outside {
    /// Its name in DNS.
    pub(crate) const HOST: &str = OUTSIDE_NAME;
    /// What it answers.
    pub(crate) const TEXT: &str = "outside\n";
    pub(crate) const PORT: u16 = PORT;

    /// Starts it; only the local provider has a network for it.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let busybox = workspace::on_path("busybox").context("no busybox")?;
        let folder = workspace::target().join("e2e/outside");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("index.html"), Self::TEXT)?;
        let mut command = cluster.outside(&busybox).context("no network outside")?;
        command
            .args(["httpd", "-f", "-p", &format!("{OUTSIDE}:{PORT}"), "-h"])
            .arg(&folder);
        let server = command.stdin(Stdio::null()).spawn().context("cannot start busybox")?;
        Ok(Self { server, folder })
    }

    /// Its URL by name.
    pub(crate) fn url(&self) -> String {
        format!("http://{OUTSIDE_NAME}:{PORT}/")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // It may have ended by itself, which its callers have noticed.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
