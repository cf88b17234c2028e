//! Random numbers of one thread.

use std::cell::RefCell;

/// A generator that every part of a thread may ask.
#[derive(Debug)]
pub struct Random(RefCell<fastrand::Rng>);

// === impl Random ===

impl Random {
    /// Numbers that follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self(RefCell::new(fastrand::Rng::with_seed(seed)))
    }

    /// A number, uniform over all 64-bit numbers.
    pub fn next(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }
}
