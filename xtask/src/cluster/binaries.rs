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

/// Counts how the programs were made, so that a folder made otherwise is not taken.
const RECIPE: u32 = 2;
/// What cannot be taken from an archive: one built with Go 1.18 or later crashes on custom resources without our change
/// (`source_build::mend`).
const MENDED: &[&str] = &["kube-apiserver"];

/// Folders that are being filled begin with this; the process's id follows.
const UNFINISHED: &str = "unfinished-";
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
    remove_abandoned(parent)?;
    let unfinished = parent.join(format!("{UNFINISHED}{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    match archive()? {
        Some(archive) => {
            let name = format!("unpacking Kubernetes {VERSION}");
            steps.run(&name, || unpack(&archive, &unfinished))?;
            source_build::run(steps, &parent.join("kubernetes-source"), &unfinished, MENDED)?;
        }
        None => source_build::run(steps, &parent.join("kubernetes-source"), &unfinished, PROGRAMS)?,
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

/// Where the programs are once they are there.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(cache()?.join(format!("kubernetes-{VERSION}-{RECIPE}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_fills_any_more_is_removed() {
        let dir = std::env::temp_dir().join(format!("weft-binaries-{}", std::process::id()));
        let own = format!("{UNFINISHED}{}", std::process::id());
        // No process has an id beyond the kernel's limit of 4194304.
        let abandoned = format!("{UNFINISHED}99999999");
        for name in [own.as_str(), &abandoned, "kubernetes-1.20.2"] {
            fs::create_dir_all(dir.join(name).join("x")).unwrap();
        }
        remove_abandoned(&dir).unwrap();
        assert!(dir.join(own).exists() && dir.join("kubernetes-1.20.2").exists());
        assert!(!dir.join(abandoned).exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
