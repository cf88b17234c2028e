//! A cgroup for each node. Kubelets of one machine see one tree and end pods in it that they do not know, so each gets its own
//! part. Version 1 (one tree for each controller) and version 2 (one tree) are both handled.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::layout::{Layout, Node};

const ROOT: &str = "/sys/fs/cgroup";
/// What a node's pods together weigh beside one busy thread of this machine: a node of its own would not share its cores with builds.
/// Version 1 counts from 1024, version 2 from 100.
const WEIGHTS: [(&str, &str); 2] = [("cpu.shares", "4096"), ("cpu.weight", "400")];
/// How long the kernel may take to see that a cgroup's last process has ended.
const EMPTY_LIMIT: Duration = Duration::from_secs(10);

/// Makes a node's cgroup in every tree.
pub(crate) fn create(node: &Node) -> Result<()> {
    for tree in trees()? {
        let cgroup = tree.join(&node.namespace);
        fs::create_dir_all(&cgroup).with_context(|| format!("cannot create {}", cgroup.display()))?;
        // A new cgroup of version 1 may run nowhere until it is told where.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if tree.join(file).exists() {
                let allowed = fs::read_to_string(tree.join(file))?;
                fs::write(cgroup.join(file), allowed.trim())?;
            }
        }
        if tree == Path::new(ROOT) {
            enable_controllers(&tree, &cgroup)?;
        }
        for (file, weight) in WEIGHTS {
            if cgroup.join(file).exists() {
                fs::write(cgroup.join(file), weight)?;
            }
        }
    }
    Ok(())
}

/// Removes a node's cgroup with those of its pods from every tree, once its processes have ended.
pub(crate) fn delete(node: &Node) -> Result<()> {
    trees()?
        .iter()
        .try_for_each(|tree| delete_one(&tree.join(&node.namespace)))
}

/// Removes every cgroup of the cluster.
pub(crate) fn delete_all(cluster: &Layout) -> Result<()> {
    of_cluster(cluster)?.iter().try_for_each(|cgroup| delete_one(cgroup))
}

fn delete_one(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + EMPTY_LIMIT;
    while let Err(error) = remove(cgroup) {
        if Instant::now() > deadline {
            bail!("cannot remove {}: {error}", cgroup.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The cluster's cgroups that exist, in every tree.
pub(crate) fn of_cluster(cluster: &Layout) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for tree in trees()? {
        let entries = fs::read_dir(&tree).with_context(|| format!("cannot read {}", tree.display()))?;
        let own = entries
            .flatten()
            .filter(|entry| cluster.owns(&entry.file_name().to_string_lossy()));
        found.extend(own.map(|entry| entry.path()));
    }
    Ok(found)
}

/// Version 2: the root itself. Version 1: each folder below it, links between them aside.
fn trees() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let entries = fs::read_dir(root).with_context(|| format!("cannot read {ROOT}: are cgroups mounted?"))?;
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(folders.map(|entry| entry.path()).collect())
}

fn enable_controllers(root: &Path, cgroup: &Path) -> Result<()> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
    let enable: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    for parent in [root, cgroup] {
        fs::write(parent.join("cgroup.subtree_control"), enable.join(" "))
            .with_context(|| format!("cannot enable controllers below {}", parent.display()))?;
    }
    Ok(())
}

/// Deepest first; the files in a cgroup go with it.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
