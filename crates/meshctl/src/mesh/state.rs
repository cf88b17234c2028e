//! The state directory of a mesh, and finding the meshes of this machine.
//!
//! `${XDG_STATE_HOME:-~/.local/state}/weft/NAME/` holds `mesh.json`, `ca/` (root certificate and keys), `registry/` (the
//! workloads as pilot reads them), `tokens/`, `run/` (generated configuration and sockets) and `logs/`. A running `up` holds a
//! lock on `lock`; the lock ends with the process, however that ends.
//!
//! A mesh whose state lies elsewhere leaves a link to it in `.elsewhere/` beside the others, so that the user's other verbs find it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::exit::Failure;
use crate::mesh::record::Record;

/// Longest path of a Unix socket (`sun_path` in unix(7) has 108 bytes with the final zero), less the longest name used.
const RUN_PATH_MAX: usize = 107 - 48;

/// Directory of the links to states that lie elsewhere. No mesh has a name that begins with a dot.
const ELSEWHERE: &str = ".elsewhere";

/// State directory of one mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Proof that no other `up` runs for the mesh; ends with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

// === impl StateDir ===

impl StateDir {
    /// The directory that the user named, or the usual one of a mesh of that name.
    pub fn of_mesh(name: &str, explicit: Option<&Path>) -> anyhow::Result<Self> {
        let root = match explicit {
            Some(path) => std::path::absolute(path)?,
            None => home()?.join(name),
        };
        Ok(Self { root })
    }

    /// The state of the mesh that a verb means: the named one, else the only one that runs, else the only one that left its
    /// record. `flag` is how the verb takes a name.
    pub fn find(name: Option<&str>, explicit: Option<&Path>, flag: &str) -> anyhow::Result<Self> {
        if explicit.is_some() {
            return Self::of_mesh("", explicit);
        }
        let mut known = Self::all()?;
        if let Some(name) = name {
            known.retain(|state| state.mesh_name() == name);
        }
        let running: Vec<Self> = known.iter().filter(|state| state.runs()).cloned().collect();
        if !running.is_empty() {
            known = running;
        }
        match (known.len(), name) {
            (1, _) => Ok(known.remove(0)),
            (0, Some(name)) => Self::of_mesh(name, None),
            (0, None) => bail!("no mesh runs on this machine; start one with: meshctl up -f mesh.yaml"),
            _ => Err(Failure::usage(Self::choice(&known, flag)).into()),
        }
    }

    /// What to say where several are meant: how each of them is named.
    fn choice(known: &[Self], flag: &str) -> String {
        let ways: Vec<String> = known
            .iter()
            .map(|state| {
                let name = state.mesh_name();
                let namesakes = known.iter().filter(|other| other.mesh_name() == name).count();
                match namesakes {
                    1 => format!("{flag} {name}"),
                    _ => format!("--state-dir {}", state.root.display()),
                }
            })
            .collect();
        format!("several meshes run here; say which one: {}", ways.join(", or "))
    }

