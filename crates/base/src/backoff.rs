//! Pauses between attempts: exponential with full jitter, and bounded.
//!
//! Pure: how many attempts failed and a random number go in, a time comes out.

use std::time::Duration;

/// How long to wait after attempts that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Pauses of up to `first`, twice as long each time, but never longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The pause after `failures` failed attempts in a row, from 1: anything below the bound of that attempt, so that those who failed
    /// together do not come back together (Envoy, "fully jittered exponential back-off"). `random` is uniform over all 64-bit numbers.
    pub fn pause(self, failures: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(factor).min(self.longest);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(random % nanos)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        for (failures, bound) in [
            (0, 500),
            (1, 500),
            (2, 1_000),
            (5, 8_000),
            (8, 60_000),
            (u32::MAX, 60_000),
        ] {
            let bound = Duration::from_millis(bound);
            let nanos = u64::try_from(bound.as_nanos()).unwrap();
            assert_eq!(
                backoff.pause(failures, nanos - 1),
                bound - Duration::from_nanos(1),
                "{failures}"
            );
            assert_eq!(backoff.pause(failures, nanos), Duration::ZERO, "{failures}");
        }
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO).pause(1, 7), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(first: u64, longest: u64, failures: u32, random: u64) {
            let longest = Duration::from_nanos(longest);
            let pause = Backoff::new(Duration::from_nanos(first), longest).pause(failures, random);
            prop_assert!(pause <= longest);
        }
    }
}
