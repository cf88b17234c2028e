//! Wakes someone when a file below one of the roots may have changed.
//!
//! Watches the roots and their parent directories, because editors and Kubernetes replace files and directories by
//! renaming over them. It only ever says "look again"; what changed is for the scan to find out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

/// Starts to watch; fails when the system has no watches left or a root does not exist.
pub(super) fn start(roots: &[PathBuf], wake: &Arc<Notify>) -> notify::Result<Watch> {
    let absolute: Vec<PathBuf> = roots
        .iter()
        .map(|root| std::path::absolute(root).unwrap_or_else(|_| root.clone()))
        .collect();
    let mut of_interest = absolute.clone();
    let targets: Vec<PathBuf> = absolute
        .iter()
        .filter_map(|root| root.canonicalize().ok().filter(|target| target != root))
        .collect();
    of_interest.extend(targets.iter().cloned());
    let paths = of_interest.clone();
    let wake = Arc::clone(wake);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let relevant = match &event {
            Ok(event) => {
                event.need_rescan() || changes(event.kind) && event.paths.iter().any(|path| touches(&of_interest, path))
            }
            Err(_) => true,
        };
        if relevant {
            wake.notify_one();
        }
    })?;
    for path in paths {
        if let Some(parent) = path.parent() {
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
        if path.is_dir() {
            watcher.watch(&path, RecursiveMode::Recursive)?;
        }
    }
    Ok(Watch { _watcher: watcher })
}

/// Reading does not count, or every scan would cause the next.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Whether a path is a root, below one, or above one.
fn touches(roots: &[PathBuf], path: &Path) -> bool {
    roots
        .iter()
        .any(|root| path.starts_with(root) || root.starts_with(path))
}
