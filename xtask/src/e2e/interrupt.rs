//! Ctrl-C and SIGTERM: the cluster of the scenarios goes, too.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::handle::Cluster;
use crate::cluster::steps::Steps;

/// How often the watcher looks.
const LOOK: Duration = Duration::from_millis(200);
/// As a shell says of what a signal has ended.
const EXIT_CODE: i32 = 130;

/// Whether the run was told to end; then the cluster is removed elsewhere, and the process ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

// === impl Interrupt ===

impl Interrupt {
    /// Watches from now on; on a signal `cluster` is removed.
    pub(super) fn watch(cluster: Cluster) -> Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupt.0.clone())?;
        }
        let told = interrupt.0.clone();
        thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            Steps::new("e2e").say("interrupted: the cluster is removed");
            if let Err(error) = cluster.down() {
                eprintln!("error: {error:#}");
            }
            process::exit(EXIT_CODE);
        });
        Ok(interrupt)
    }

    /// Does not return once a signal has come: the watcher ends the process when the cluster is gone.
    pub(super) fn give_way(&self) {
        while self.0.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
    }
}
