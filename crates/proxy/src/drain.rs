//! The drain of listeners: clients are sent away first, then the sockets are closed. Inbound ones can go alone, as they do when a pod ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;
use weft_base::shutdown::Shutdown;

use crate::model::listener::{Direction, Listener};

/// How far listeners have drained; clones share one state.
#[derive(Clone, Debug)]
pub struct Drain {
    all: CancellationToken,
    inbound: CancellationToken,
    stopped: Arc<AtomicU8>,
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
            stopped: Arc::default(),
        }
    }

    /// Sends clients away.
    pub fn start(&self, inbound_only: bool) {
        let token = if inbound_only { &self.inbound } else { &self.all };
        token.cancel();
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
        drain.start(true);
        assert_eq!(draining(&drain), [true, false]);
        shutdown.start();
        assert_eq!(draining(&drain), [true, true]);
        let other = Drain::new(&Shutdown::new());
        other.start(false);
        assert_eq!(draining(&other), [true, true]);
    }
}
