//! What a client refused of one type and did not take since. A refusal holds until the resource itself is taken or gone: with deltas others
//! are taken meanwhile, and say nothing of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most responses that may wait for their answer and are remembered.
const UNANSWERED_MAX: usize = 16;

/// Longest reason that is kept.
const REASON_BYTES_MAX: usize = 1000;

/// One resource that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name; empty where the client did not say which one it meant.
    pub name: Arc<str>,
    /// What the client said.
    pub reason: Arc<str>,
}

/// The refusals of one type of one client.
#[derive(Debug, Default)]
pub(super) struct Refused {
    by_name: BTreeMap<Arc<str>, Arc<str>>,
    /// Responses that were not answered yet, with the names that they brought.
    unanswered: VecDeque<(String, Vec<Arc<str>>)>,
}

// === impl Refused ===

impl Refused {
    /// A response was sent.
    pub(super) fn sent(&mut self, nonce: &str, names: Vec<Arc<str>>) {
        if self.unanswered.len() >= UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((nonce.to_owned(), names));
    }

    /// A response was answered. An error that names none of what came in it is nobody's, until the next that is taken.
    pub(super) fn answered(&mut self, nonce: &str, error: Option<&str>) {
        let Some(position) = self.unanswered.iter().position(|(known, _)| known == nonce) else {
            return;
        };
        // Answers come in order: those before it will get none.
        let Some((_, names)) = self.unanswered.drain(..=position).next_back() else {
            return;
        };
        let Some(error) = error else {
            if !names.is_empty() {
                self.by_name.remove("");
            }
            names.iter().for_each(|name| drop(self.by_name.remove(name)));
            return;
        };
        let mut found: Vec<(usize, &Arc<str>)> = names
            .iter()
            .filter_map(|name| Some((start(error, name)?, name)))
            .collect();
        found.sort_unstable();
        for name in &names {
            self.by_name.remove(name);
        }
        if found.is_empty() {
            self.by_name.insert("".into(), cut(error));
        }
        for (index, (from, name)) in found.iter().enumerate() {
            let to = found.get(index + 1).map_or(error.len(), |(next, _)| *next);
            let own = error.get(*from..to).unwrap_or(error);
            let own = own.split_once(": ").map_or(own, |(_, reason)| reason);
            self.by_name
                .insert(Arc::clone(name), cut(own.trim_end_matches([' ', ';', ','])));
        }
    }

    /// Resources are not served any more.
    pub(super) fn gone(&mut self, names: &[Arc<str>]) {
        names.iter().for_each(|name| drop(self.by_name.remove(name)));
    }

    /// What is refused now, ordered by name.
    pub(super) fn all(&self) -> Vec<Refusal> {
        let one = |(name, reason): (&Arc<str>, &Arc<str>)| Refusal {
            name: Arc::clone(name),
            reason: Arc::clone(reason),
        };
        self.by_name.iter().map(one).collect()
    }
}

/// Where a client speaks of a resource: its name with a colon, not as the end of a longer one.
fn start(error: &str, name: &str) -> Option<usize> {
    let mut found = error.match_indices(name);
    let whole = |at: usize| {
        let before = error[..at].chars().next_back();
        before.is_none_or(|before| before == ' ' || before == '\n') && error[at + name.len()..].starts_with(':')
    };
    found.find(|(at, _)| !name.is_empty() && whole(*at)).map(|(at, _)| at)
}

fn cut(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[track_caller]
    fn check(refused: &Refused, expected: &[(&str, &str)]) {
        let all = refused.all();
        let found: Vec<_> = all.iter().map(|one| (&*one.name, &*one.reason)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_refusal_holds_until_the_resource_is_taken_or_gone() {
        let mut refused = Refused::default();
        refused.sent("1", names(&["a", "b", "ab"]));
        refused.answered("1", Some("a: no such field; b: too large"));
        check(&refused, &[("a", "no such field"), ("b", "too large")]);
        // Others are taken meanwhile.
        refused.sent("2", names(&["c"]));
        refused.answered("2", None);
        check(&refused, &[("a", "no such field"), ("b", "too large")]);
        refused.sent("3", names(&["a"]));
        refused.answered("3", None);
        check(&refused, &[("b", "too large")]);
        refused.gone(&names(&["b"]));
        check(&refused, &[]);
    }

    #[test]
    fn clients_say_it_in_their_own_way() {
        for (error, expected) in [
            (
                "Error adding/updating listener(s) 0.0.0.0_80: not good\n",
                [("0.0.0.0_80", "not good\n")].as_slice(),
            ),
            ("cannot be decoded", [("", "cannot be decoded")].as_slice()),
            ("10.0.0.0_80: another", [("", "10.0.0.0_80: another")].as_slice()),
        ] {
            let mut refused = Refused::default();
            refused.sent("1", names(&["0.0.0.0_80"]));
            refused.answered("1", Some(error));
            check(&refused, expected);
            refused.sent("2", names(&["other"]));
            refused.answered("2", None);
            assert_eq!(refused.all().is_empty(), expected[0].0.is_empty(), "{error}");
        }
    }

    #[test]
    fn answers_to_what_is_forgotten_say_nothing() {
        let mut refused = Refused::default();
        for nonce in 0..40 {
            refused.sent(&nonce.to_string(), names(&["a"]));
        }
        refused.answered("0", Some("a: no"));
        check(&refused, &[]);
        refused.answered("39", Some("a: no"));
        check(&refused, &[("a", "no")]);
        assert!(refused.unanswered.is_empty());
    }
}
