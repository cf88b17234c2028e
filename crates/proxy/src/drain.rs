//! The drain of listeners: clients are sent away first, then the sockets are closed. Inbound ones can go alone, as they do when a pod ends.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_base::shutdown::Shutdown;

use crate::model::listener::{Direction, Listener};

/// How far listeners have drained; clones share one state.
#[derive(Clone, Debug)]
pub struct Drain {
    all: CancellationToken,
    inbound: CancellationToken,
    began: Arc<Began>,
    stopped: Arc<AtomicU8>,
}

/// When clients were first sent away.
#[derive(Debug, Default)]
struct Began {
    all: OnceLock<Instant>,
    inbound: OnceLock<Instant>,
}

/// Which listeners no longer listen.
const STOPPED_INBOUND: u8 = 1;
const STOPPED_ALL: u8 = 2;

// === impl Drain ===

impl Drain {
    /// Nothing drains until the process does.
    pub fn new(shutdown: &Shutdown) -> Self {
        let all = shutdown.token().child_token();
        Self {
            inbound: all.child_token(),
            all,
            began: Arc::default(),
            stopped: Arc::default(),
        }
    }

    /// Sends clients away from now on. Asked again, the first time is what counts.
    pub fn start(&self, inbound_only: bool, now: Instant) {
        let (token, began) = if inbound_only {
            (&self.inbound, &self.began.inbound)
        } else {
            (&self.all, &self.began.all)
        };
        began.get_or_init(|| now);
        token.cancel();
    }

    /// What is left of the time that clients of a direction are given, which began when they were first sent away.
    pub fn time_left(&self, direction: Direction, given: Duration, now: Instant) -> Duration {
        let all = self.began.all.get();
        let inbound = match direction {
            Direction::Inbound => self.began.inbound.get(),
            Direction::Outbound | Direction::Unspecified => None,
        };
        let began = all.into_iter().chain(inbound).min();
        began.map_or(given, |began| {
            given.saturating_sub(now.saturating_duration_since(*began))
        })
    }

    /// Cancelled once clients of a direction are sent away.
    pub fn token(&self, direction: Direction) -> &CancellationToken {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound | Direction::Unspecified => &self.all,
        }
    }

    /// No listener of these is to listen from now on.
    pub fn stop(&self, inbound_only: bool) {
        let stopped = if inbound_only { STOPPED_INBOUND } else { STOPPED_ALL };
        self.stopped.fetch_max(stopped, Ordering::Relaxed);
    }

    /// Whether a listener may listen.
    pub fn listens(&self, listener: &Listener) -> bool {
        match self.stopped.load(Ordering::Relaxed) {
            STOPPED_ALL => false,
            STOPPED_INBOUND => listener.direction != Direction::Inbound,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inbound_drains_alone_and_with_the_process() {
        let shutdown = Shutdown::new();
        let drain = Drain::new(&shutdown);
        let draining = |drain: &Drain| {
            [Direction::Inbound, Direction::Outbound].map(|direction| drain.token(direction).is_cancelled())
        };
        assert_eq!(draining(&drain), [false, false]);
        drain.start(true, Instant::now());
        assert_eq!(draining(&drain), [true, false]);
        shutdown.start();
        assert_eq!(draining(&drain), [true, true]);
        let other = Drain::new(&Shutdown::new());
        other.start(false, Instant::now());
        assert_eq!(draining(&other), [true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_clients_runs_from_when_they_were_first_sent_away() {
        const GIVEN: Duration = Duration::from_secs(5);
        let left = |drain: &Drain| {
            [Direction::Inbound, Direction::Outbound].map(|of| drain.time_left(of, GIVEN, Instant::now()).as_secs())
        };
        let drain = Drain::new(&Shutdown::new());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(left(&drain), [5, 5], "nobody was sent away");
        for (passed, inbound_only, expected) in [
            (0, true, [5, 5]),
            (2, true, [3, 5]),
            (1, false, [2, 5]),
            (1, false, [1, 4]),
            (9, true, [0, 0]),
        ] {
            tokio::time::advance(Duration::from_secs(passed)).await;
            drain.start(inbound_only, Instant::now());
            assert_eq!(left(&drain), expected, "after {passed} s more");
        }
    }
}