    /// Every mesh of this user that has a record, wherever its state lies.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let home = home()?;
        let mut known: Vec<Self> = entries(&home)?.into_iter().map(|root| Self { root }).collect();
        let links = entries(&home.join(ELSEWHERE))?.into_iter();
        // What a link leads to may be gone; that is no mesh then.
        known.extend(
            links
                .filter_map(|link| std::fs::read_link(link).ok())
                .map(|root| Self { root }),
        );
        known.retain(|state| state.record_path().is_file());
        known.sort_by(|a, b| a.root.cmp(&b.root));
        known.dedup();
        Ok(known)
    }

    /// Lets the user's other verbs find a mesh whose state lies elsewhere, and forgets those whose directory is gone.
    pub fn announce(&self) -> anyhow::Result<()> {
        let home = home()?;
        if self.root.parent() == Some(home.as_path()) {
            return Ok(());
        }
        let links = home.join(ELSEWHERE);
        private_directory(&links)?;
        for link in entries(&links)? {
            if !link.exists() {
                // Somebody else may have removed it meanwhile.
                let _ = std::fs::remove_file(&link);
            }
        }
        let link = self.link(&home);
        match std::os::unix::fs::symlink(&self.root, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.with_context(|| format!("cannot make {}", link.display())),
        }
    }

    /// Where the link to a state that lies elsewhere is.
    fn link(&self, home: &Path) -> PathBuf {
        home.join(ELSEWHERE).join(format!("{:016x}", fingerprint(&self.root)))
    }

    /// Whether its mesh runs.
    fn runs(&self) -> bool {
        self.record()
            .is_ok_and(|record| record.is_some_and(|record| record.supervisor.is_running()))
    }

    /// As its record says; of a directory without one, the directory's.
    fn mesh_name(&self) -> String {
        if let Ok(Some(record)) = self.record() {
            return record.name;
        }
        let name = self.root.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `mesh.json`.
    pub fn record_path(&self) -> PathBuf {
        self.root.join("mesh.json")
    }

    /// State of citadel.
    pub fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// Root certificate of the mesh.
    pub fn root_cert(&self) -> PathBuf {
        self.ca().join("root-cert.pem")
    }

    /// Registry of the workloads.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// Output of the processes.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Generated configuration and sockets. Lies elsewhere if the path of a socket in it would be too long for the system.
    pub fn run(&self) -> PathBuf {
        let near = self.root.join("run");
        if near.as_os_str().len() <= RUN_PATH_MAX {
            return near;
        }
        let user = rustix::process::getuid().as_raw();
        std::env::temp_dir().join(format!("weft-{user}-{:016x}", fingerprint(&self.root)))
    }

    /// The record of the mesh, if one is there.
    pub fn record(&self) -> anyhow::Result<Option<Record>> {
        match Record::read(&self.record_path()) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::bad_data(format!("{}: {error}", self.record_path().display())).into()),
        }
    }

    /// The record of a mesh that must be there.
    pub fn running_record(&self) -> anyhow::Result<Record> {
        let record = self.record()?.with_context(|| {
            format!(
                "no mesh runs with its state in {}; start it with: meshctl up -f mesh.yaml",
                self.root.display()
            )
        })?;
        if !record.supervisor.is_running() {
            let name = &record.name;
            bail!("mesh {name} ended without cleaning up; remove what is left with: meshctl down {name}");
        }
        Ok(record)
    }

    /// Makes the directories, readable by this user alone, and takes the lock.
    pub fn acquire(&self) -> anyhow::Result<Lock> {
        private_directory(&self.root)?;
        let path = self.root.join("lock");
        let file = File::options().create(true).write(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let record = self.record().ok().flatten();
                let (name, pid) = match &record {
                    Some(record) => (record.name.clone(), format!(" (process {})", record.supervisor.pid)),
                    None => (self.mesh_name(), String::new()),
                };
                bail!("mesh {name} already runs{pid}; stop it with: meshctl down {name}")
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Makes the directories of a mesh that starts, after [`StateDir::clean`].
    pub fn prepare(&self) -> anyhow::Result<()> {
        for directory in [self.ca(), self.registry(), self.tokens(), self.logs(), self.run()] {
            private_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes what only a running mesh needs, its certificate authority with it. The logs stay.
    pub fn clean(&self) -> anyhow::Result<()> {
        for directory in [self.ca(), self.registry(), self.tokens(), self.run()] {
            absent_is_fine(std::fs::remove_dir_all(&directory))
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        let link = home().ok().map(|home| self.link(&home));
        for file in [Some(self.record_path()), link].into_iter().flatten() {
            absent_is_fine(std::fs::remove_file(&file)).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        Ok(())
    }
}

/// The paths of a directory's entries; none where it is not there.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)))
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// `${XDG_STATE_HOME:-~/.local/state}/weft`.
fn home() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path).join("weft"));
    }
    let home = std::env::home_dir().context("HOME is not set; say where the state goes with --state-dir")?;
    Ok(home.join(".local/state/weft"))
}

/// FNV-1a of a path: tells the directories of several meshes apart, stable between runs.
fn fingerprint(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_up_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::of_mesh("demo", Some(directory.path())).unwrap();
        let lock = state.acquire().unwrap();
        let error = state.acquire().unwrap_err().to_string();
        assert!(error.contains("already runs"), "{error}");
        drop(lock);
        state.acquire().unwrap();
    }

    #[test]
    fn clean_keeps_the_logs_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::of_mesh("demo", Some(directory.path())).unwrap();
        state.prepare().unwrap();
        for path in [
            state.ca().join("ca-key.pem"),
            state.logs().join("pilot.log"),
            state.registry().join("a.yaml"),
        ] {
            std::fs::write(path, "x").unwrap();
        }
        state.clean().unwrap();
        state.clean().unwrap();
        assert!(state.logs().join("pilot.log").exists());
        assert!(!state.ca().exists() && !state.registry().exists());
    }

    #[test]
    fn sockets_of_deep_directories_lie_elsewhere() {
        let short = StateDir { root: "/s/demo".into() };
        assert_eq!(short.run(), Path::new("/s/demo/run"));
        let long = StateDir {
            root: format!("/{}/demo", "d".repeat(90)).into(),
        };
        assert!(long.run().starts_with(std::env::temp_dir()), "{:?}", long.run());
        assert_ne!(
            long.run(),
            StateDir {
                root: format!("/{}/other", "d".repeat(90)).into()
            }
            .run()
        );
    }
}
