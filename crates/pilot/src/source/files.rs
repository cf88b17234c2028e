//! The state of a set of configuration files: what each one held when it was last good.
//!
//! Reads files, but waits for nothing; the time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::meta::ObjectKey;
use weft_api::parse::parse;
use weft_api::resource::Resource;
use xxhash_rust::xxh64::xxh64;

use super::SourceEvent;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Deepest directory below a root.
const DEPTH_MAX: usize = 8;

/// Most files below all roots.
const FILES_MAX: usize = 10_000;

/// An object is taken as deleted when it was missing for so long: writers that truncate or replace a file leave a moment in
/// which it is empty or absent.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// One file as it was last read.
#[derive(Debug, Default)]
struct FileState {
    hash: u64,
    /// Objects of the text as it is.
    fresh: Vec<Resource>,
    /// Objects that are broken in the text, as they were when last good.
    kept: Vec<Resource>,
    /// Policies that let less through, in the place of broken ones that never were good.
    stand_ins: Vec<Resource>,
    diagnostics: Vec<Diagnostic>,
    /// The error of the last attempt, if the file could not be read.
    unreadable: Option<Diagnostic>,
}

/// All files below the roots, and what was last announced of them.
#[derive(Debug)]
pub(super) struct Files {
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, FileState>,
    announced: BTreeMap<ObjectKey, Resource>,
    missing_since: BTreeMap<ObjectKey, Instant>,
    diagnostics: Vec<Diagnostic>,
    first: bool,
}

/// A root or directory that cannot be listed.
#[derive(Debug)]
struct Problem {
    path: PathBuf,
    /// It does not exist, so a file of this name was deleted.
    gone: bool,
    diagnostic: Diagnostic,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The change, if there is one.
    pub(super) event: Option<SourceEvent>,
    /// When to look again, because something seems deleted.
    pub(super) again_at: Option<Instant>,
}

// === impl Files ===

impl Files {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            files: BTreeMap::new(),
            announced: BTreeMap::new(),
            missing_since: BTreeMap::new(),
            diagnostics: Vec::new(),
            first: true,
        }
    }

    /// Reads what is there now and gives the difference to the last scan. The first scan always gives an event.
    pub(super) fn scan(&mut self, source: &Arc<str>, now: Instant) -> Scan {
        let mut problems = Vec::new();
        let listed = self.list(&mut problems);
        self.files.retain(|path, _| {
            let hidden =
                |problem: &Problem| path.starts_with(&problem.path) && !(problem.gone && *path == problem.path);
            listed.contains(path) || problems.iter().any(hidden)
        });
        for path in &listed {
            self.read(path);
        }
        let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(|problem| problem.diagnostic).collect();
        let mut current = self.merge(&mut diagnostics);
        let again_at = self.keep_what_just_vanished(&mut current, now);
        diagnostics.sort();
        diagnostics.dedup();
        let event = self.difference(source, current, diagnostics);
        Scan { event, again_at }
    }

    /// The files below the roots, and the roots that cannot be listed.
    fn list(&self, problems: &mut Vec<Problem>) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for root in &self.roots {
            match fs::metadata(root) {
                Ok(meta) if meta.is_dir() => walk(root, 0, &mut found, problems),
                Ok(_) => {
                    found.insert(root.clone());
                }
                Err(error) => problems.push(Problem::new(root, &error)),
            }
        }
        found
    }

    fn read(&mut self, path: &Path) {
        let state = self.files.entry(path.to_owned()).or_default();
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => {
                state.unreadable = Some(unreadable(path, &error));
                return;
            }
        };
        state.unreadable = None;
        // Zero stands for "never read".
        let hash = xxh64(text.as_bytes(), 0).max(1);
        if hash == state.hash {
            return;
        }
        let parsed = parse(&path.to_string_lossy(), &text);
        let fresh: BTreeSet<ObjectKey> = parsed.resources.iter().map(Resource::key).collect();
        let old = state.fresh.drain(..).chain(state.kept.drain(..));
        state.kept = old
            .filter(|resource| {
                let key = resource.key();
                !fresh.contains(&key) && (parsed.broken_unnamed || parsed.broken.contains(&key))
            })
            .collect();
        let known: BTreeSet<ObjectKey> = state.kept.iter().map(Resource::key).chain(fresh).collect();
        state.stand_ins = parsed.stand_ins;
        state.stand_ins.retain(|resource| !known.contains(&resource.key()));
        state.hash = hash;
        state.fresh = parsed.resources;
        state.diagnostics = parsed.diagnostics;
        super::explain(&mut state.diagnostics, &state.stand_ins);
    }

    /// One object for each key: a readable one before one that was kept and that before a stand-in, then the first by file and position.
    fn merge(&self, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<ObjectKey, Resource> {
        let mut merged: BTreeMap<ObjectKey, Resource> = BTreeMap::new();
        for state in self.files.values() {
            diagnostics.extend(state.diagnostics.iter().cloned());
            diagnostics.extend(state.unreadable.clone());
            for resource in &state.fresh {
                let key = resource.key();
                match merged.get(&key) {
                    Some(winner) => diagnostics.push(duplicate(resource, &key, winner)),
                    None => {
                        merged.insert(key, resource.clone());
                    }
                }
            }
        }
        let states = || self.files.values();
        let kept = states().flat_map(|state| &state.kept);
        for resource in kept.chain(states().flat_map(|state| &state.stand_ins)) {
            merged.entry(resource.key()).or_insert_with(|| resource.clone());
        }
        merged
    }

    fn keep_what_just_vanished(
        &mut self,
        current: &mut BTreeMap<ObjectKey, Resource>,
        now: Instant,
    ) -> Option<Instant> {
        self.missing_since.retain(|key, _| !current.contains_key(key));
        let mut again_at: Option<Instant> = None;
        for (key, resource) in &self.announced {
            if current.contains_key(key) {
                continue;
            }
            let since = *self.missing_since.entry(key.clone()).or_insert(now);
            let gone_at = since + SETTLE;
            if now < gone_at {
                current.insert(key.clone(), resource.clone());
                again_at = Some(again_at.map_or(gone_at, |at| at.min(gone_at)));
            } else {
                self.missing_since.remove(key);
            }
        }
        again_at
    }

    fn difference(
        &mut self,
        source: &Arc<str>,
        current: BTreeMap<ObjectKey, Resource>,
        diagnostics: Vec<Diagnostic>,
    ) -> Option<SourceEvent> {
        let upserted: Vec<Resource> = current
            .iter()
            .filter(|(key, resource)| self.announced.get(key) != Some(resource))
            .map(|(_, resource)| resource.clone())
            .collect();
        let removed: Vec<ObjectKey> = self
            .announced
            .keys()
            .filter(|key| !current.contains_key(key))
            .cloned()
            .collect();
        let nothing = upserted.is_empty() && removed.is_empty() && diagnostics == self.diagnostics;
        if nothing && !self.first {
            return None;
        }
        self.first = false;
        self.announced = current;
        self.diagnostics.clone_from(&diagnostics);
        Some(SourceEvent {
            source: Arc::clone(source),
            upserted,
            removed,
            diagnostics,
            credentials: None,
        })
    }
}

