//! The lock file of the fuzzer's workspace, which nothing else builds: it knows the crates of this one, in the same versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use super::source::Finding;

/// The lock files: this workspace's, and the one that follows it.
const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];

/// What a lock file says of one package.
#[derive(Debug, Default)]
struct Locked {
    versions: BTreeSet<String>,
    /// Names of what it needs; of crates without a source, which are ours.
    needs: BTreeSet<String>,
    is_ours: bool,
}

type Lock = BTreeMap<String, Locked>;

pub(super) fn check(root: &Path, manifests: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<Finding>> {
    let [own, other] = LOCKS.map(|path| std::fs::read_to_string(root.join(path)).context(path));
    Ok(differences(&read(&own?), &read(&other?), manifests)
        .into_iter()
        .map(|message| Finding {
            path: LOCKS[1].to_owned(),
            line: 0,
            message: format!("{message}: run cargo generate-lockfile or cargo update there, then look at what changed"),
        })
        .collect())
}

/// Where the other lock file does not fit this one, or what manifests ask for (names of normal dependencies by crate).
fn differences(own: &Lock, other: &Lock, manifests: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, package) in other {
        let Some(here) = own.get(name) else { continue };
        for version in package.versions.difference(&here.versions) {
            let expected: Vec<&str> = here.versions.iter().map(String::as_str).collect();
            found.push(format!("has {name} {version}, Cargo.lock {}", expected.join(", ")));
        }
        let asked = manifests.get(name).filter(|_| package.is_ours);
        for missing in asked
            .into_iter()
            .flatten()
            .filter(|needed| !package.needs.contains(*needed))
        {
            found.push(format!("does not know that {name} needs {missing}"));
        }
    }
    found
}

/// The packages of a lock file, which cargo writes in one form.
fn read(text: &str) -> Lock {
    let mut lock = Lock::new();
    for block in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let (Some(name), Some(version)) = (value("name"), value("version")) else {
            continue;
        };
        let package = lock.entry(name.to_owned()).or_default();
        package.versions.insert(version.to_owned());
        package.is_ours |= value("source").is_none();
        let needs = block.split_once("dependencies = [").map_or("", |(_, rest)| rest);
        let needs = needs.split(']').next().unwrap_or_default().split(',');
        // One of several versions is named with it.
        let names = needs.filter_map(|entry| entry.trim().trim_matches('"').split(' ').next());
        package
            .needs
            .extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    lock
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n \"b 2.0.0\",\n]\n\n\
                       [[package]]\nname = \"a\"\nversion = \"1.0.1\"\nsource = \"registry\"\n";

    #[test]
    fn a_lock_file_that_was_left_behind_is_found() {
        #[track_caller]
        fn check(other: &str, needs: &[&str], expected: &[&str]) {
            let needs = needs.iter().map(|name| (*name).to_owned()).collect();
            let manifests = BTreeMap::from([("ours".to_owned(), needs)]);
            assert_eq!(differences(&read(OWN), &read(other), &manifests), expected);
        }
        check(OWN, &["a", "b"], &[]);
        check(OWN, &["a", "c"], &["does not know that ours needs c"]);
        check(
            &OWN.replace("1.0.1", "1.0.0"),
            &["a"],
            &["has a 1.0.0, Cargo.lock 1.0.1"],
        );
        check(
            &OWN.replace("0.1.0", "0.2.0"),
            &[],
            &["has ours 0.2.0, Cargo.lock 0.1.0"],
        );
        check("", &["a"], &[]);
    }
}
