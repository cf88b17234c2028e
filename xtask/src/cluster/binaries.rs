//! The programs of Kubernetes and CoreDNS: unpacked from an archive where there is one, else built from their Go modules, into a
//! cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::go_build::{self, Go};
use super::steps::Steps;
use crate::{process, workspace};

/// The version of Kubernetes.
pub(crate) const VERSION: &str = "1.36.3";
/// What a cluster needs.
pub(crate) const PROGRAMS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "coredns",
];

/// Folders that are being filled begin with this; the process's id follows.
const UNFINISHED: &str = "unfinished-";
/// Environment variable that names the archive.
const ARCHIVE: &str = "WEFT_KUBERNETES_ARCHIVE";

/// Where programs come from.
#[derive(Clone, Debug)]
enum Origin {
    /// A tar file compressed by zstd.
    Archive(PathBuf),
    /// Their modules, by this Go.
    Modules(Go),
}

/// Whether they are there or can be made; if not, what is missing, in one line.
pub(crate) fn possible() -> Result<()> {
    origin().map(drop)
}

/// The folder with the programs, made first if it has to be.
pub(crate) fn ensure(steps: &Steps) -> Result<PathBuf> {
    let origin = origin()?;
    let folder = cache()?.join(origin.folder()?);
    if is_complete(&folder) {
        return Ok(folder);
    }
    let parent = folder.parent().context("the cache has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Made beside and renamed, so that a folder of this name is always complete.
    remove_abandoned(parent)?;
    let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let made = fill(steps, &origin, &unfinished).and_then(|()| keep(&unfinished, &folder));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    made.map(|()| folder)
}

fn fill(steps: &Steps, origin: &Origin, folder: &Path) -> Result<()> {
    match origin {
        Origin::Archive(archive) => {
            steps.run(&format!("unpacking Kubernetes {VERSION}"), || unpack(archive, folder))?;
            check_unpacked(archive, folder)
        }
        Origin::Modules(go) => go_build::run(steps, go, folder),
    }
}

fn keep(unfinished: &Path, folder: &Path) -> Result<()> {
    if let Err(error) = fs::rename(unfinished, folder) {
        // Another run may have been quicker.
        ensure!(is_complete(folder), "cannot create {}: {error}", folder.display());
    }
    Ok(())
}

/// Removes what runs that were ended half way have left.
fn remove_abandoned(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        if run.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// `weft` in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.map(PathBuf::from).or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("weft"))
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

fn origin() -> Result<Origin> {
    if let Some(archive) = archive()? {
        return Ok(Origin::Archive(archive));
    }
    let go = Go::find().with_context(|| {
        format!("Kubernetes {VERSION} is built from its Go modules where {ARCHIVE} names no archive of its programs")
    })?;
    Ok(Origin::Modules(go))
}

fn archive() -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(ARCHIVE) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("{ARCHIVE} names {}, which is not a file", named.display());
        }
        return Ok(Some(named));
    }
    let beside = format!("../shared/kubernetes/kubernetes-{VERSION}-linux-amd64.tar.zst");
    let beside = workspace::root().join(beside);
    let fits = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    Ok((fits && beside.is_file()).then_some(beside))
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "--no-same-owner", "-xf"]).arg(archive);
    let output = tar.arg("-C").arg(folder).output().context("cannot start tar")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        bail!("{} cannot be unpacked: {said}", archive.display());
    }
    Ok(())
}

/// An archive may be any file: its programs are of this version, and all are there.
fn check_unpacked(archive: &Path, folder: &Path) -> Result<()> {
    let server = folder.join("kube-apiserver");
    if server.is_file() {
        let told = process::output(Command::new(server).arg("--version"))
            .with_context(|| format!("the programs of {} do not run here", archive.display()))?;
        let wanted = format!("Kubernetes v{VERSION}");
        if told.trim() != wanted {
            bail!("{} has {}, {wanted} is needed", archive.display(), told.trim());
        }
    }
    let lacks = |program: &&str| !folder.join(program).is_file();
    let lacking: Vec<&str> = PROGRAMS.iter().copied().filter(lacks).collect();
    if !lacking.is_empty() {
        bail!("{} lacks {}", archive.display(), lacking.join(", "));
    }
    Ok(())
}

// === impl Origin ===

impl Origin {
    /// The folder's name says what its programs were made of, so that those made otherwise are not taken.
    fn folder(&self) -> Result<String> {
        let made_of = match self {
            Self::Archive(archive) => {
                let mut digest = Sha256::new();
                digest.update(fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?);
                format!("archive-{}", short(digest))
            }
            Self::Modules(go) => {
                let mut digest = Sha256::new();
                for file in go_build::sources()? {
                    digest.update(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
                }
                format!("{}-{}", go.version(), short(digest))
            }
        };
        Ok(format!("kubernetes-{VERSION}-{made_of}"))
    }
}

fn short(digest: Sha256) -> String {
    let bytes = digest.finalize();
    bytes[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("weft-binaries-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn only_what_nobody_fills_any_more_is_removed() {
        let dir = temporary("abandoned");
        let own = format!("{UNFINISHED}{}", std::process::id());
        // No process has an id beyond the kernel's limit of 4194304.
        let abandoned = format!("{UNFINISHED}99999999");
        for name in [own.as_str(), &abandoned, "kubernetes-1"] {
            fs::create_dir_all(dir.join(name).join("x")).unwrap();
        }
        remove_abandoned(&dir).unwrap();
        assert!(dir.join(own).exists() && dir.join("kubernetes-1").exists());
        assert!(!dir.join(abandoned).exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_archive_of_something_else_is_named() {
        let dir = temporary("lacking");
        fs::write(dir.join("kubectl"), "").unwrap();
        let error = check_unpacked(Path::new("x.tar.zst"), &dir).unwrap_err().to_string();
        assert!(error.starts_with("x.tar.zst lacks kube-apiserver, "), "{error}");
        assert!(!error.contains("kubectl"), "{error}");
        for program in PROGRAMS {
            fs::write(dir.join(program), "#!/bin/sh\necho Kubernetes v1.20.2\n").unwrap();
        }
        let program = dir.join("kube-apiserver");
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = check_unpacked(Path::new("x.tar.zst"), &dir).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("x.tar.zst has Kubernetes v1.20.2, Kubernetes v{VERSION} is needed")
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
