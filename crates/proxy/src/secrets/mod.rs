//! Key material by reference: files that are watched, inline bytes, and secrets that discovery or the workload identity delivers.
//!
//! One generation counter says that something changed; TLS contexts then resolve what they use again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use weft_base::shutdown::Shutdown;

use crate::model::secret::{CertificateSource, DataSource, SdsRef, SdsSource, Secret};
use crate::model::tls::RootSource;

/// The cluster name that stands for the workload's own identity in generated configuration.
pub(crate) const IDENTITY_CLUSTER: &str = "sds-grpc";

/// Begins the text that stands for a source that is a cluster.
const CLUSTER_PREFIX: &str = "cluster:";

/// How often watched files are looked at. Kubernetes swaps symlinks, which a look at the resolved file sees.
const FILE_INTERVAL: Duration = Duration::from_secs(2);

/// Longest secret file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a reference does not resolve now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody delivered it yet.
    #[error("secret {0:?} was not delivered yet")]
    Pending(Arc<str>),
    /// It is of the other kind.
    #[error("secret {0:?} is not a {1}")]
    Kind(Arc<str>, &'static str),
    /// Its file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The machine's own trust store has nothing.
    #[error("the system's trust store cannot be read: {0}")]
    System(String),
}

/// A certificate chain and key in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePem {
    /// Chain, leaf first.
    pub chain: Bytes,
    pub key: Bytes,
}

/// All secrets of the process; clones share one state.
#[derive(Clone, Debug)]
pub struct SecretStore {
    state: Arc<Mutex<State>>,
    generation: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    delivered: BTreeMap<Key, Secret>,
    wanted: BTreeSet<Key>,
    files: BTreeMap<PathBuf, Option<Stamp>>,
}

/// A source as text, and a name.
type Key = (Arc<str>, Arc<str>);

type Stamp = (SystemTime, u64);

// === impl SecretStore ===

