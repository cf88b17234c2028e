//! The state directory: root certificate, its key, and the key of join tokens.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use weft_base::identity::TrustDomain;

use crate::authority::{Authority, SignError};
use crate::join_token::KEY_BYTES;

/// The root, readable by everyone.
pub(crate) const ROOT_CERT: &str = "root-cert.pem";

/// The root's key, 0600.
pub(crate) const CA_KEY: &str = "ca-key.pem";

/// The key of join tokens, 0600.
pub(crate) const JOIN_KEY: &str = "join.key";

/// What the state directory holds.
#[derive(Debug)]
pub(crate) struct State {
    pub authority: Authority,
    /// Signs and checks join tokens.
    pub join_key: [u8; KEY_BYTES],
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Others can read a secret.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Mode { path: PathBuf, mode: u32 },
    /// One of two files that belong together is missing.
    #[error("{path} is missing beside its counterpart; restore it, or remove both to start with a new root")]
    Half {
        /// The missing one.
        path: PathBuf,
    },
    /// A key has the wrong size.
    #[error("{path} has {bytes} bytes, a join key has {KEY_BYTES}; remove it to have a new one made")]
    JoinKey { path: PathBuf, bytes: usize },
    /// Root and key are unusable.
    #[error(transparent)]
    Authority(#[from] SignError),
    /// The system has no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

/// Opens a state directory, and makes what is missing: a root of ten years and a join key.
pub(crate) fn open(dir: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<State, StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| io_error(dir, &error))?;
    let authority = authority(dir, trust_domain, now)?;
    let join_key = join_key(dir)?;
    Ok(State { authority, join_key })
}

/// The join key alone, for whoever only makes tokens.
pub(crate) fn join_key(dir: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let path = dir.join(JOIN_KEY);
    if !path.exists() {
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).map_err(|_| StoreError::Random)?;
        write_first(&path, &key, 0o600)?;
    }
    let key = read_secret(&path)?;
    let bytes = key.len();
    key.try_into().map_err(|_| StoreError::JoinKey { path, bytes })
}

/// Uniform random bytes as a number.
pub(crate) fn random_serial() -> Result<u128, StoreError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(u128::from_be_bytes(bytes))
}

fn authority(dir: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Authority, StoreError> {
    let (cert_path, key_path) = (dir.join(ROOT_CERT), dir.join(CA_KEY));
    match (cert_path.exists(), key_path.exists()) {
        (true, true) => {
            let key = String::from_utf8_lossy(&read_secret(&key_path)?).into_owned();
            let cert = fs::read_to_string(&cert_path).map_err(|error| io_error(&cert_path, &error))?;
            Ok(Authority::from_pem(cert, &key)?)
        }
        (false, false) => {
            let (authority, key) = Authority::self_signed(trust_domain, now, random_serial()?)?;
            // The key first: a root without its key could not be used, a key without its root is told apart below.
            write(&key_path, key.as_bytes(), 0o600)?;
            write(&cert_path, authority.root_pem().as_bytes(), 0o644)?;
            Ok(authority)
        }
        (true, false) => Err(StoreError::Half { path: key_path }),
        (false, true) => Err(StoreError::Half { path: cert_path }),
    }
}

fn read_secret(path: &Path) -> Result<Vec<u8>, StoreError> {
    let metadata = fs::metadata(path).map_err(|error| io_error(path, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    fs::read(path).map_err(|error| io_error(path, &error))
}

/// Writes a new file that appears whole or not at all.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), StoreError> {
    let own = write_beside(path, content, mode)?;
    fs::rename(own, path).map_err(|error| io_error(path, &error))
}

/// The same, but whoever comes first wins: a server and the command that makes tokens may open a new directory at one time.
fn write_first(path: &Path, content: &[u8], mode: u32) -> Result<(), StoreError> {
    let own = write_beside(path, content, mode)?;
    let linked = fs::hard_link(&own, path);
    fs::remove_file(&own).map_err(|error| io_error(&own, &error))?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(|error| io_error(path, &error)),
    }
}

/// Writes a file that no other process has, beside where its content belongs.
fn write_beside(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, StoreError> {
    let own = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(&own);
    file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(|error| io_error(path, &error))?;
    Ok(own)
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_another_process_made_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(JOIN_KEY);
        for content in [b"first", b"later"] {
            write_first(&path, content, 0o600).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left");
    }

    #[test]
    fn state_is_kept_and_guarded() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("ca");
        let now = SystemTime::now();
        let domain = TrustDomain::default();
        let first = open(&dir, &domain, now).unwrap();
        let again = open(&dir, &domain, now).unwrap();
        assert_eq!(first.authority.root_pem(), again.authority.root_pem());
        assert_eq!(first.join_key, again.join_key);
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(CA_KEY), mode(JOIN_KEY), mode(ROOT_CERT)), (0o600, 0o600, 0o644));

        fs::set_permissions(dir.join(CA_KEY), fs::Permissions::from_mode(0o644)).unwrap();
        let error = open(&dir, &domain, now).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::remove_file(dir.join(CA_KEY)).unwrap();
        assert!(matches!(open(&dir, &domain, now), Err(StoreError::Half { .. })));
    }
}
