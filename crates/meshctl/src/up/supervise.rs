//! Keeps one process running: starts it, takes its output, says when it ends, starts it again after a pause, stops it.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_base::shutdown::Shutdown;

use crate::mesh::process::ProcessId;
use crate::up::lifeline;
use crate::up::logs::LogChannel;
use crate::up::spec::ProcessSpec;

/// First pause before a process is started again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// Longest pause before a process is started again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A process that ran this long begins again with the first pause.
const STEADY: Duration = Duration::from_secs(30);

/// How many last lines are kept for the report.
const LAST_LINES: usize = 20;

/// Longest line; longer ones are cut into several.
const LINE_BYTES: usize = 16 << 10;

/// How long output is still read after the process has ended; its children may hold the pipe open.
const OUTPUT_TAIL: Duration = Duration::from_millis(500);

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum Event {
    Started {
        /// Name of the process.
        name: String,
        /// Which process it is.
        id: ProcessId,
    },
    /// It ended, or could not be started.
    Exited {
        /// Name of the process.
        name: String,
        /// How, for example `exit status: 1`.
        how: String,
        /// The last lines that it wrote.
        last_lines: Vec<String>,
        /// When it will be started again.
        again_in: Option<Duration>,
    },
}

/// How a process is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Whether it is started again when it ends.
    pub restart: bool,
    /// How long it may take to end when asked to; then it is killed.
    pub grace: Duration,
    /// Whether the process dies with this one, however this one ends. Needs this program to be meshctl itself.
    pub lifeline: bool,
}

/// A process that is kept running.
#[derive(Debug)]
pub(crate) struct Supervised {
    stop: CancellationToken,
    task: JoinHandle<Option<()>>,
}

struct Keeper {
    spec: ProcessSpec,
    policy: Policy,
    log: LogChannel,
    events: mpsc::Sender<Event>,
    last: Arc<Mutex<VecDeque<String>>>,
}

/// How one life of a process ended.
enum End {
    Exited(String),
    Stopped,
}

// === impl Supervised ===

impl Supervised {
    /// Starts the process and keeps it running.
    pub(crate) fn start(
        spec: ProcessSpec,
        policy: Policy,
        log: LogChannel,
        events: mpsc::Sender<Event>,
        shutdown: &Shutdown,
    ) -> Self {
        let stop = CancellationToken::new();
        let keeper = Keeper {
            spec,
            policy,
            log,
            events,
            last: Arc::default(),
        };
        let task = shutdown.spawn(keeper.keep(stop.clone()));
        Self { stop, task }
    }

    /// Asks the process to end. Does not wait.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the process has ended after [`Supervised::stop`].
    pub(crate) async fn ended(self) {
        // The task neither panics nor is aborted before its end; if it were, the process would be gone as well.
        let _ = self.task.await;
    }
}

// === impl Keeper ===

impl Keeper {
    async fn keep(self, stop: CancellationToken) {
        let mut pause = PAUSE_MIN;
        loop {
            let started = Instant::now();
            let how = match self.live(&stop).await {
                End::Exited(how) => how,
                End::Stopped => return,
            };
            if started.elapsed() >= STEADY {
                pause = PAUSE_MIN;
            }
            let last_lines = self.last.lock().drain(..).collect();
            self.tell(Event::Exited {
                name: self.spec.name.clone(),
                how,
                last_lines,
                again_in: self.policy.restart.then_some(pause),
            })
            .await;
            if !self.policy.restart {
                stop.cancelled().await;
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One life of the process, from start to end.
    async fn live(&self, stop: &CancellationToken) -> End {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(error) => return End::Exited(format!("cannot start {}: {error}", self.spec.program.display())),
        };
        let Some(pid) = child.id() else {
            return End::Exited("ended at once".to_owned());
        };
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(pump(stdout, self.log.clone(), Arc::clone(&self.last)));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(pump(stderr, self.log.clone(), Arc::clone(&self.last)));
        }
        self.tell(Event::Started {
            name: self.spec.name.clone(),
            id: ProcessId::of(pid),
        })
        .await;
        let end = tokio::select! {
            status = child.wait() => End::Exited(describe(status)),
            () = stop.cancelled() => {
                signal_group(pid, Signal::TERM);
                if tokio::time::timeout(self.policy.grace, child.wait()).await.is_err() {
                    self.log.line(format!("meshctl: killed, did not end within {:?}", self.policy.grace));
                    signal_group(pid, Signal::KILL);
                    // A killed process ends; an error means that it has been waited for.
                    let _ = child.wait().await;
                }
                End::Stopped
            }
        };
        // What it started and left behind goes as well.
        signal_group(pid, Signal::KILL);
        let drained = async { while output.join_next().await.is_some() {} };
        // Dropping the set ends the reading.
        let _ = tokio::time::timeout(OUTPUT_TAIL, drained).await;
        end
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = if self.policy.lifeline {
            Command::from(lifeline::command(&self.spec.program, &self.spec.args))
        } else {
            let mut command = Command::new(&self.spec.program);
            command.args(&self.spec.args);
            command
        };
        // Variables meant for meshctl would otherwise be taken as flags by the mesh's own programs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"WEFT_")) {
            command.env_remove(name);
        }
        command
            .envs(&self.spec.env)
            .current_dir(&self.spec.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C on the terminal reaches meshctl alone, which then ends things in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn tell(&self, event: Event) {
        // The receiver goes when the mesh ends; nobody needs the event then.
        let _ = self.events.send(event).await;
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // No such group: everything in it has ended.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// Cuts output into lines for the log and keeps the last ones.
async fn pump(mut output: impl AsyncRead + Unpin, log: LogChannel, last: Arc<Mutex<VecDeque<String>>>) {
    let mut pending = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    let take = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
        let mut last = last.lock();
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
        log.line(line);
    };
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        pending.extend_from_slice(&chunk[..read]);
        let mut from = 0;
        while let Some(length) = pending[from..].iter().position(|byte| *byte == b'\n') {
            take(&pending[from..from + length]);
            from += length + 1;
        }
        pending.drain(..from);
        if pending.len() >= LINE_BYTES {
            take(&pending);
            pending.clear();
        }
    }
    if !pending.is_empty() {
        take(&pending);
    }
}

#[cfg(test)]
mod tests;
