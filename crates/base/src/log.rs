//! Logging set-up of a process: text or JSON lines on stderr, level changeable while it runs.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One human-readable line per event; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// How a program logs, as flags that all programs have.
#[derive(Args, Clone, Debug)]
pub struct LogFlags {
    /// Log level, in RUST_LOG syntax.
    #[arg(
        long = "log-level",
        value_name = "LOG_LEVEL",
        env = "WEFT_LOG_LEVEL",
        default_value = "info",
        global = true
    )]
    pub level: String,
    /// Log lines as text or json.
    #[arg(
        long = "log-format",
        value_name = "LOG_FORMAT",
        env = "WEFT_LOG_FORMAT",
        default_value = "text",
        global = true
    )]
    pub format: LogFormat,
}

/// Changes the level of a running process.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    levels: Arc<Mutex<Levels>>,
}

/// What the filter is made of, in `RUST_LOG` syntax.
#[derive(Debug)]
struct Levels {
    /// What the operator wants.
    level: String,
    /// What the process wants beside it; empty where that is nothing.
    added: String,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level text is not in `RUST_LOG` syntax.
    #[error("log level {text:?}: {reason}; write for example info or info,weft_proxy=debug")]
    Level {
        /// What was given.
        text: String,
        /// What the parser said.
        reason: String,
    },
    /// A subscriber was already installed.
    #[error("logging was already set up")]
    AlreadySet,
    /// The subscriber is gone.
    #[error("logging is no longer running")]
    Gone,
}

// === impl LogFormat ===

impl LogFormat {
    /// As in a flag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown log format {other:?}, expected text or json")),
        }
    }
}

// === impl LogFlags ===

impl LogFlags {
    /// Starts logging as they say.
    pub fn start(&self) -> Result<LogControl, LogError> {
        init(&self.level, self.format)
    }
}

// === impl LogControl ===

impl LogControl {
    /// Replaces the level; `level` is in `RUST_LOG` syntax.
    pub fn change(&self, level: &str) -> Result<(), LogError> {
        let level = parse(level)?.to_string();
        let mut levels = self.levels.lock();
        self.put(&level, &levels.added)?;
        levels.level = level;
        Ok(())
    }

    /// Lets directives through beside the level; `None` takes them away.
    pub fn add(&self, directives: Option<&str>) -> Result<(), LogError> {
        let added = directives
            .map(|directives| format!(",{directives}"))
            .unwrap_or_default();
        let mut levels = self.levels.lock();
        self.put(&levels.level, &added)?;
        levels.added = added;
        Ok(())
    }

    fn put(&self, level: &str, added: &str) -> Result<(), LogError> {
        let filter = parse(&format!("{level}{added}"))?;
        self.filter.reload(filter).map_err(|_| LogError::Gone)
    }

    /// The level now in force.
    pub fn level(&self) -> String {
        self.levels.lock().level.clone()
    }

    /// Whether the level lets events of a target through.
    pub fn enables(&self, target: &str, level: Level) -> bool {
        enables(&self.levels.lock().level, target, level)
    }
}

/// Directives about spans are left out: they decide only when there is one.
fn enables(filter: &str, target: &str, level: Level) -> bool {
    let plain: Vec<&str> = filter
        .split(',')
        .filter(|part| !part.contains(['[', ']', '{', '}']))
        .collect();
    let targets = plain.join(",").parse::<Targets>();
    targets.is_ok_and(|targets| targets.would_enable(target, &level))
}

/// Installs the process-wide subscriber. `level` is in `RUST_LOG` syntax.
pub fn init(level: &str, format: LogFormat) -> Result<LogControl, LogError> {
    let filter = parse(level)?;
    let level = filter.to_string();
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_target(true),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    installed.map_err(|_| LogError::AlreadySet)?;
    let added = String::new();
    Ok(LogControl {
        filter: handle,
        levels: Arc::new(Mutex::new(Levels { level, added })),
    })
}

/// What libraries report as errors of their own although their caller gets the same error and decides about it. What the
/// user writes about these targets comes later and wins.
const QUIET: &str = "kube_client::client::builder=off";

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| LogError::Level {
        text: level.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_level_is_named() {
        let error = parse("info,weft_proxy=loud").unwrap_err().to_string();
        assert!(error.contains("weft_proxy=loud"), "{error}");
        assert!(parse("info,weft_proxy=debug").is_ok());
    }

    #[test]
    fn the_level_of_a_target_is_known_ahead() {
        for (filter, expected) in [
            ("info", false),
            ("debug", true),
            ("info,weft_proxy=trace", true),
            ("debug,weft_proxy::journal=info", false),
            ("info,weft_proxy::journal=debug", true),
            ("info,[request{id=1}]=debug", false),
        ] {
            let written = parse(filter).unwrap().to_string();
            assert_eq!(
                enables(&written, "weft_proxy::journal", Level::DEBUG),
                expected,
                "{filter}"
            );
        }
    }
}
