//! Access logs: lines made on the worker, written by one thread.
//!
//! Lines wait in a bounded queue; when it is full they are dropped and counted, so that a slow disk never slows traffic.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde_json::Value;

use super::als::{Exporter, Exporters, LogKind};
use super::log_filter;
use crate::model::access_log::{AccessLog, Format, FormatPart, JsonValue, LogFormat, LogSink, Operator};
use crate::random::Random;
use crate::stream_info::StreamInfo;
use crate::stream_info::operators::{Headers, noted, write_format, write_operator};

/// Batches of lines that may wait for the writer.
const QUEUE_MAX: usize = 4096;

/// Longest time that a line waits before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes gathered on a worker before they are handed to the writer.
const HAND_OVER_BYTES: usize = 16 << 10;

/// Bytes gathered per file before they are written.
const FLUSH_BYTES: usize = 64 << 10;

/// An access log of a chain, ready to write.
#[derive(Debug)]
pub struct CompiledLog {
    log: AccessLog,
    destination: Destination,
}

/// Where a log goes.
#[derive(Debug)]
enum Destination {
    Lines(Target),
    Service(Exporter),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    File(Arc<Path>),
    Stdout,
    Stderr,
}

/// An access log that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Its file cannot be opened.
    #[error("cannot open {path} for the access log: {reason}")]
    File {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Where workers hand lines to; clones share one writer.
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Lines of one worker that wait to be handed over together: waking the writer costs more than writing a line.
#[derive(Debug)]
pub struct LineBuffers {
    writer: LogWriter,
    waiting: RefCell<Vec<(Target, String)>>,
}

#[derive(Debug)]
enum Message {
    Lines(Target, String),
    Flush(SyncSender<()>),
}

// === impl LogWriter ===

impl LogWriter {
    /// Starts the writer thread; it ends when the last handle is dropped.
    pub fn start() -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&lines))?;
        Ok(Self {
            queue,
            dropped: Arc::default(),
        })
    }

    /// Lines that were dropped because the writer was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over before is written.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            // A writer that is gone has nothing left to write.
            let _ = wait.recv();
        }
    }

    fn lines(&self, target: &Target, lines: String) {
        let message = Message::Lines(target.clone(), lines);
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = self.queue.try_send(message)
            && let Message::Lines(_, lines) = message
        {
            let count = lines.bytes().filter(|byte| *byte == b'\n').count();
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

// === impl LineBuffers ===

impl LineBuffers {
    /// Buffers in front of a writer.
    pub fn new(writer: LogWriter) -> Self {
        Self {
            writer,
            waiting: RefCell::default(),
        }
    }

    /// Adds a line that `write` writes.
    fn add(&self, target: &Target, write: impl FnOnce(&mut String)) {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|(known, _)| known == target);
        let at = at.unwrap_or_else(|| {
            waiting.push((target.clone(), String::with_capacity(HAND_OVER_BYTES + 1024)));
            waiting.len() - 1
        });
        let lines = &mut waiting[at].1;
        write(lines);
        if lines.len() >= HAND_OVER_BYTES {
            let next = String::with_capacity(lines.capacity());
            self.writer.lines(target, std::mem::replace(lines, next));
        }
    }

    /// Hands over what waits.
    pub fn hand_over(&self) {
        for (target, lines) in self
            .waiting
            .borrow_mut()
            .drain(..)
            .filter(|(_, lines)| !lines.is_empty())
        {
            self.writer.lines(&target, lines);
        }
    }
}

impl Drop for LineBuffers {
    fn drop(&mut self) {
        self.hand_over();
    }
}

// === impl CompiledLog ===

impl CompiledLog {
    /// Checks that the log can be written.
    pub fn new(log: &AccessLog, exporters: &Exporters) -> Result<Self, LogError> {
        let target = match &log.sink {
            LogSink::File { path, .. } if path == Path::new("/dev/stdout") => Target::Stdout,
            LogSink::File { path, .. } if path == Path::new("/dev/stderr") => Target::Stderr,
            LogSink::File { path, .. } => {
                open(path).map_err(|error| LogError::File {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
                Target::File(Arc::from(path.as_path()))
            }
            LogSink::Stream { stderr: true, .. } => Target::Stderr,
            LogSink::Stream { stderr: false, .. } => Target::Stdout,
            LogSink::Grpc {
                cluster, log_name, tcp, ..
            } => {
                let kind = if *tcp { LogKind::Tcp } else { LogKind::Http };
                return Ok(Self {
                    log: log.clone(),
                    destination: Destination::Service(exporters.get(cluster, log_name, kind)),
                });
            }
        };
        Ok(Self {
            log: log.clone(),
            destination: Destination::Lines(target),
        })
    }

    /// Writes the line of a finished request, unless the filter leaves it out.
    pub fn write(&self, info: &StreamInfo, lines: &LineBuffers, random: &Random) {
        if let Some(filter) = &self.log.filter
            && !log_filter::passes(filter, info, random.next())
        {
            return;
        }
        match (&self.destination, &self.log.sink) {
            (Destination::Service(exporter), _) => exporter.write(info),
            (Destination::Lines(target), LogSink::File { format, .. } | LogSink::Stream { format, .. }) => {
                lines.add(target, |out| write_line(format, info, out));
            }
            (Destination::Lines(_), LogSink::Grpc { .. }) => {}
        }
    }
}

/// Writes the line of a request in a format.
pub(crate) fn write_line(format: &LogFormat, info: &StreamInfo, out: &mut String) {
    match format {
        LogFormat::Text(format) => write_format(format, info, Headers::Kept, out),
        LogFormat::Json(template) => {
            out.push_str(&json(template, info).unwrap_or(Value::Null).to_string());
            out.push('\n');
        }
    }
}

/// A template filled in; `None` where an omitted value leaves nothing.
fn json(template: &JsonValue, info: &StreamInfo) -> Option<Value> {
    Some(match template {
        JsonValue::Object(fields) => {
            let fields = fields
                .iter()
                .filter_map(|(key, value)| Some((key.to_string(), json(value, info)?)));
            Value::Object(fields.collect())
        }
        JsonValue::List(values) => Value::Array(values.iter().filter_map(|value| json(value, info)).collect()),
        JsonValue::Number(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        JsonValue::Bool(value) => Value::Bool(*value),
        JsonValue::Null => Value::Null,
        JsonValue::Text(format) => return json_text(format, info),
    })
}

/// A single operator keeps its type and is null without a value; anything else is a string.
fn json_text(format: &Format, info: &StreamInfo) -> Option<Value> {
    let mut out = String::new();
    if let [
        FormatPart::Operator {
            operator,
            length_max: None,
        },
    ] = format.parts.as_slice()
    {
        if let Some(value) = noted(operator, info) {
            return Some(value);
        }
        if !write_operator(operator, info, Headers::Kept, &mut out) {
            return (!format.omit_empty).then_some(Value::Null);
        }
        if is_number(operator)
            && let Ok(number) = out.parse::<u64>()
        {
            return Some(Value::from(number));
        }
        return Some(Value::String(out));
    }
    write_format(format, info, Headers::Kept, &mut out);
    Some(Value::String(out))
}

fn is_number(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::BytesReceived
            | Operator::BytesSent
            | Operator::ResponseCode
            | Operator::Duration
            | Operator::RequestDuration
            | Operator::ResponseDuration
            | Operator::ResponseTxDuration
            | Operator::UpstreamAttemptCount
            | Operator::ConnectionId
            | Operator::GrpcStatus { number: true }
    )
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The writer thread: gathers lines per target and writes them when there are enough, or some time has passed.
fn write_all(lines: &Receiver<Message>) {
    let mut buffers: HashMap<Target, Vec<u8>> = HashMap::new();
    loop {
        match lines.recv_timeout(FLUSH_INTERVAL) {
            Ok(Message::Lines(target, lines)) => {
                let buffer = buffers.entry(target.clone()).or_default();
                buffer.extend_from_slice(lines.as_bytes());
                if buffer.len() >= FLUSH_BYTES {
                    write_buffer(&target, buffer);
                }
            }
            Ok(Message::Flush(done)) => {
                buffers
                    .iter_mut()
                    .for_each(|(target, buffer)| write_buffer(target, buffer));
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {
                buffers
                    .iter_mut()
                    .for_each(|(target, buffer)| write_buffer(target, buffer));
            }
            Err(RecvTimeoutError::Disconnected) => {
                buffers
                    .iter_mut()
                    .for_each(|(target, buffer)| write_buffer(target, buffer));
                return;
            }
        }
    }
}

/// Opens the file for each write, so that a rotated file is let go of.
fn write_buffer(target: &Target, buffer: &mut Vec<u8>) {
    if buffer.is_empty() {
        return;
    }
    let written = match target {
        Target::File(path) => open(path).and_then(|mut file| file.write_all(buffer)),
        Target::Stdout => std::io::stdout().lock().write_all(buffer),
        Target::Stderr => std::io::stderr().lock().write_all(buffer),
    };
    if let Err(error) = written {
        tracing::warn!(?target, %error, "access log lines are lost");
    }
    buffer.clear();
}
