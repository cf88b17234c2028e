//! How an edge fared over the last quarter of an hour: a few figures per slot of time, in fixed memory.

use std::collections::VecDeque;

pub(crate) const POINTS_MAX: usize = 180;

/// One slot of time of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Number of the slot since the start of the collector.
    pub slot: u64,
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Connections that ended.
    pub connections: u64,
    /// Those that reached nobody.
    pub connection_errors: u64,
    /// Bytes of these connections, both ways.
    pub bytes: u64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
}

/// The points of an edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    points: VecDeque<Point>,
}

// === impl History ===

impl History {
    /// Adds a point; the one that came first makes room.
    pub(crate) fn add(&mut self, point: Point) {
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The points of the last [`POINTS_MAX`] slots, `current` among them, in the order of time. `latest` are those that are not over
    /// yet or not added.
    pub(crate) fn until(&self, current: u64, latest: impl Iterator<Item = Point>) -> Vec<Point> {
        let recent = |point: &Point| point.slot <= current && point.slot + POINTS_MAX as u64 > current;
        let mut points: Vec<Point> = self.points.iter().copied().chain(latest).filter(recent).collect();
        points.sort_by_key(|point| point.slot);
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(slot: u64) -> Point {
        Point {
            slot,
            requests: slot,
            errors: 0,
            connections: 0,
            connection_errors: 0,
            bytes: 0,
            p50_ms: None,
            p99_ms: None,
        }
    }

    #[test]
    fn old_points_go_and_the_rest_is_in_order() {
        let mut history = History::default();
        for slot in 0..POINTS_MAX as u64 + 20 {
            history.add(point(slot));
        }
        let current = POINTS_MAX as u64 + 21;
        let slots: Vec<u64> = history
            .until(current, [point(current), point(current - 1)].into_iter())
            .iter()
            .map(|point| point.slot)
            .collect();
        assert_eq!(slots.len(), POINTS_MAX);
        assert_eq!((slots[0], slots[POINTS_MAX - 1]), (22, current));
        assert!(slots.is_sorted());
    }
}