impl SecretStore {
    /// An empty store; `shutdown` owns the task that watches files.
    pub fn new(shutdown: &Shutdown) -> Self {
        let store = Self {
            state: Arc::default(),
            generation: Arc::new(watch::Sender::new(0)),
        };
        let watcher = store.clone();
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(FILE_INTERVAL);
            while stop.token().run_until_cancelled(ticks.tick()).await.is_some() {
                watcher.look_at_files();
            }
        });
        store
    }

    /// Changes whenever something may resolve differently.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Delivers a secret, replacing the one of that name.
    pub fn deliver(&self, source: &SdsSource, name: &Arc<str>, secret: Secret) {
        let key = (source_key(source), name.clone());
        let before = self.state.lock().delivered.insert(key, secret.clone());
        if before.as_ref() != Some(&secret) {
            self.bump();
        }
    }

    /// The names that contexts asked for and that come over the aggregated stream.
    pub fn wanted(&self, source: &SdsSource) -> BTreeSet<Arc<str>> {
        let source = source_key(source);
        let state = self.state.lock();
        (state.wanted.iter().filter(|(from, _)| *from == source))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Clusters of the discovery services that contexts asked.
    pub fn clusters_wanted(&self) -> BTreeSet<Arc<str>> {
        let state = self.state.lock();
        let sources = state
            .wanted
            .iter()
            .filter_map(|(source, _)| source.strip_prefix(CLUSTER_PREFIX));
        sources.map(Arc::from).collect()
    }

    /// The secrets that were delivered, by name, for the config dump.
    pub fn delivered_now(&self) -> Vec<(Arc<str>, Secret)> {
        let state = self.state.lock();
        let delivered = state.delivered.iter();
        delivered
            .map(|((_, name), secret)| (name.clone(), secret.clone()))
            .collect()
    }

    /// The secrets that contexts asked for and that were not delivered yet.
    pub fn pending(&self) -> BTreeSet<Arc<str>> {
        let state = self.state.lock();
        let pending = state.wanted.iter().filter(|key| !state.delivered.contains_key(*key));
        pending.map(|(_, name)| name.clone()).collect()
    }

    /// Resolves a certificate now.
    pub fn certificate(&self, source: &CertificateSource) -> Result<CertificatePem, SecretError> {
        match source {
            CertificateSource::Static { chain, key } => Ok(CertificatePem {
                chain: self.read(chain)?,
                key: self.read(key)?,
            }),
            CertificateSource::Sds(reference) => match self.delivered(reference)? {
                Secret::Certificate { chain, key } => Ok(CertificatePem {
                    chain: self.read(&chain)?,
                    key: self.read(&key)?,
                }),
                Secret::Validation { .. } => Err(SecretError::Kind(reference.name.clone(), "certificate")),
            },
        }
    }

    /// Resolves a PEM bundle of trust roots now.
    pub fn roots(&self, source: &RootSource) -> Result<Bytes, SecretError> {
        match source {
            RootSource::Static(data) => self.read(data),
            RootSource::System => system_roots(),
            RootSource::Sds(reference) => match self.delivered(reference)? {
                Secret::Validation { roots } => self.read(&roots),
                Secret::Certificate { .. } => Err(SecretError::Kind(reference.name.clone(), "validation context")),
            },
        }
    }

    fn delivered(&self, reference: &SdsRef) -> Result<Secret, SecretError> {
        let key = (source_key(&reference.source), reference.name.clone());
        let mut state = self.state.lock();
        let found = state.delivered.get(&key).cloned();
        let new = state.wanted.insert(key);
        drop(state);
        if new {
            self.bump();
        }
        found.ok_or_else(|| SecretError::Pending(reference.name.clone()))
    }

    fn read(&self, data: &DataSource) -> Result<Bytes, SecretError> {
        match data {
            DataSource::Inline(bytes) => Ok(bytes.clone()),
            DataSource::File(path) => {
                self.state.lock().files.insert(path.clone(), stamp(path));
                read_file(path)
            }
        }
    }

    fn look_at_files(&self) {
        let files: Vec<(PathBuf, Option<Stamp>)> = {
            let state = self.state.lock();
            state.files.iter().map(|(path, stamp)| (path.clone(), *stamp)).collect()
        };
        let changed: Vec<(PathBuf, Option<Stamp>)> = files
            .into_iter()
            .filter_map(|(path, before)| {
                let now = stamp(&path);
                (now != before).then_some((path, now))
            })
            .collect();
        if changed.is_empty() {
            return;
        }
        self.state.lock().files.extend(changed);
        self.bump();
    }

    fn bump(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

fn source_key(source: &SdsSource) -> Arc<str> {
    match source {
        SdsSource::Ads => Arc::from("ads"),
        SdsSource::Static => Arc::from("static"),
        SdsSource::Cluster(name) => Arc::from(format!("{CLUSTER_PREFIX}{name}")),
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read_file(path: &Path) -> Result<Bytes, SecretError> {
    let fail = |reason: String| SecretError::File {
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(fail(format!("{length} bytes are more than a secret may have")));
    }
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|error| fail(error.to_string()))
}

fn system_roots() -> Result<Bytes, SecretError> {
    use base64::Engine;
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(SecretError::System(reasons.join("; ")));
    }
    let mut pem = String::new();
    for certificate in found.certs {
        let body = base64::engine::general_purpose::STANDARD.encode(&certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&body);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    Ok(Bytes::from(pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sds(name: &str) -> CertificateSource {
        CertificateSource::Sds(SdsRef {
            name: Arc::from(name),
            source: SdsSource::Ads,
        })
    }

    #[tokio::test]
    async fn delivered_secrets_resolve_and_are_wanted_by_name() {
        let store = SecretStore::new(&Shutdown::new());
        let mut changes = store.changes();
        let pending = store.certificate(&sds("default")).unwrap_err();
        assert_eq!(pending, SecretError::Pending(Arc::from("default")));
        assert_eq!(store.wanted(&SdsSource::Ads), BTreeSet::from([Arc::from("default")]));
        changes.mark_unchanged();
        let inline = |text: &'static str| DataSource::Inline(Bytes::from_static(text.as_bytes()));
        let secret = Secret::Certificate {
            chain: inline("chain"),
            key: inline("key"),
        };
        store.deliver(&SdsSource::Ads, &Arc::from("default"), secret);
        assert!(changes.has_changed().unwrap());
        assert_eq!(store.certificate(&sds("default")).unwrap().chain, "chain");
    }

    #[tokio::test]
    async fn a_changed_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let source = RootSource::Static(DataSource::File(path.clone()));
        let store = SecretStore::new(&Shutdown::new());
        assert!(matches!(store.roots(&source), Err(SecretError::File { .. })));
        let mut changes = store.changes();
        changes.mark_unchanged();
        std::fs::write(&path, "new roots").unwrap();
        store.look_at_files();
        assert!(changes.has_changed().unwrap());
        assert_eq!(store.roots(&source).unwrap(), "new roots");
    }
}
