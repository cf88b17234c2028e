//! Finds and ends every process of a local cluster, whoever started it and whatever crashed since.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::layout::{Layout, MARK, namespace_file};
use super::network;

/// How long the kernel may take to end them.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// All of the cluster, and whatever else is in its network namespaces.
    Cluster,
    /// One part, such as a node.
    Part(&'a str),
    /// One program of a part.
    Program {
        part: &'a str,
        /// As the kernel has it: of at most 15 bytes.
        name: &'a str,
    },
}

/// Ends them by force and waits until they are gone.
pub(crate) fn end(cluster: &Layout, of: Of<'_>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = find(cluster, of)?;
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {found:?} do not end");
        }
        for pid in found {
            kill(cluster, of, pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ids of the processes, in no order that matters.
pub(crate) fn find(cluster: &Layout, of: Of<'_>) -> Result<Vec<i32>> {
    let namespaces = inodes(cluster, of)?;
    let own = i32::try_from(std::process::id())?;
    let processes = fs::read_dir("/proc")?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    Ok(ids
        .filter(|pid| *pid != own && is_of(cluster, of, &namespaces, *pid))
        .collect())
}

fn kill(cluster: &Layout, of: Of<'_>, pid: i32) {
    let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return;
    };
    // The handle is of whoever has the id now; only then is it sure who that is.
    let namespaces = inodes(cluster, of).unwrap_or_default();
    if is_of(cluster, of, &namespaces, pid) {
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
}

fn is_of(cluster: &Layout, of: Of<'_>, namespaces: &BTreeSet<u64>, pid: i32) -> bool {
    // A process may end while it is looked at, and one that has ended shows nothing.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let has = |part: &str, whole: bool| has_mark(&environment, &format!("{MARK}={}", cluster.mark(part)), whole);
    match of {
        Of::Cluster => {
            let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
            has("", false) || namespace.is_ok_and(|file| namespaces.contains(&file.ino()))
        }
        Of::Part(part) => has(part, true),
        Of::Program { part, name } => {
            let own = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            own.trim_end() == name && has(part, true)
        }
    }
}

fn has_mark(environment: &[u8], mark: &str, whole: bool) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| {
        if whole {
            variable == mark.as_bytes()
        } else {
            variable.starts_with(mark.as_bytes())
        }
    })
}

/// The network namespaces whose processes count.
fn inodes(cluster: &Layout, of: Of<'_>) -> Result<BTreeSet<u64>> {
    if !matches!(of, Of::Cluster) {
        return Ok(BTreeSet::new());
    }
    let names = network::namespaces(cluster)?;
    let files = names.iter().filter_map(|name| fs::metadata(namespace_file(name)).ok());
    Ok(files.map(|file| file.ino()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_whole_variable() {
        let environment = b"A=1\0WEFT_CLUSTER_PART=weft/n12\0B=2\0";
        assert!(has_mark(environment, "WEFT_CLUSTER_PART=weft/", false));
        assert!(has_mark(environment, "WEFT_CLUSTER_PART=weft/n12", true));
        assert!(!has_mark(environment, "WEFT_CLUSTER_PART=weft/n1", true));
        assert!(!has_mark(environment, "WEFT_CLUSTER_PART=we/", false));
        assert!(!has_mark(
            b"X=WEFT_CLUSTER_PART=weft/n1\0",
            "WEFT_CLUSTER_PART=weft/",
            false
        ));
    }
}
