//! What one client was sent and asked for, per type: the server's side of xDS as a state machine without I/O
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::resource::{Kind, Resource, ResourceSet};

/// Which variant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Incremental.
    Delta,
    /// State of the world.
    StateOfTheWorld,
}

/// A request in either variant.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The response that it answers; empty where it answers none.
    pub nonce: String,
    /// Why that was rejected.
    pub error: Option<String>,
    /// State of the world: all names.
    pub names: Vec<Arc<str>>,
    /// Delta: more names.
    pub subscribe: Vec<Arc<str>>,
    /// Delta: fewer names.
    pub unsubscribe: Vec<Arc<str>>,
    /// Delta: versions known from the stream before.
    pub known: BTreeMap<Arc<str>, Arc<str>>,
}

/// A response to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Nonce.
    pub nonce: String,
    /// Version of the whole.
    pub version: String,
    /// Resources: changed ones (delta) or all.
    pub resources: Vec<(Arc<str>, Resource)>,
    /// Delta: names that are gone.
    pub removed: Vec<Arc<str>>,
}

/// What was agreed on one type, for debugging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Nonce of the last response.
    pub sent: String,
    /// Nonce of the last one that was accepted.
    pub acked: String,
    /// Why the last one was rejected; empty when it was not.
    pub error: String,
}

/// One type of one stream.
#[derive(Debug)]
pub struct TypeStream {
    kind: Kind,
    mode: Mode,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    sent: BTreeMap<Arc<str>, Arc<str>>,
    responses: u64,
    due: bool,
    progress: Progress,
}

// === impl TypeStream ===

impl TypeStream {
    /// A type that a client has just asked for.
    pub fn new(kind: Kind, mode: Mode, request: &Request) -> Self {
        let named = request
            .names
            .iter()
            .chain(&request.subscribe)
            .filter(|name| &***name != "*")
            .count();
        Self {
            kind,
            mode,
            wildcard: kind.is_wildcard() && named == 0,
            names: BTreeSet::new(),
            sent: request.known.clone(),
            responses: 0,
            due: true,
            progress: Progress::default(),
        }
    }

    /// Takes a request: an answer to a response, a change of names, or both.
    pub fn request(&mut self, request: &Request) {
        match &request.error {
            Some(error) => self.progress.error.clone_from(error),
            None if !request.nonce.is_empty() && request.nonce == self.progress.sent => {
                self.progress.acked.clone_from(&request.nonce);
                self.progress.error.clear();
            }
            None => {}
        }
        match self.mode {
            Mode::Delta => {
                for name in request.subscribe.iter().filter(|name| &***name != "*") {
                    // A client that subscribes again wants the resource again, unless it says which version it has.
                    if !request.known.contains_key(name) {
                        self.sent.remove(name);
                    }
                    self.due |= self.names.insert(name.clone());
                }
                for name in &request.unsubscribe {
                    self.names.remove(name);
                    self.sent.remove(name);
                }
            }
            Mode::StateOfTheWorld => {
                // A request about an older response says nothing about names now.
                let current = request.nonce.is_empty() || request.nonce == self.progress.sent;
                let names: BTreeSet<Arc<str>> = request.names.iter().cloned().collect();
                if current && names != self.names {
                    self.due |= names.difference(&self.names).next().is_some();
                    self.names = names;
                    self.sent.retain(|name, _| self.wildcard || self.names.contains(name));
                }
            }
        }
    }

    /// What has to be sent so that the client has `all`, as far as it asked for it.
    pub fn push(&mut self, all: &ResourceSet) -> Option<Push> {
        let wanted = |name: &Arc<str>| self.wildcard || self.names.contains(name);
        let current: BTreeMap<&Arc<str>, &Resource> = all.iter().filter(|(name, _)| wanted(name)).collect();
        let differs = |name: &Arc<str>, resource: &Resource| self.sent.get(name) != Some(&resource.version);
        let changed: Vec<(Arc<str>, Resource)> = current
            .iter()
            .filter(|(name, resource)| differs(name, resource))
            .map(|(name, resource)| (Arc::clone(name), (*resource).clone()))
            .collect();
        let removed: Vec<Arc<str>> = self
            .sent
            .keys()
            .filter(|name| !current.contains_key(name))
            .cloned()
            .collect();
        let first = self.due;
        self.due = false;
        if changed.is_empty() && removed.is_empty() && !(first && self.answers_empty()) {
            return None;
        }
        let resources = match self.mode {
            Mode::Delta => changed,
            Mode::StateOfTheWorld => current
                .iter()
                .map(|(name, r)| (Arc::clone(name), (*r).clone()))
                .collect(),
        };
        self.sent = current
            .into_iter()
            .map(|(name, resource)| (name.clone(), resource.version.clone()))
            .collect();
        self.responses += 1;
        self.progress.sent = format!("{}-{}", self.kind.short(), self.responses);
        Some(Push {
            nonce: self.progress.sent.clone(),
            version: self.responses.to_string(),
            resources,
            removed: if self.mode == Mode::Delta { removed } else { Vec::new() },
        })
    }

