//! The Kubernetes programs: unpacked from an archive where there is one, else built from Debian's source package, into a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::source_build;
use super::steps::Steps;
use crate::{process, workspace};

/// The version that Debian bookworm has the source of.
pub(crate) const VERSION: &str = "1.20.2";
/// What a cluster needs of it.
pub(crate) const PROGRAMS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Environment variable that names the archive.
const ARCHIVE: &str = "WEFT_KUBERNETES_ARCHIVE";

/// The folder with the programs, made first if it has to be.
pub(crate) fn ensure(steps: &Steps) -> Result<PathBuf> {
    let folder = folder()?;
    if is_complete(&folder) {
        return Ok(folder);
    }
    let parent = folder.parent().context("the cache has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // Made beside and renamed, so that a folder of this name is always complete.
    let unfinished = parent.join(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    match archive()? {
        Some(archive) => steps.run(&format!("unpacking Kubernetes {VERSION}"), || {
            unpack(&archive, &unfinished)
        })?,
        None => source_build::run(steps, &parent.join("kubernetes-source"), &unfinished)?,
    }
    ensure!(
        is_complete(&unfinished),
        "{} lacks one of {}",
        unfinished.display(),
        PROGRAMS.join(", ")
    );
    if let Err(error) = fs::rename(&unfinished, &folder) {
        fs::remove_dir_all(&unfinished)?;
        // Another run may have been quicker.
        ensure!(is_complete(&folder), "cannot create {}: {error}", folder.display());
    }
    Ok(folder)
}

/// Where the programs are once they are there.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(cache()?.join(format!("kubernetes-{VERSION}")))
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
    Ok(beside.is_file().then_some(beside))
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "--no-same-owner", "-xf"]).arg(archive);
    process::output(tar.arg("-C").arg(folder)).map(drop)
}
