//! `meshctl up --detach`: starts the same command in the background and follows it until the mesh is ready.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use super::UpArguments;
use crate::exit::{Exit, Failure};
use crate::mesh::record::Phase;
use crate::mesh::{Record, StateDir};
use crate::output;
use crate::up::outline;

/// Time between looks at the background process.
const LOOK: Duration = Duration::from_millis(100);

/// Longer than the background process itself waits for the mesh, and then cleans up.
const EXTRA: Duration = Duration::from_secs(60);

/// Starts the mesh in the background, shows its progress, and returns when it is ready.
pub(crate) async fn run(arguments: &UpArguments, state: &StateDir) -> anyhow::Result<Exit> {
    // Found out here as well, so that the log of the mesh that runs is not touched.
    drop(state.acquire()?);
    std::fs::create_dir_all(state.logs()).with_context(|| format!("cannot make {}", state.logs().display()))?;
    let path = state.logs().join("meshctl.log");
    let log = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("meshctl")
        .args(background_arguments(arguments)?)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start meshctl in the background")?;
    let follow = follow(&mut child, state, &path);
    match tokio::time::timeout(arguments.timeout + EXTRA, follow).await {
        Ok(record) => {
            let record = record?;
            let end = format!("meshctl down {}", record.name);
            output::print(arguments.output.output, &record, |record| {
                outline::summary(record, &end)
            })?;
            Ok(Exit::Ok)
        }
        Err(_) => Err(Failure::timed_out(format!(
            "the background process does not answer; see {}",
            path.display()
        ))
        .into()),
    }
}

/// Shows what the process says until its mesh is ready. Its end before that is an error with its own exit code.
async fn follow(child: &mut Child, state: &StateDir, log: &Path) -> anyhow::Result<Record> {
    let mut tail = Tail::open(log)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    loop {
        let ended = tokio::time::timeout(LOOK, child.wait()).await;
        tail.show()?;
        if let Ok(status) = ended {
            let message = format!(
                "the mesh did not start; all of its output is in {}",
                state.logs().display()
            );
            match status?.code() {
                Some(2) => return Err(Failure::timed_out(message).into()),
                Some(65) => return Err(Failure::bad_data(message).into()),
                _ => bail!(message),
            }
        }
        let record = state.record().ok().flatten();
        let ready = |record: &Record| record.phase == Phase::Ready && Some(record.supervisor.pid) == pid;
        if let Some(record) = record.filter(ready) {
            tail.show()?;
            return Ok(record);
        }
    }
}

/// The command line of the background process: absolute paths, because it keeps them for longer.
fn background_arguments(arguments: &UpArguments) -> anyhow::Result<Vec<String>> {
    let absolute = |path: &PathBuf| anyhow::Ok(std::path::absolute(path)?.to_string_lossy().into_owned());
    let mut words = vec![
        "up".to_owned(),
        "--background".to_owned(),
        "--file".to_owned(),
        absolute(&arguments.file)?,
    ];
    let paths = [
        ("--envoy", &arguments.envoy),
        ("--state-dir", &arguments.state.state_dir),
        ("--bin-dir", &arguments.bin_dir),
    ];
    for (flag, path) in paths {
        if let Some(path) = path {
            words.extend([flag.to_owned(), absolute(path)?]);
        }
    }
    if arguments.no_restart {
        words.push("--no-restart".to_owned());
    }
    words.extend(["--timeout".to_owned(), format!("{}ms", arguments.timeout.as_millis())]);
    words.extend(["--log-level".to_owned(), arguments.log_level.clone()]);
    Ok(words)
}

/// What is added to a file.
struct Tail {
    file: File,
    read: u64,
}

// === impl Tail ===

impl Tail {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, read: 0 })
    }

    /// Shows the new whole lines.
    fn show(&mut self) -> anyhow::Result<()> {
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        self.file.read_to_end(&mut text)?;
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        self.read += end as u64 + 1;
        output::say(&String::from_utf8_lossy(&text[..end]));
        Ok(())
    }
}
