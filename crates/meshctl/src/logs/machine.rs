//! Logs of a mesh of this machine: files of the state directory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::LogsArguments;
use super::print;
use crate::exit::Failure;
use crate::mesh::Record;
use crate::mesh::record::{Kind, ProcessRecord};

/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_millis(200);

/// Longest line that is kept while its end is not written; what is longer is printed in pieces.
const LINE_BYTES: usize = 64 << 10;

pub(super) async fn run(record: &Record, arguments: &LogsArguments) -> anyhow::Result<()> {
    if arguments.container.is_some() || arguments.previous {
        let message = "--container and --previous are for clusters; processes of this machine have names such as caller-0/sidecar";
        return Err(Failure::usage(message).into());
    }
    let processes = select(record, &arguments.names, arguments.namespace.as_deref())?;
    let several = processes.len() > 1;
    let mut tails: Vec<Tail> = processes.iter().map(|process| Tail::new(&process.log)).collect();
    let show = |index: usize, line: &str| print(several.then(|| processes[index].name.as_str()), line);
    for (index, tail) in tails.iter_mut().enumerate() {
        let mut lines = tail.read()?;
        if !arguments.follow {
            lines.extend(tail.rest());
        }
        let shown = arguments
            .tail
            .map_or(lines.len(), |tail| tail as usize)
            .min(lines.len());
        for line in &lines[lines.len() - shown..] {
            show(index, line)?;
        }
    }
    if !arguments.follow {
        return Ok(());
    }
    loop {
        // One more look after the end, for the last words.
        let runs = record.supervisor.is_running();
        for (index, tail) in tails.iter_mut().enumerate() {
            for line in tail.read()? {
                show(index, &line)?;
            }
        }
        if !runs {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The processes that are meant: the control plane, or those of the names.
fn select<'a>(record: &'a Record, names: &[String], namespace: Option<&str>) -> anyhow::Result<Vec<&'a ProcessRecord>> {
    let mut found: Vec<&ProcessRecord> = Vec::new();
    if names.is_empty() {
        let control = |process: &&ProcessRecord| matches!(process.kind, Kind::Citadel | Kind::Pilot | Kind::Telemetry);
        found.extend(record.processes.iter().filter(control));
    }
    for name in names {
        let full = namespace.map_or_else(|| name.clone(), |namespace| format!("{name}.{namespace}"));
        let mut owners: Vec<&str> = record
            .workloads_named(&full)
            .iter()
            .map(|replica| replica.name.as_str())
            .collect();
        owners.push(name);
        let of_name = |process: &&ProcessRecord| {
            owners.contains(&process.name.as_str())
                || process
                    .name
                    .split_once('/')
                    .is_some_and(|(owner, _)| owners.contains(&owner))
        };
        let before = found.len();
        found.extend(record.processes.iter().filter(of_name));
        if found.len() == before {
            let all: Vec<&str> = record.processes.iter().map(|process| process.name.as_str()).collect();
            bail!("mesh {} has no process {full}; it has {}", record.name, all.join(", "));
        }
    }
    Ok(found)
}

/// A log that grows, and that is set aside for a new one when it is full.
struct Tail {
    path: PathBuf,
    file: Option<(File, u64)>,
    /// What is read of a line whose end is not there yet.
    rest: Vec<u8>,
}

// === impl Tail ===

impl Tail {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
        }
    }

    /// The whole lines since the last call. A file that is not there yet has none.
    fn read(&mut self) -> anyhow::Result<Vec<String>> {
        let mut bytes = std::mem::take(&mut self.rest);
        if let Some((file, _)) = &mut self.file {
            file.read_to_end(&mut bytes).context("cannot read a log")?;
        }
        let there = std::fs::metadata(&self.path).map(|meta| meta.ino()).ok();
        let is_open = self.file.as_ref().map(|(_, inode)| *inode);
        if let Some(inode) = there.filter(|_| there != is_open) {
            let mut file = File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
            file.read_to_end(&mut bytes).context("cannot read a log")?;
            self.file = Some((file, inode));
        } else if let Some((file, _)) = &mut self.file
            && file.metadata()?.len() < file.stream_position()?
        {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes).context("cannot read a log")?;
        }
        let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if bytes.len() >= LINE_BYTES => bytes.len(),
            None => 0,
        };
        self.rest = bytes.split_off(end);
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// A last line without an end.
    fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn processes_are_found_by_workload_replica_and_name() {
        let record: Record = serde_json::from_str(include_str!("../../tests/data/mesh.json")).unwrap();
        #[track_caller]
        fn check(record: &Record, names: &[&str], namespace: Option<&str>, expected: &[&str]) {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = select(record, &names, namespace).unwrap();
            let found: Vec<&str> = found.iter().map(|process| process.name.as_str()).collect();
            assert_eq!(found, expected, "{names:?}");
        }
        check(&record, &[], None, &["citadel"]);
        check(&record, &["citadel", "ingress"], None, &["citadel", "ingress"]);
        check(&record, &["caller"], None, &["caller-0", "caller-0/sidecar"]);
        check(&record, &["caller"], Some("default"), &["caller-0", "caller-0/sidecar"]);
        check(&record, &["caller-0/sidecar"], None, &["caller-0/sidecar"]);
        let error = select(&record, &["nobody".to_owned()], None).unwrap_err().to_string();
        assert!(error.contains("it has citadel"), "{error}");
    }

    #[test]
    fn a_log_is_followed_into_the_next_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut tail = Tail::new(&path);
        assert!(tail.read().unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.read().unwrap(), ["one"]);
        file.write_all(b"o\nthree\n").unwrap();
        std::fs::rename(&path, directory.path().join("a.log.1")).unwrap();
        std::fs::write(&path, "four\nfi").unwrap();
        assert_eq!(tail.read().unwrap(), ["two", "three", "four"]);
        assert_eq!(tail.rest().as_deref(), Some("fi"));
        std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::write(&path, "six\n").unwrap();
        assert_eq!(tail.read().unwrap(), ["six"]);
    }
}
