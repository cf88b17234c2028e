//! Flow control (RFC 9113, sections 5.2 and 6.9): how much may be sent, and how much of what may come has come.

use super::frame::STREAM_MAX;

/// A window before anybody has said anything.
pub const INITIAL_BYTES: u32 = 65_535;

/// How much a peer takes. Below zero where it has changed its mind about the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing(i64);

/// A window that is larger than one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// How much a peer may send, and how much of that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    size: u32,
    /// What it may still send.
    left: u32,
    /// What was taken and not told yet.
    taken: u32,
}

// === impl Outgoing ===

impl Outgoing {
    pub fn new(bytes: u32) -> Self {
        Self(i64::from(bytes))
    }

    /// How much of `bytes` may be sent.
    pub fn fits(self, bytes: usize) -> usize {
        bytes.min(usize::try_from(self.0).unwrap_or(0))
    }

    /// So much is sent.
    pub fn spend(&mut self, bytes: usize) {
        debug_assert!(self.fits(bytes) == bytes, "more than fits");
        self.0 -= bytes as i64;
    }

    /// The peer takes more.
    ///
    /// # Errors
    /// More than a window may be (RFC 9113, section 6.9.1).
    pub fn grow(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.shift(i64::from(bytes))
    }

    /// The window with which all streams begin is another by so much.
    ///
    /// # Errors
    /// More than a window may be (RFC 9113, section 6.9.2).
    pub fn shift(&mut self, bytes: i64) -> Result<(), Overflow> {
        self.0 += bytes;
        if self.0 > i64::from(STREAM_MAX) {
            return Err(Overflow);
        }
        Ok(())
    }
}

// === impl Incoming ===

impl Incoming {
    pub fn new(bytes: u32) -> Self {
        Self {
            size: bytes,
            left: bytes,
            taken: 0,
        }
    }

    /// So much has come.
    ///
    /// # Errors
    /// More than there was room for.
    pub fn came(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.left = self.left.checked_sub(bytes).ok_or(Overflow)?;
        Ok(())
    }

    /// So much of what has come was taken. How much the peer is to be told of: nothing while it has the half of it.
    pub fn took(&mut self, bytes: u32) -> Option<u32> {
        self.taken += bytes;
        if self.taken < (self.size / 2).max(1) {
            return None;
        }
        let increment = std::mem::take(&mut self.taken);
        self.left += increment;
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_have_an_upper_bound() {
        let mut window = Outgoing::new(INITIAL_BYTES);
        assert_eq!(window.grow(STREAM_MAX - INITIAL_BYTES), Ok(()));
        assert_eq!(window.grow(1), Err(Overflow));
    }

    #[test]
    fn a_window_may_be_below_zero() {
        let mut window = Outgoing::new(100);
        window.spend(80);
        window.shift(-50).unwrap();
        assert_eq!(window.fits(10), 0);
        window.grow(35).unwrap();
        assert_eq!(window.fits(10), 5);
    }

    #[test]
    fn who_sends_too_much_is_found() {
        let mut window = Incoming::new(10);
        assert_eq!((window.came(10), window.took(4)), (Ok(()), None));
        assert_eq!((window.came(1), window.took(1)), (Err(Overflow), Some(5)));
        assert_eq!((window.came(5), window.came(1)), (Ok(()), Err(Overflow)));
    }

    proptest! {
        /// What a peer may send is what it was told, less what has come, and never stays at nothing when all was taken.
        #[test]
        fn a_window_is_what_was_told(size in 1_u32..1000, steps in proptest::collection::vec(0_u32..400, 0..100)) {
            let mut window = Incoming::new(size);
            let (mut told, mut came, mut taken) = (u64::from(size), 0_u64, 0_u64);
            for step in steps {
                let fits = u64::from(step) <= told - came;
                prop_assert_eq!(window.came(step).is_ok(), fits);
                if !fits {
                    break;
                }
                came += u64::from(step);
                taken += u64::from(step);
                told += window.took(step).map_or(0, u64::from);
                prop_assert!(told <= taken + u64::from(size));
                prop_assert!(told > came);
            }
        }
    }
}
