//! Progress on stderr: one line a step, with the time that it took.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};

/// The steps of one run of a verb.
#[derive(Debug)]
pub(crate) struct Steps {
    verb: &'static str,
    start: Instant,
}

// === impl Steps ===

impl Steps {
    pub(crate) fn new(verb: &'static str) -> Self {
        Self {
            verb,
            start: Instant::now(),
        }
    }

    /// Runs a step; its error says which step it was.
    pub(crate) fn run<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprint!("{}: {name} ... ", self.verb);
        // Only the looks of the line depend on it.
        let _ = std::io::stderr().flush();
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        match &result {
            Ok(_) => eprintln!("{seconds:.1} s"),
            Err(_) => eprintln!("failed after {seconds:.1} s"),
        }
        result.with_context(|| name.to_owned())
    }

    pub(crate) fn say(&self, text: &str) {
        eprintln!("{}: {text}", self.verb);
    }

    /// Seconds since the verb began.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
