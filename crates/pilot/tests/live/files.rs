//! Real files: changes arrive, broken documents leave the last good object in force, deleted files delete theirs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_base::shutdown::{Drained, Shutdown};
use weft_mesh::snapshot::{MeshSettings, MeshSnapshot};
use weft_pilot::source::file::FileSource;
use weft_pilot::store::{Debounce, Store};

use super::service;

/// Everything here happens within milliseconds; this only ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(20);

/// A store that follows a directory.
struct Live {
    shutdown: Shutdown,
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
}

impl Live {
    fn start(roots: &[&Path]) -> Self {
        let shutdown = Shutdown::new();
        let (store, events, snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        let source = FileSource::new(roots.iter().map(|root| root.to_path_buf()).collect());
        shutdown.spawn(source.run(events, shutdown.clone()));
        shutdown.spawn(store.run(shutdown.clone()));
        Self { shutdown, snapshots }
    }

    /// The first snapshot that fits.
    #[track_caller]
    fn until(&self, what: &str, fits: impl Fn(&MeshSnapshot) -> bool) -> impl Future<Output = Arc<MeshSnapshot>> {
        let mut snapshots = self.snapshots.clone();
        let what = what.to_owned();
        async move {
            let waited = tokio::time::timeout(DEADLINE, async {
                let found = snapshots
                    .wait_for(|snapshot| snapshot.generation > 0 && fits(snapshot))
                    .await;
                Arc::clone(&found.expect("the store runs"))
            });
            match waited.await {
                Ok(snapshot) => snapshot,
                Err(_) => panic!("{what} did not happen: {:?}", names(&snapshots.borrow())),
            }
        }
    }

    async fn stop(self) {
        assert_eq!(self.shutdown.drain(DEADLINE).await, Drained::Complete);
    }
}

fn names(snapshot: &MeshSnapshot) -> Vec<String> {
    snapshot
        .services
        .iter()
        .map(|service| service.name.to_string())
        .collect()
}

fn findings(snapshot: &MeshSnapshot) -> Vec<String> {
    snapshot
        .source_diagnostics
        .iter()
        .map(|found| {
            let file = Path::new(&*found.file)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            format!("{}:{} {}", file.unwrap_or_default(), found.line, found.code)
        })
        .collect()
}

#[tokio::test]
async fn files_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), service("a", "default")).unwrap();
    fs::write(path("ignored.txt"), service("ignored", "default")).unwrap();
    let live = Live::start(&[directory.path()]);
    live.until("the first file", |snapshot| names(snapshot) == ["a"]).await;

    // New files, also in new directories.
    fs::create_dir(path("sub")).unwrap();
    fs::write(path("sub/b.yaml"), service("b", "default")).unwrap();
    live.until("a new file", |snapshot| names(snapshot) == ["a", "b"]).await;

    // A broken document: its object stays as it was, the others change.
    let broken = format!(
        "{}{}",
        service("a", "default").replace("selector:", "selecter:"),
        service("c", "default")
    );
    fs::write(path("a.yaml"), broken).unwrap();
    let snapshot = live
        .until("a broken document", |snapshot| names(snapshot) == ["a", "b", "c"])
        .await;
    assert_eq!(findings(&snapshot), ["a.yaml:6 WEFT0002"]);

    // A file that is no YAML at all: all its objects stay.
    fs::write(path("a.yaml"), "a: [").unwrap();
    let snapshot = live
        .until("a file that is no YAML", |snapshot| {
            findings(snapshot).iter().any(|found| found.contains("WEFT0001"))
        })
        .await;
    assert_eq!(names(&snapshot), ["a", "b", "c"]);

    // Not readable as text: the same.
    fs::write(path("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    let snapshot = live
        .until("an unreadable file", |snapshot| {
            findings(snapshot).iter().any(|found| found.contains("WEFT0005"))
        })
        .await;
    assert_eq!(names(&snapshot), ["a", "b", "c"]);

    // Good again.
    fs::write(path("a.yaml"), service("a", "default")).unwrap();
    let snapshot = live
        .until("the good file", |snapshot| names(snapshot) == ["a", "b"])
        .await;
    assert_eq!(findings(&snapshot), Vec::<String>::new());

    // Replaced by renaming, as editors do.
    fs::write(path("a.yaml.new"), service("d", "default")).unwrap();
    fs::rename(path("a.yaml.new"), path("a.yaml")).unwrap();
    live.until("a replaced file", |snapshot| names(snapshot) == ["b", "d"])
        .await;

    fs::remove_file(path("a.yaml")).unwrap();
    live.until("a deleted file", |snapshot| names(snapshot) == ["b"]).await;
    live.stop().await;
}

#[tokio::test]
async fn a_directory_behind_a_link_may_be_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["one", "two"] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("s.yaml"), service(name, "default")).unwrap();
    }
    std::os::unix::fs::symlink(path("one"), path("current")).unwrap();
    let live = Live::start(&[&path("current")]);
    live.until("the first target", |snapshot| names(snapshot) == ["one"])
        .await;
    std::os::unix::fs::symlink(path("two"), path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    live.until("the second target", |snapshot| names(snapshot) == ["two"])
        .await;
    // The watch follows the new target.
    fs::write(path("two/t.yaml"), service("zwei", "default")).unwrap();
    live.until("a file in it", |snapshot| names(snapshot) == ["two", "zwei"])
        .await;
    live.stop().await;
}

#[tokio::test]
async fn objects_given_twice_and_missing_roots_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), service("a", "default")).unwrap();
    fs::write(path("b.yaml"), service("a", "default").replace("80", "81")).unwrap();
    let missing = path("missing");
    let live = Live::start(&[&path("a.yaml"), &path("b.yaml"), &missing]);
    let snapshot = live
        .until("both findings", |snapshot| findings(snapshot).len() == 2)
        .await;
    assert_eq!(findings(&snapshot), ["b.yaml:2 WEFT0006", "missing:0 WEFT0005"]);
    assert_eq!(snapshot.services.iter().next().unwrap().ports[0].port, 80);
    // A root may appear later.
    fs::create_dir(&missing).unwrap();
    fs::write(missing.join("c.yaml"), service("c", "default")).unwrap();
    live.until("the new root", |snapshot| names(snapshot) == ["a", "c"])
        .await;
    live.stop().await;
}
