//! Ordered end of a process: stop accepting, drain to a deadline, then force.
//!
//! Every task that outlives the function that starts it is spawned here, so that it has an owner that can stop it.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the end of the process or of one part of it; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    force: CancellationToken,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended by itself before the deadline.
    Complete,
    /// The deadline passed and the remaining tasks were aborted.
    Forced,
}

// === impl Shutdown ===

impl Shutdown {
    /// A fresh handle that nothing has asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of this process that stops with it but can also be stopped alone. Its tasks are waited for by its own `drain`.
    pub fn child(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            force: self.force.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts a task that this handle owns. It is dropped at its next await when the shutdown is forced.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let force = self.force.clone();
        tokio::spawn(
            self.tasks
                .track_future(async move { force.run_until_cancelled(task).await }),
        )
    }

    /// Asks every task to finish what it has and take nothing new.
    pub fn start(&self) {
        self.drain.cancel();
    }

    /// Resolves once a drain was asked for.
    pub async fn started(&self) {
        self.drain.cancelled().await;
    }

    /// Whether a drain was asked for.
    pub fn is_started(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// The token behind [`Self::started`], for APIs that want one.
    pub fn token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Starts the drain if nobody has, waits for the tasks, and aborts what is left after `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.start();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok() {
            return Drained::Complete;
        }
        self.force.cancel();
        self.tasks.wait().await;
        Drained::Forced
    }
}

/// The signals that ask the process to end. They count from the moment that this is made: before, they end it at once.
#[derive(Debug)]
pub struct Termination {
    term: Signal,
    int: Signal,
}

// === impl Termination ===

impl Termination {
    /// Listens from now on. Must be made on a runtime, before anything can be seen of the process from outside.
    ///
    /// # Errors
    /// The system lets nobody listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves with the name of the next signal: SIGTERM or SIGINT.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Resolves with the signal's name when the process is asked to end after this was called.
pub async fn termination() -> std::io::Result<&'static str> {
    Ok(Termination::listen()?.next().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_tasks_that_end() {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let task = shutdown.spawn(async move {
            seen.started().await;
            7
        });
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Complete);
        assert_eq!(task.await.unwrap(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn drain_forces_tasks_that_do_not() {
        let shutdown = Shutdown::new();
        let task = shutdown.spawn(std::future::pending::<()>());
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Forced);
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_alone_and_with_its_parent() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.start();
        assert!(child.is_started() && !parent.is_started());
        let other = parent.child();
        parent.start();
        assert!(other.is_started());
    }
}
