//! Progress of a start on stderr: a spinner with what is waited for on a terminal, plain lines otherwise.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use tokio::time::Instant;

use crate::output;

/// Most names that are shown as waited for.
const NAMES: usize = 4;

/// Shows how a mesh starts.
#[derive(Debug)]
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
    waiting: BTreeSet<String>,
    started: Instant,
}

// === impl Progress ===

impl Progress {
    /// Begins; times are counted from here.
    pub(crate) fn new() -> Self {
        Self {
            spinner: std::io::stderr().is_terminal().then(spinner),
            waiting: BTreeSet::new(),
            started: Instant::now(),
        }
    }

    /// Something is now waited for.
    pub(crate) fn wait_for(&mut self, name: &str) {
        self.waiting.insert(name.to_owned());
        self.refresh();
    }

    /// Something is there; `detail` says where.
    pub(crate) fn done(&mut self, name: &str, detail: &str) {
        self.waiting.remove(name);
        let seconds = self.started.elapsed().as_secs_f64();
        self.line(&format!(
            "{} {name:<24} {detail} {}",
            "√".green(),
            format!("{seconds:.1} s").dimmed()
        ));
        self.refresh();
    }

    /// Something to know that is no failure.
    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", "‼".yellow()));
    }

    /// What is waited for.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.waiting.iter().cloned().collect()
    }

    /// Ends the spinner; lines can still be printed.
    pub(crate) fn finish(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// A line of its own above the spinner.
    pub(crate) fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| output::say(text)),
            None => output::say(text),
        }
    }

    fn refresh(&self) {
        let Some(spinner) = &self.spinner else { return };
        let mut names: Vec<&str> = self.waiting.iter().map(String::as_str).take(NAMES).collect();
        let more = format!("{} more", self.waiting.len().saturating_sub(NAMES));
        if self.waiting.len() > NAMES {
            names.push(&more);
        }
        spinner.set_message(format!("waiting for {}", names.join(", ")));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
