//! How a verb ends: the exit code and, when it failed, what to say.

use std::process::ExitCode;

/// Exit codes; the numbers above 2 are those of `sysexits.h` that Istio's tool uses as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// Something did not work.
    Failed,
    /// What was waited for did not happen in time.
    TimedOut,
    /// The command line is wrong.
    Usage,
    /// A file or an answer cannot be read as what it should be.
    BadData,
    /// The tool works and found something to report.
    Findings,
}

/// An error that knows its exit code; any other error means [`Exit::Failed`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

// === impl Exit ===

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::TimedOut => 2,
            Self::Usage => 64,
            Self::BadData => 65,
            Self::Findings => 79,
        }
    }

    /// The code that an error asks for, wherever in its chain that is said.
    pub fn of(error: &anyhow::Error) -> Self {
        let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
        failure.map_or(Self::Failed, |failure| failure.exit)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

// === impl Failure ===

impl Failure {
    /// What was asked for did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// What was asked for cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What was read is not what it should be.
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(Exit::BadData, message)
    }

    /// What was waited for did not happen.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(Exit::TimedOut, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_context() {
        let error = Err::<(), _>(Failure::bad_data("line 3"))
            .context("mesh.yaml")
            .unwrap_err();
        assert_eq!(Exit::of(&error).code(), 65);
        assert_eq!(Exit::of(&anyhow::anyhow!("broken")).code(), 1);
    }
}
