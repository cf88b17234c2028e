//! Builds the Kubernetes programs from Debian's source package, where no archive of them is at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::binaries::VERSION;
use super::packages;
use super::steps::Steps;
use crate::process;

/// The source package, as Debian bookworm has it.
const SOURCE: &str = "kubernetes=1.20.5+really1.20.2-1.1+deb12u1";
/// Where Debian's Go 1.19 is.
const GO: &str = "/usr/lib/go-1.19/bin";
/// Sources that apt knows.
const APT: &str = "/etc/apt";

/// A change of one file: what is there, and what takes its place.
type Change = (&'static str, &'static str, &'static str);
/// Where the changed files are.
const REFLECT: &str = "vendor/github.com/modern-go/reflect2";
/// Version 1.0.1 of reflect2 calls `reflect.mapiterinit` as it was before Go 1.18; since then the caller brings the iterator
/// (reflect2 1.0.2 does).
const CHANGES: &[Change] = &[
    (
        "unsafe_link.go",
        "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) *hiter",
        "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)",
    ),
    (
        "unsafe_link.go",
        "	// rest fields are ignored",
        "	t, h, buckets, bptr unsafe.Pointer
	overflow, oldoverflow *[]unsafe.Pointer
	startBucket uintptr
	offset uint8
	wrapped bool
	B, i uint8
	bucket, checkBucket uintptr",
    ),
    (
        "unsafe_map.go",
        "	return &UnsafeMapIterator{
		hiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),",
        "	var it hiter
	mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), &it)
	return &UnsafeMapIterator{
		hiter: &it,",
    ),
];

/// Fetches, builds and copies programs into `folder`; `work` keeps the sources for the next try if something fails.
pub(crate) fn run(steps: &Steps, work: &Path, folder: &Path, programs: &[&str]) -> Result<()> {
    steps.say(&format!(
        "building {} of Kubernetes {VERSION}: this takes up to 15 minutes, once",
        programs.join(", ")
    ));
    packages::install(
        steps,
        &[
            "golang-1.19-go",
            "rsync",
            "dpkg-dev",
            "make",
            "gcc",
            "libc6-dev",
            "git",
            "ca-certificates",
        ],
    )?;
    fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
    let tree = match source_tree(work)? {
        Some(tree) => tree,
        None => {
            steps.run("Kubernetes' sources", || fetch(work))?;
            source_tree(work)?.context("the source package has no kubernetes-* folder")?
        }
    };
    mend(&tree)?;
    steps.run("building Kubernetes", || build(work, &tree, programs))?;
    for program in programs {
        let built = tree.join("_output/bin").join(program);
        fs::copy(&built, folder.join(program)).with_context(|| format!("cannot copy {}", built.display()))?;
    }
    fs::remove_dir_all(work)?;
    Ok(())
}

fn source_tree(work: &Path) -> Result<Option<PathBuf>> {
    let folders = fs::read_dir(work)?.flatten().map(|entry| entry.path());
    Ok({ folders }.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_dir() && name.starts_with("kubernetes-")
    }))
}

/// Downloads and unpacks the source package with lists of our own, so that the machine's settings stay as they are.
fn fetch(work: &Path) -> Result<()> {
    let lists = work.join("lists");
    fs::create_dir_all(lists.join("partial"))?;
    let parts = work.join("sources.d");
    fs::create_dir_all(&parts)?;
    let mut found = false;
    for (name, text) in apt_sources()? {
        let text = source_entries(&name, &text);
        found |= text.contains("deb-src");
        fs::write(parts.join(name), text)?;
    }
    if !found {
        bail!("{APT} names no Debian archive to fetch {SOURCE} from");
    }
    let options = [
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", parts.display()),
        format!("Dir::State::lists={}", lists.display()),
        // The unprivileged user that apt downloads as cannot write here.
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .arg("-qq")
            .current_dir(work)
            .env("DEBIAN_FRONTEND", "noninteractive");
        for option in &options {
            command.args(["-o", option]);
        }
        process::output(command.args(arguments)).map(drop)
    };
    apt_get(&["update"])?;
    apt_get(&["source", SOURCE]).context("only Debian bookworm has this source package")
}

/// Name and text of every file in which apt looks for archives.
fn apt_sources() -> Result<Vec<(String, String)>> {
    let mut files = vec![Path::new(APT).join("sources.list")];
    let parts = fs::read_dir(Path::new(APT).join("sources.list.d"));
    files.extend(parts.into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut texts = Vec::new();
    for file in files.into_iter().filter(|file| file.is_file()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // apt's other form of the same name would be skipped among parts.
        let name = if name == "sources.list" {
            "main.list".to_owned()
        } else {
            name
        };
        texts.push((name, text));
    }
    Ok(texts)
}

/// The same archives, for source packages instead of binary ones; both of apt's forms.
fn source_entries(name: &str, text: &str) -> String {
    let line = |line: &str| {
        if name.ends_with(".sources") {
            match line.split_once(':') {
                Some((key, _)) if key.eq_ignore_ascii_case("types") => "Types: deb-src".to_owned(),
                _ => line.to_owned(),
            }
        } else {
            match line.strip_prefix("deb ") {
                Some(rest) => format!("deb-src {rest}"),
                None => String::new(),
            }
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Makes [`CHANGES`], unless an earlier try has.
fn mend(tree: &Path) -> Result<()> {
    for (file, old, new) in CHANGES {
        let path = tree.join(REFLECT).join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if text.contains(new) {
            continue;
        }
        if !text.contains(old) {
            bail!("{} is not the file that is known: it lacks {old:?}", path.display());
        }
        fs::write(&path, text.replacen(old, new, 1)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn build(work: &Path, tree: &Path, programs: &[&str]) -> Result<()> {
    let version = work.join("version");
    fs::write(
        &version,
        format!(
            "KUBE_GIT_COMMIT='debian'\nKUBE_GIT_TREE_STATE='clean'\nKUBE_GIT_VERSION='v{VERSION}'\nKUBE_GIT_MAJOR='1'\nKUBE_GIT_MINOR='20'\n"
        ),
    )?;
    let what: Vec<String> = programs.iter().map(|program| format!("cmd/{program}")).collect();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut make = Command::new("make");
    make.current_dir(tree)
        .arg("all")
        .arg(format!("WHAT={}", what.join(" ")));
    make.env("PATH", format!("{GO}:{path}"));
    make.env("GOFLAGS", "-mod=vendor").env("KUBE_GIT_VERSION_FILE", version);
    make.env("GOCACHE", work.join("go-cache"));
    process::output(&mut make).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_asked_for_sources() {
        assert_eq!(
            source_entries(
                "main.list",
                "# a\ndeb [x=y] uri bookworm main\ndeb-src uri bookworm main\n"
            ),
            "\ndeb-src [x=y] uri bookworm main\n\n"
        );
        assert_eq!(
            source_entries("debian.sources", "Types: deb\nURIs: uri\nSuites: bookworm\n"),
            "Types: deb-src\nURIs: uri\nSuites: bookworm\n"
        );
    }
}