    /// A client that waits for its first answer gets one even if there is nothing: it would wait for ever otherwise.
    fn answers_empty(&self) -> bool {
        self.wildcard || self.mode == Mode::StateOfTheWorld
    }

    /// What was agreed so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(entries: &[(u8, u8)]) -> ResourceSet {
        let entry = |(name, content): &(u8, u8)| {
            let resource = Resource::new("t".to_owned(), vec![*content]);
            (Arc::from(format!("r{name}")), resource)
        };
        entries.iter().map(entry).collect()
    }

    /// A client that applies what it is sent.
    #[derive(Default)]
    struct Client {
        has: BTreeMap<Arc<str>, Arc<str>>,
    }

    impl Client {
        fn apply(&mut self, mode: Mode, push: &Push) {
            if mode == Mode::StateOfTheWorld {
                self.has.clear();
            }
            self.has
                .extend(push.resources.iter().map(|(name, r)| (name.clone(), r.version.clone())));
            self.has.retain(|name, _| !push.removed.contains(name));
        }
    }

    fn versions(set: &ResourceSet) -> BTreeMap<Arc<str>, Arc<str>> {
        set.iter()
            .map(|(name, resource)| (name.clone(), resource.version.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn a_client_ends_with_the_full_state(
            states in prop::collection::vec(prop::collection::btree_map(0..6_u8, 0..3_u8, 0..6), 1..8),
            delta in any::<bool>(),
        ) {
            let mode = if delta { Mode::Delta } else { Mode::StateOfTheWorld };
            let mut stream = TypeStream::new(Kind::Cluster, mode, &Request::default());
            let mut client = Client::default();
            for state in states {
                let state = set(&state.into_iter().collect::<Vec<_>>());
                if let Some(push) = stream.push(&state) {
                    client.apply(mode, &push);
                    let ack = Request { nonce: push.nonce, ..Request::default() };
                    stream.request(&ack);
                    prop_assert_eq!(&stream.progress().acked, &stream.progress().sent);
                }
                prop_assert_eq!(&client.has, &versions(&state));
                prop_assert!(stream.push(&state).is_none(), "nothing is sent twice");
            }
        }
    }

    #[test]
    fn delta_sends_what_is_subscribed_and_resumes() {
        let all = set(&[(1, 1), (2, 1), (3, 1)]);
        let known = versions(&set(&[(1, 1), (2, 9)]));
        let request = Request {
            subscribe: vec![Arc::from("r1"), Arc::from("r2")],
            known,
            ..Request::default()
        };
        let mut stream = TypeStream::new(Kind::Endpoints, Mode::Delta, &request);
        stream.request(&request);
        let push = stream.push(&all).unwrap();
        assert_eq!(
            push.resources.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
            ["r2"]
        );
        stream.request(&Request {
            subscribe: vec![Arc::from("r3")],
            unsubscribe: vec![Arc::from("r1")],
            nonce: push.nonce,
            ..Request::default()
        });
        let push = stream.push(&all).unwrap();
        assert_eq!((push.resources.len(), push.removed.len()), (1, 0));
    }

    #[test]
    fn a_rejection_is_remembered_until_the_next_ack() {
        let mut stream = TypeStream::new(Kind::Listener, Mode::StateOfTheWorld, &Request::default());
        let push = stream.push(&set(&[(1, 1)])).unwrap();
        stream.request(&Request {
            nonce: push.nonce,
            error: Some("no".to_owned()),
            ..Request::default()
        });
        assert_eq!(
            (stream.progress().acked.as_str(), stream.progress().error.as_str()),
            ("", "no")
        );
        let push = stream.push(&set(&[(1, 2)])).unwrap();
        stream.request(&Request {
            nonce: push.nonce.clone(),
            ..Request::default()
        });
        assert_eq!(
            (stream.progress().acked.as_str(), stream.progress().error.as_str()),
            (push.nonce.as_str(), "")
        );
    }
}
