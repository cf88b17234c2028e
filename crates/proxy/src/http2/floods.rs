//! Frames that cost their sender nothing, and the proxy something: how many of them a connection may bring. The limits are Envoy's
//! (`Http2ProtocolOptions`, and nghttp2's for resets).

use std::time::Duration;

use tokio::time::Instant;

/// Frames that say nothing, one behind the other (`max_consecutive_inbound_frames_with_empty_payload`).
const EMPTIES_MAX: u32 = 1;
/// PRIORITY frames for each stream (`max_inbound_priority_frames_per_stream`).
const PRIORITIES_PER_STREAM: u64 = 100;
/// WINDOW_UPDATE frames for each frame of a body (`max_inbound_window_update_frames_per_data_frame_sent`).
const WINDOWS_PER_DATA: u64 = 10;
/// Resets at once, and each second.
const RESETS_AT_ONCE: u32 = 1000;
const RESETS_A_SECOND: u32 = 33;
/// Streams of which half may be reset early (`overload.premature_reset_total_stream_count`).
const STREAMS_COUNTED: u64 = 500;
/// A stream that lasted as long was not reset early (`overload.premature_reset_min_stream_lifetime_seconds`).
const EARLY: Duration = Duration::from_secs(1);

/// Too many of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// What a connection has brought so far.
#[derive(Debug)]
pub struct Floods {
    empties: u32,
    priorities: u64,
    windows: u64,
    opened: u64,
    closed: u64,
    early: u64,
    data_sent: u64,
    /// How many resets may still come, and since when no more were added.
    resets_left: u32,
    refilled_at: Instant,
}

// === impl Floods ===

impl Floods {
    pub fn new(now: Instant) -> Self {
        Self {
            empties: 0,
            priorities: 0,
            windows: 0,
            opened: 0,
            closed: 0,
            early: 0,
            data_sent: 0,
            resets_left: RESETS_AT_ONCE,
            refilled_at: now,
        }
    }

    /// A frame of a message has come; whether it says nothing.
    ///
    /// # Errors
    /// One more than may follow each other.
    pub fn message(&mut self, is_empty: bool) -> Result<(), Flood> {
        self.empties = if is_empty { self.empties + 1 } else { 0 };
        within(u64::from(self.empties), u64::from(EMPTIES_MAX))
    }

    /// A PRIORITY frame has come.
    ///
    /// # Errors
    /// One more than the streams account for.
    pub fn priority(&mut self) -> Result<(), Flood> {
        self.priorities += 1;
        within(self.priorities, PRIORITIES_PER_STREAM * (1 + self.opened))
    }

    /// A WINDOW_UPDATE frame has come.
    ///
    /// # Errors
    /// One more than streams and what was sent account for.
    pub fn window(&mut self) -> Result<(), Flood> {
        self.windows += 1;
        within(self.windows, 5 + 2 * (self.opened + WINDOWS_PER_DATA * self.data_sent))
    }

    /// A RST_STREAM frame has come.
    ///
    /// # Errors
    /// One more than the time accounts for.
    pub fn reset(&mut self, now: Instant) -> Result<(), Flood> {
        let seconds = now.saturating_duration_since(self.refilled_at).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds)
                .unwrap_or(u32::MAX)
                .saturating_mul(RESETS_A_SECOND);
            self.resets_left = self.resets_left.saturating_add(more).min(RESETS_AT_ONCE);
            self.refilled_at = now;
        }
        self.resets_left = self.resets_left.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    /// A stream was opened.
    pub fn opened(&mut self) {
        self.opened += 1;
    }

    /// A frame of a body was sent.
    pub fn sent_data(&mut self) {
        self.data_sent += 1;
    }

    /// A stream is over that the client had opened at `opened`; `cut` tells whether it had no whole answer.
    ///
    /// # Errors
    /// Most of the streams were reset as soon as they were opened.
    pub fn closed(&mut self, opened: Instant, now: Instant, cut: bool) -> Result<(), Flood> {
        self.closed += 1;
        if !cut || now.saturating_duration_since(opened) >= EARLY {
            return Ok(());
        }
        self.early += 1;
        within(self.early * 2, self.closed.max(STREAMS_COUNTED) - 1)
    }
}

fn within(count: u64, most: u64) -> Result<(), Flood> {
    if count > most { Err(Flood) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something may be done.
    #[track_caller]
    fn check(expected: u32, mut step: impl FnMut(&mut Floods) -> Result<(), Flood>) {
        let mut floods = Floods::new(Instant::now());
        let done = (0..10_000).take_while(|_| step(&mut floods).is_ok()).count();
        assert_eq!(done, expected as usize);
    }

    #[test]
    fn what_costs_nothing_is_limited() {
        let now = Instant::now();
        check(1, |floods| floods.message(true));
        check(10_000, |floods| {
            floods.message(true).and_then(|()| floods.message(false))
        });
        check(100, Floods::priority);
        check(5, Floods::window);
        check(1000, |floods| floods.reset(now));
        check(249, |floods| floods.closed(now, now, true));
        check(10_000, |floods| floods.closed(now, now + EARLY, true));
        check(10_000, |floods| {
            floods.closed(now, now, false)?;
            floods.closed(now, now, false)?;
            floods.closed(now, now, true)
        });
        check(10_000, |floods| {
            floods.sent_data();
            floods.opened();
            (0..20).try_for_each(|_| floods.window())?;
            (0..100).try_for_each(|_| floods.priority())
        });
    }

    #[test]
    fn resets_are_limited_by_time() {
        let mut floods = Floods::new(Instant::now());
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_secs(1);
            assert!((0..RESETS_A_SECOND).all(|_| floods.reset(now).is_ok()));
        }
        assert_eq!((0..).take_while(|_| floods.reset(now).is_ok()).count(), 1000 - 33);
    }
}
