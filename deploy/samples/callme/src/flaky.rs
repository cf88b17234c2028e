//! Which requests fail on purpose: a fixed share of them, each once.
//!
//! A chosen request fails the first time this process sees its id and succeeds from then on, as a transient fault does. A
//! client that retries therefore never sees the fault, and one that does not sees exactly the configured share.

use std::collections::{HashSet, VecDeque};

/// How many request ids are remembered; the oldest goes first.
const REMEMBERED: usize = 4096;

/// Decides which requests fail.
#[derive(Debug)]
pub(crate) struct Flaky {
    percent: u32,
    /// Runs from 0 to 99; every time it wraps, a request fails, which spreads the failures evenly.
    credit: u32,
    failed: HashSet<String>,
    order: VecDeque<String>,
}

// === impl Flaky ===

impl Flaky {
    /// Fails `percent` of the requests; above 100 counts as 100.
    pub(crate) fn new(percent: u8) -> Self {
        Self {
            percent: u32::from(percent.min(100)),
            credit: 0,
            failed: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether this request fails. Without an id every request is a new one.
    pub(crate) fn fails(&mut self, id: Option<&str>) -> bool {
        if id.is_some_and(|id| self.failed.contains(id)) {
            return false;
        }
        self.credit += self.percent;
        if self.credit < 100 {
            return false;
        }
        self.credit -= 100;
        if let Some(id) = id {
            self.remember(id.to_owned());
        }
        true
    }

    fn remember(&mut self, id: String) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.failed.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.failed.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact_and_a_failed_request_succeeds_the_second_time() {
        let mut flaky = Flaky::new(30);
        let failed: Vec<usize> = (0..100).filter(|n| flaky.fails(Some(&n.to_string()))).collect();
        assert_eq!(failed.len(), 30);
        for id in failed {
            assert!(!flaky.fails(Some(&id.to_string())), "request {id} fails twice");
        }
    }

    #[test]
    fn requests_without_an_id_fail_by_count() {
        let mut flaky = Flaky::new(50);
        let failed = (0..10).filter(|_| flaky.fails(None)).count();
        assert_eq!(failed, 5);
        assert!(!Flaky::new(0).fails(None));
        assert!(Flaky::new(100).fails(None));
    }

    #[test]
    fn memory_is_bounded() {
        let mut flaky = Flaky::new(100);
        for n in 0..REMEMBERED + 10 {
            assert!(flaky.fails(Some(&n.to_string())));
        }
        assert_eq!((flaky.failed.len(), flaky.order.len()), (REMEMBERED, REMEMBERED));
        assert!(flaky.fails(Some("0")), "the oldest id was forgotten");
    }
}
