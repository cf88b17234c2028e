//! Output of the mesh's processes: into one bounded file each, and prefixed to the terminal.
//!
//! A thread of its own does the writing, behind a bounded queue: a terminal that is stopped or a slow disk costs log lines
//! (counted and reported), never a process that hangs in a write.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use owo_colors::{AnsiColors, OwoColorize};

/// Lines waiting to be written.
const QUEUE: usize = 8_192;

/// A log file is set aside as `.1` when it has grown to this.
const FILE_BYTES: u64 = 8 << 20;

/// Colours of the prefixes, given out in turn.
const COLOURS: [AnsiColors; 6] = [
    AnsiColors::Cyan,
    AnsiColors::Green,
    AnsiColors::Yellow,
    AnsiColors::Blue,
    AnsiColors::Magenta,
    AnsiColors::BrightCyan,
];

/// Writes the output of all processes.
#[derive(Debug)]
pub(crate) struct Logs {
    queue: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    opened: usize,
    writer: Option<JoinHandle<()>>,
}

/// Takes the lines of one process; clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct LogChannel {
    process: usize,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether lines are also shown.
    streaming: AtomicBool,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Open(Box<Target>),
    Line { process: usize, line: String },
}

#[derive(Debug)]
struct Target {
    prefix: String,
    path: PathBuf,
    shown: bool,
    /// Absent when it could not be opened.
    file: Option<File>,
    written: u64,
}

// === impl Logs ===

impl Logs {
    /// Starts the writer. Nothing is shown until [`Logs::stream`].
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || write_all(&messages, &of_writer))
            .context("cannot start the log writer")?;
        Ok(Self {
            queue: Some(queue),
            shared,
            opened: 0,
            writer: Some(writer),
        })
    }

    /// A channel for a process. Its file starts empty; the one of the run before is kept as `.1`.
    pub(crate) fn open(&mut self, name: &str, path: &Path, shown: bool) -> anyhow::Result<LogChannel> {
        let queue = self.queue.clone().context("the log writer has ended")?;
        let process = self.opened;
        self.opened += 1;
        let target = Target {
            prefix: prefix(name, COLOURS[process % COLOURS.len()]),
            path: path.to_owned(),
            shown,
            file: Some(start_file(path).with_context(|| format!("cannot open {}", path.display()))?),
            written: 0,
        };
        // Blocks while the queue is full; happens only at start, when it is not.
        queue
            .send(Message::Open(Box::new(target)))
            .context("the log writer has ended")?;
        Ok(LogChannel {
            process,
            queue,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Shows lines from now on, or stops that.
    pub(crate) fn stream(&self, on: bool) {
        self.shared.streaming.store(on, Ordering::Relaxed);
    }

    /// Writes what waits and ends. Channels that still exist lose their lines from here on.
    pub(crate) fn finish(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // It panics nowhere; if it did, there is no log to report that to.
            let _ = writer.join();
        }
    }
}

// === impl LogChannel ===

impl LogChannel {
    /// Takes one line, without its end; drops it if the writer is behind.
    pub(crate) fn line(&self, line: String) {
        let message = Message::Line {
            process: self.process,
            line,
        };
        if let Err(TrySendError::Full(_)) = self.queue.try_send(message) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(messages: &Receiver<Message>, shared: &Shared) {
    let mut targets: Vec<Target> = Vec::new();
    while let Ok(message) = messages.recv() {
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            crate::output::say(&format!(
                "meshctl: {dropped} log lines were dropped because their writing is too slow"
            ));
        }
        match message {
            Message::Open(target) => targets.push(*target),
            Message::Line { process, line } => {
                let Some(target) = targets.get_mut(process) else {
                    continue;
                };
                if target.shown && shared.streaming.load(Ordering::Relaxed) {
                    crate::output::say(&format!("{}{line}", target.prefix));
                }
                target.write(&line);
            }
        }
    }
}

// === impl Target ===

impl Target {
    fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")) {
            crate::output::say(&format!("meshctl: cannot write {}: {error}", self.path.display()));
            self.file = None;
            return;
        }
        self.written += line.len() as u64 + 1;
        if self.written >= FILE_BYTES {
            self.file = start_file(&self.path).ok();
            self.written = 0;
        }
    }
}

/// Sets an existing file aside and opens a new one.
fn start_file(path: &Path) -> io::Result<File> {
    let mut old = path.as_os_str().to_owned();
    old.push(".1");
    match std::fs::rename(path, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create(path)
}

fn prefix(name: &str, colour: AnsiColors) -> String {
    format!("{} ", format!("{name:<22}|").color(colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_of_their_process() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a.log"), directory.path().join("b.log"));
        std::fs::write(&a, "from the run before\n").unwrap();
        let mut logs = Logs::start().unwrap();
        let to_a = logs.open("a", &a, false).unwrap();
        let to_b = logs.open("b", &b, false).unwrap();
        to_a.line("one".into());
        to_b.line("two".into());
        let again = to_a.clone();
        drop(to_a);
        again.line("three".into());
        drop((again, to_b));
        logs.finish();
        assert_eq!(std::fs::read_to_string(&a).unwrap(), "one\nthree\n");
        assert_eq!(std::fs::read_to_string(&b).unwrap(), "two\n");
        assert_eq!(
            std::fs::read_to_string(directory.path().join("a.log.1")).unwrap(),
            "from the run before\n"
        );
    }

    #[test]
    fn a_file_is_set_aside_when_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        let mut target = Target {
            prefix: String::new(),
            path: path.clone(),
            shown: false,
            file: Some(start_file(&path).unwrap()),
            written: 0,
        };
        let line = "x".repeat(1 << 20);
        for _ in 0..9 {
            target.write(&line);
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&directory.path().join("a.log.1")), 8 * ((1 << 20) + 1));
        assert_eq!(size(&path), (1 << 20) + 1);
    }
}
