//! Objects from files and directories, followed live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use weft_base::shutdown::Shutdown;

use super::SourceEvent;
use super::files::{Files, Scan};
use super::watch::{self, Watch};

/// Quiet time after a change before files are read.
const QUIET: Duration = Duration::from_millis(15);

/// Longest wait for quiet.
const QUIET_MAX: Duration = Duration::from_millis(150);

/// Files are read again so often even when nothing was reported, for file systems that report nothing.
const RESCAN: Duration = Duration::from_secs(5);

/// The same while the watch does not work.
const RESCAN_UNWATCHED: Duration = Duration::from_millis(500);

/// Files and directories with objects.
#[derive(Debug)]
pub struct FileSource {
    name: Arc<str>,
    roots: Vec<PathBuf>,
}

// === impl FileSource ===

impl FileSource {
    /// A source over files and directories (searched for `.yaml`, `.yml`, `.json`). They need not exist yet.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            name: "file".into(),
            roots,
        }
    }

    /// Follows the files until the shutdown starts or nobody listens. The first event is sent as soon as all files are read,
    /// even if there is none.
    pub async fn run(self, events: mpsc::Sender<SourceEvent>, shutdown: Shutdown) {
        let wake = Arc::new(Notify::new());
        let mut files = Files::new(self.roots.clone());
        let mut reported = false;
        loop {
            // Watches follow inodes, so a root that was replaced needs a new one; starting anew after each change is cheap
            // and comes before the scan, so that nothing falls between the two.
            let watch: Option<Watch> = match watch::start(&self.roots, &wake) {
                Ok(started) => {
                    reported = false;
                    Some(started)
                }
                Err(error) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::warn!(%error, "cannot watch the configuration, reading it periodically");
                    }
                    None
                }
            };
            let (name, mut moved) = (Arc::clone(&self.name), files);
            let scanned = tokio::task::spawn_blocking(move || {
                let scan = moved.scan(&name, Instant::now());
                (moved, scan)
            });
            let Ok((back, scan)) = scanned.await else {
                tracing::error!("reading the configuration ended abnormally");
                return;
            };
            files = back;
            let Scan { event, again_at } = scan;
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
            let rescan = if watch.is_some() { RESCAN } else { RESCAN_UNWATCHED };
            let at = again_at.unwrap_or_else(|| Instant::now() + rescan);
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep_until(at) => {}
                () = wake.notified() => settle(&wake).await,
            }
        }
    }
}

/// Waits until nothing changes for a moment.
async fn settle(wake: &Notify) {
    let end = Instant::now() + QUIET_MAX;
    while Instant::now() < end {
        if tokio::time::timeout(QUIET, wake.notified()).await.is_err() {
            return;
        }
    }
}
