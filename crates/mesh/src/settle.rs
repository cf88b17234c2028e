//! When findings about references between objects are told: once they still hold after everything that was sent has arrived.
//!
//! Objects that belong together come one after the other, and a Secret only after the Gateway that names it: for a moment each of
//! them refers to something that is not there. No clock, no tasks: the time is an argument.

#![expect(clippy::disallowed_types, reason = "no clock is read here that a test would pause")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_api::diagnostic::Diagnostic;

/// How long findings wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A finding is told when it holds and no configuration came for so long.
    pub quiet: Duration,
    /// Or when it held for so long, whatever comes.
    pub max: Duration,
}

/// What a finding is about, wherever that is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    code: Arc<str>,
    object: String,
    field: String,
    message: String,
}

/// What is known of a finding that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not told yet; since when it holds.
    Waiting(Instant),
    Told,
}

/// The findings that hold, and which of them are told.
#[derive(Debug)]
pub struct Settling {
    patience: Patience,
    known: BTreeMap<Subject, State>,
    /// When configuration came last.
    moved: Option<Instant>,
}

// === impl Patience ===

impl Default for Patience {
    /// Longer than a client takes from one object of a file to the next, and than it takes to read a Secret; well below the time in
    /// which somebody looks.
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(2),
            max: Duration::from_secs(10),
        }
    }
}

// === impl Subject ===

impl Subject {
    fn new(found: &Diagnostic) -> Self {
        Self {
            code: Arc::clone(&found.code),
            object: found.object.clone(),
            field: found.field.clone(),
            message: found.message.clone(),
        }
    }

    /// Whether they differ in their words at most.
    fn is_about(&self, other: &Self) -> bool {
        (&self.code, &self.object, &self.field) == (&other.code, &other.object, &other.field)
    }
}

// === impl Settling ===

impl Settling {
    /// Nothing is known yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            known: BTreeMap::new(),
            moved: None,
        }
    }

    /// Takes in what holds now, and whether configuration `moved` since the last time, and gives what is to be told of it. What
    /// does not hold any more is forgotten at once.
    pub fn told(&mut self, found: &[Diagnostic], moved: bool, now: Instant) -> Vec<Diagnostic> {
        if moved {
            self.moved = Some(now);
        }
        let mut known = BTreeMap::new();
        let subjects: BTreeSet<Subject> = found.iter().map(Subject::new).collect();
        for subject in &subjects {
            // One that says the same in other words takes the place of that which it was.
            let mut gone = self.known.iter().filter(|(old, _)| !subjects.contains(old));
            let before = self.known.get(subject);
            let before = before.or_else(|| gone.find(|(old, _)| old.is_about(subject)).map(|(_, state)| state));
            known.insert(subject.clone(), before.copied().unwrap_or(State::Waiting(now)));
        }
        self.known = known;
        let (patience, moved) = (self.patience, self.moved);
        for state in self.known.values_mut() {
            if let State::Waiting(since) = *state
                && due(patience, moved, since) <= now
            {
                *state = State::Told;
            }
        }
        let is_told = |found: &&Diagnostic| self.known.get(&Subject::new(found)) == Some(&State::Told);
        found.iter().filter(is_told).cloned().collect()
    }

    /// When the next finding is to be told, if nothing comes before.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.known.values().filter_map(|state| match state {
            State::Waiting(since) => Some(due(self.patience, self.moved, *since)),
            State::Told => None,
        });
        waiting.min()
    }
}

/// When a finding that holds since a time is told.
fn due(patience: Patience, moved: Option<Instant>, since: Instant) -> Instant {
    let quiet = moved.map_or(since, |moved| moved.max(since)) + patience.quiet;
    quiet.min(since + patience.max)
}

#[cfg(test)]
mod tests {
    use weft_api::diagnostic::Severity;

    use super::*;

    const PATIENCE: Patience = Patience {
        quiet: Duration::from_secs(2),
        max: Duration::from_secs(5),
    };

    fn finding(object: &str, message: &str) -> Diagnostic {
        Diagnostic {
            file: "".into(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            code: "IST0101".into(),
            object: object.to_owned(),
            field: "spec.hosts".to_owned(),
            message: message.to_owned(),
            hint: String::new(),
        }
    }

    /// One moment: seconds since the start, what holds, whether configuration came; what is told, and when the next is due.
    type Moment = (u64, &'static [&'static str], bool, &'static [&'static str], Option<u64>);

    #[track_caller]
    fn check(moments: &[Moment]) {
        let start = Instant::now();
        let mut settling = Settling::new(PATIENCE);
        for (seconds, holding, moved, told, next) in moments {
            let found: Vec<Diagnostic> = holding.iter().map(|object| finding(object, "is not there")).collect();
            let now = start + Duration::from_secs(*seconds);
            let objects: Vec<String> = settling
                .told(&found, *moved, now)
                .into_iter()
                .map(|found| found.object)
                .collect();
            let due = settling.next().map(|next| (next - start).as_secs());
            assert_eq!(
                (objects.as_slice(), due),
                (owned(told).as_slice(), *next),
                "at {seconds}"
            );
        }
    }

    fn owned(objects: &[&str]) -> Vec<String> {
        objects.iter().map(|object| (*object).to_owned()).collect()
    }

    #[test]
    fn a_finding_is_told_when_nothing_came_for_a_while() {
        check(&[
            (0, &["a"], true, &[], Some(2)),
            (1, &["a"], true, &[], Some(3)),
            (2, &["a"], false, &[], Some(3)),
            (3, &["a"], false, &["a"], None),
            // It stays told whatever comes, and another one waits for itself.
            (4, &["a", "b"], true, &["a"], Some(6)),
            (6, &["a", "b"], false, &["a", "b"], None),
        ]);
    }

    #[test]
    fn what_came_in_the_meantime_is_never_told() {
        check(&[
            (0, &["a"], true, &[], Some(2)),
            (1, &[], true, &[], None),
            (9, &[], false, &[], None),
        ]);
        // Gone and back again is new.
        check(&[
            (0, &["a"], true, &[], Some(2)),
            (2, &["a"], false, &["a"], None),
            (3, &[], true, &[], None),
            (4, &["a"], true, &[], Some(6)),
        ]);
    }

    #[test]
    fn a_mesh_that_never_rests_is_told_of_as_well() {
        check(&[
            (0, &["a"], true, &[], Some(2)),
            (1, &["a"], true, &[], Some(3)),
            (2, &["a"], true, &[], Some(4)),
            (3, &["a"], true, &[], Some(5)),
            (4, &["a"], true, &[], Some(5)),
            (5, &["a"], true, &["a"], None),
        ]);
    }

    #[test]
    fn other_words_are_the_same_finding() {
        let mut settling = Settling::new(PATIENCE);
        let start = Instant::now();
        settling.told(&[finding("a", "did you mean b?")], true, start);
        let later = start + PATIENCE.quiet;
        assert_eq!(settling.told(&[finding("a", "did you mean b?")], false, later).len(), 1);
        let told = settling.told(&[finding("a", "did you mean c?")], true, later);
        assert_eq!(told, [finding("a", "did you mean c?")]);
        // Beside it, another one about the same field waits for itself.
        let both = [finding("a", "did you mean c?"), finding("a", "is taken")];
        assert_eq!(settling.told(&both, true, later), [finding("a", "did you mean c?")]);
    }
}
