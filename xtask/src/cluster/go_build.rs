//! Builds Kubernetes and CoreDNS from their Go modules, where no archive of them is at hand.
//!
//! One program is all of Kubernetes: links to it, under the names of the parts, say which one runs. What is built stands in
//! `xtask/go`, with the versions and digests of every module.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::binaries::{PROGRAMS, VERSION};
use super::steps::Steps;
use crate::{process, workspace};

/// The oldest Go that builds them, by their modules.
const GO_MINOR_MIN: u32 = 26;
/// Where Go puts itself when it is not on PATH.
const GO_INSTALLED: &str = "/usr/local/go/bin/go";
/// The program that all of Kubernetes is in.
const ALL: &str = "kube";
/// Where Kubernetes keeps its version, for the linker.
const VERSION_PACKAGE: &str = "k8s.io/component-base/version";

/// A Go that can build them.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    program: PathBuf,
    version: String,
}

// === impl Go ===

impl Go {
    /// The Go of this machine; an error says why it cannot be taken.
    pub(crate) fn find() -> Result<Self> {
        let installed = Path::new(GO_INSTALLED);
        let found = workspace::on_path("go").or_else(|| installed.is_file().then(|| installed.to_owned()));
        let program = found.with_context(|| format!("Go 1.{GO_MINOR_MIN} or newer is needed, and there is no go"))?;
        // Without this, an old Go would fetch a new one by itself.
        let mut asked = Command::new(&program);
        asked
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .current_dir("/");
        let version = process::output(&mut asked)?.trim().to_owned();
        match minor(&version) {
            Some(minor) if minor >= GO_MINOR_MIN => Ok(Self { program, version }),
            _ => bail!(
                "Go 1.{GO_MINOR_MIN} or newer is needed, and {} is {version}",
                program.display()
            ),
        }
    }

    /// As Go says it, for example `go1.26.8`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Builds a program of a module that `xtask/go` has as a tool, which is small: what is needed in between goes with the folder.
    pub(crate) fn build_tool(&self, module: &str, package: &str, output: &Path) -> Result<()> {
        let cache = output.with_extension("cache");
        fs::create_dir_all(&cache)?;
        self.compile(module, package, output, "-s -w", &cache)?;
        fs::remove_dir_all(&cache).with_context(|| format!("cannot remove {}", cache.display()))
    }

    fn build(&self, module: &str, output: &Path, linker: &str, cache: &Path) -> Result<()> {
        self.compile(module, ".", output, linker, cache)
    }

    fn compile(&self, module: &str, package: &str, output: &Path, linker: &str, cache: &Path) -> Result<()> {
        let mut go = Command::new(&self.program);
        go.current_dir(folder(module));
        go.args(["build", "-trimpath", "-ldflags", linker, "-o"])
            .arg(output)
            .arg(package);
        go.env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOCACHE", cache);
        // What a user has set for other work.
        go.env("GOFLAGS", "-mod=readonly").env("GOWORK", "off");
        process::output(&mut go).map(drop)
    }
}

/// The minor version of `go1.26.8`, `go1.26rc1` or `go1.27-devel_…`; of another major version, none.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Every file that what is built depends on.
pub(crate) fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in ["kubernetes", "coredns"] {
        let folder = folder(module);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    Ok(files)
}

fn folder(module: &str) -> PathBuf {
    workspace::root().join("xtask/go").join(module)
}

/// Builds all programs into a folder.
pub(crate) fn run(steps: &Steps, go: &Go, folder: &Path) -> Result<()> {
    steps.say(&format!(
        "no archive of Kubernetes {VERSION} is at hand: it is built once by {}; modules of about 500 MB are fetched first",
        go.version
    ));
    // Some gigabytes that nobody needs any more once the programs are there.
    let cache = folder.join("go-cache");
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    let linker = format!(
        "-s -w -X {VERSION_PACKAGE}.gitVersion=v{VERSION} -X {VERSION_PACKAGE}.gitMajor=1 -X {VERSION_PACKAGE}.gitMinor={minor}"
    );
    steps.run("building Kubernetes (some nine minutes of one core)", || {
        go.build("kubernetes", &folder.join(ALL), &linker, &cache)
    })?;
    steps.run("building CoreDNS (some two minutes of one core)", || {
        go.build("coredns", &folder.join("coredns"), "-s -w", &cache)
    })?;
    fs::remove_dir_all(&cache).with_context(|| format!("cannot remove {}", cache.display()))?;
    for program in PROGRAMS.iter().filter(|program| **program != "coredns") {
        symlink(ALL, folder.join(program)).with_context(|| format!("cannot link {program}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_by_their_minor_number() {
        for (version, expected) in [
            ("go1.26.8", Some(26)),
            ("go1.26rc1", Some(26)),
            ("go1.27-devel_0123", Some(27)),
            ("go1.9", Some(9)),
            ("go2.1", None),
            ("devel", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
    }

    #[test]
    fn the_modules_are_of_the_version_that_runs() {
        let module = fs::read_to_string(folder("kubernetes").join("go.mod")).unwrap();
        assert!(module.contains(&format!("k8s.io/kubernetes v{VERSION}\n")));
        assert_eq!(sources().unwrap().len(), 6);
    }
}