/// Adds the configuration files of a directory and its subdirectories. Names that start with a dot are passed over: they
/// are editors' and Kubernetes' own (`..data`).
fn walk(directory: &Path, depth: usize, found: &mut BTreeSet<PathBuf>, problems: &mut Vec<Problem>) {
    let entries = match fs::read_dir(directory).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
        Ok(entries) => entries,
        Err(error) => return problems.push(Problem::new(directory, &error)),
    };
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let is_config = path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() && depth < DEPTH_MAX => walk(&path, depth + 1, found, problems),
            Ok(meta) if meta.is_file() && is_config && found.len() < FILES_MAX => {
                found.insert(path);
            }
            Ok(meta) if meta.is_file() && is_config => {
                let error = io::Error::other(format!("there are more than {FILES_MAX} files"));
                return problems.push(Problem::new(&path, &error));
            }
            // A dangling link is a file that cannot be read; a name that just vanished is nothing.
            Err(_) if is_config && fs::symlink_metadata(&path).is_ok() => {
                found.insert(path);
            }
            _ => {}
        }
    }
}

// === impl Problem ===

impl Problem {
    fn new(path: &Path, error: &io::Error) -> Self {
        let gone = error.kind() == io::ErrorKind::NotFound;
        let mut diagnostic = unreadable(path, error);
        if gone {
            diagnostic.hint = "create it, or leave it out of the configuration".to_owned();
        }
        Self {
            path: path.to_owned(),
            gone,
            diagnostic,
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is not UTF-8 at byte {at}"))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic {
        file: path.to_string_lossy().into(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        code: code::UNREADABLE.into(),
        object: String::new(),
        field: String::new(),
        message: format!("cannot be read: {error}"),
        hint: "objects that were read from it before stay in force".to_owned(),
    }
}

fn duplicate(resource: &Resource, key: &ObjectKey, winner: &Resource) -> Diagnostic {
    let (place, first) = (resource.place(), winner.place());
    Diagnostic {
        file: Arc::clone(&place.file),
        line: place.at.line,
        column: place.at.column,
        severity: Severity::Error,
        code: code::DUPLICATE_OBJECT.into(),
        object: key.to_string(),
        field: "metadata.name".to_owned(),
        message: format!(
            "the object exists already in {}:{}, which is used",
            first.file, first.at.line
        ),
        hint: "remove one of them, or give it another name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use weft_api::peer_authentication::MtlsMode;

    use super::*;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n";

    fn service(name: &str) -> String {
        SERVICE.replace("NAME", name)
    }

    fn names(scan: &Scan) -> (Vec<String>, Vec<String>) {
        let Some(event) = &scan.event else {
            return Default::default();
        };
        let upserted = event.upserted.iter().map(|resource| resource.meta().name.to_string());
        let removed = event.removed.iter().map(|key| key.name.to_string());
        (upserted.collect(), removed.collect())
    }

    fn some(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_vanishes_for_a_moment_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        let source: Arc<str> = "file".into();
        let mut files = Files::new(vec![path.clone()]);
        let start = Instant::now();
        fs::write(&path, format!("{}---\n{}", service("a"), service("b"))).unwrap();
        assert_eq!(names(&files.scan(&source, start)), (some(&["a", "b"]), some(&[])));

        // A writer truncated the file and is not done.
        fs::write(&path, "").unwrap();
        let scan = files.scan(&source, start);
        assert_eq!(
            (names(&scan), scan.again_at),
            (Default::default(), Some(start + SETTLE))
        );
        fs::write(&path, service("a")).unwrap();
        let scan = files.scan(&source, start + SETTLE / 2);
        assert_eq!(
            (names(&scan), scan.again_at),
            (Default::default(), Some(start + SETTLE))
        );
        // What stays away is gone.
        let scan = files.scan(&source, start + SETTLE);
        assert_eq!((names(&scan), scan.again_at), ((some(&[]), some(&["b"])), None));

        // A file that is replaced is absent for a moment.
        fs::remove_file(&path).unwrap();
        let later = start + SETTLE * 2;
        assert_eq!(files.scan(&source, later).again_at, Some(later + SETTLE));
        fs::write(&path, service("a")).unwrap();
        assert_eq!(files.scan(&source, later + SETTLE * 3).again_at, None);
        fs::remove_file(&path).unwrap();
        files.scan(&source, later);
        let scan = files.scan(&source, later + SETTLE);
        assert_eq!(names(&scan), (some(&[]), some(&["a"])));
        assert!(files.scan(&source, later + SETTLE).event.is_none());
    }

    #[test]
    fn a_policy_that_was_never_good_closes_and_one_that_was_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        let source: Arc<str> = "file".into();
        let mut files = Files::new(vec![path.clone()]);
        let now = Instant::now();
        let mut check = |mtls: &str, expected: Option<MtlsMode>, hint: &str| {
            let head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec";
            fs::write(&path, format!("{head}: {{mtls: {mtls}}}\n")).unwrap();
            let event = files.scan(&source, now).event.unwrap();
            let mode = event.upserted.iter().find_map(|resource| {
                let Resource::PeerAuthentication(object) = resource else {
                    panic!("{resource:?}");
                };
                object.spec.mode
            });
            assert_eq!(mode, expected, "{mtls}");
            let hints: Vec<&str> = event.diagnostics.iter().map(|found| found.hint.as_str()).collect();
            assert_eq!(
                hints.join("").contains("take mesh mTLS only"),
                !hint.is_empty(),
                "{hints:?}"
            );
            assert!(hints.join("").contains(hint), "{hints:?}");
        };
        check(
            "{mod: STRICT}",
            Some(MtlsMode::Strict),
            "did you mean mode?; until it can be read",
        );
        check("{mode: PERMISSIVE}", Some(MtlsMode::Permissive), "");
        check("{mode: STRICKT}", None, "");
    }

    #[test]
    fn a_good_object_elsewhere_replaces_one_that_was_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let source: Arc<str> = "file".into();
        let mut files = Files::new(vec![directory.path().to_owned()]);
        let now = Instant::now();
        fs::write(path("a.yaml"), service("a")).unwrap();
        files.scan(&source, now);
        fs::write(path("a.yaml"), service("a").replace("port: 80", "port: x")).unwrap();
        assert_eq!(names(&files.scan(&source, now)), (some(&[]), some(&[])));
        fs::write(path("b.yaml"), service("a").replace("80", "81")).unwrap();
        let scan = files.scan(&source, now);
        assert_eq!(names(&scan), (some(&["a"]), some(&[])));
        let file = scan.event.unwrap().upserted[0].place().file.clone();
        assert!(file.ends_with("b.yaml"), "{file}");
    }

    #[test]
    fn an_unreadable_directory_keeps_what_it_held() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("config");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.yaml"), service("a")).unwrap();
        let source: Arc<str> = "file".into();
        let mut files = Files::new(vec![root.clone()]);
        let now = Instant::now();
        files.scan(&source, now);
        fs::rename(&root, directory.path().join("away")).unwrap();
        let scan = files.scan(&source, now);
        assert_eq!((names(&scan), scan.again_at), (Default::default(), None));
        assert_eq!(&*scan.event.unwrap().diagnostics[0].code, code::UNREADABLE);
        // It is back without the file.
        fs::create_dir(&root).unwrap();
        files.scan(&source, now);
        assert_eq!(names(&files.scan(&source, now + SETTLE)), (some(&[]), some(&["a"])));
    }
}
