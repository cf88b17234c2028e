//! What one client was sent and asked for, per type: the server's side of xDS as a state machine without I/O
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_mesh::resource::Resource;
use weft_mesh::resource::layer::Resources;
use weft_proto::ads::{Kind, Mode};

use super::refused::{Refusal, Refused};

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
    /// What the client refused and did not take since.
    pub refused: Vec<Refusal>,
}

// === impl Progress ===

impl Progress {
    /// Everything that was refused, in one text; empty where nothing was.
    pub fn error(&self) -> String {
        let one = |refusal: &Refusal| match &*refusal.name {
            "" => refusal.reason.to_string(),
            name => format!("{name}: {}", refusal.reason),
        };
        self.refused.iter().map(one).collect::<Vec<_>>().join("; ")
    }
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
    /// What the last push was made of; `None` after the client changed what it asks for.
    compared: Option<Resources>,
    /// Delta: what the client has and is gone.
    parting: Vec<Arc<str>>,
    /// Nonce of the response of the last push, if it made one.
    pushed: Option<String>,
    /// Where the last response takes away what is gone: the nonce of the one of the same push before it.
    awaited: Option<String>,
    progress: Progress,
    refused: Refused,
}

/// Names with their resources.
type Changed = Vec<(Arc<str>, Resource)>;

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
            compared: None,
            parting: Vec::new(),
            pushed: None,
            awaited: None,
            progress: Progress::default(),
            refused: Refused::default(),
        }
    }

    /// Whether a response with this nonce is still to be answered.
    pub fn awaits(&self, nonce: &str) -> bool {
        nonce == self.progress.sent || self.awaited.as_deref() == Some(nonce)
    }

    /// Takes a request: an answer to a response, a change of names, or both.
    pub fn request(&mut self, request: &Request) {
        self.refused.answered(&request.nonce, request.error.as_deref());
        if request.error.is_none() && request.nonce == self.progress.sent {
            self.progress.acked.clone_from(&request.nonce);
        }
        self.progress.refused = self.refused.all();
        match self.mode {
            Mode::Delta => {
                for name in request.subscribe.iter().filter(|name| &***name != "*") {
                    self.compared = None;
                    // A client that subscribes again wants the resource again, unless it says which version it has.
                    if !request.known.contains_key(name) {
                        self.sent.remove(name);
                    }
                    self.due |= self.names.insert(name.clone());
                }
                for name in &request.unsubscribe {
                    self.compared = None;
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
                    self.compared = None;
                    self.names = names;
                    self.sent.retain(|name, _| self.wildcard || self.names.contains(name));
                }
            }
        }
    }

    /// What has to be sent so that the client has `all`, as far as it asked for it. What is gone is kept for [`part`](Self::part): it
    /// goes once the other types do not refer to it any more (xDS protocol, "eventual consistency considerations").
    pub fn push(&mut self, all: &Resources) -> Option<Push> {
        let first = std::mem::take(&mut self.due);
        self.pushed = None;
        let before = self.compared.replace(all.clone());
        let (changed, removed) = match before.as_ref().and_then(|before| all.changed_since(before)) {
            Some(names) => self.differences(all, names.cloned().collect()),
            None => self.all_differences(all),
        };
        let whole = self.mode == Mode::StateOfTheWorld;
        let lets_go = whole && !removed.is_empty();
        if changed.is_empty() && !lets_go && !(first && self.answers_empty()) {
            self.parting = removed;
            return None;
        }
        for (name, resource) in &changed {
            self.sent.insert(name.clone(), resource.version.clone());
        }
        if whole {
            removed.iter().for_each(|name| drop(self.sent.remove(name)));
            self.refused.gone(&removed);
            let resources = self.wanted(all);
            return Some(self.response(resources, Vec::new()));
        }
        self.parting = removed;
        let push = self.response(changed, Vec::new());
        self.pushed = Some(push.nonce.clone());
        Some(push)
    }

    /// What the client has to let go of, after the push of every type.
    pub fn part(&mut self) -> Option<Push> {
        let removed = std::mem::take(&mut self.parting);
        if removed.is_empty() {
            return None;
        }
        removed.iter().for_each(|name| drop(self.sent.remove(name)));
        self.refused.gone(&removed);
        let push = self.response(Vec::new(), removed);
        self.awaited = self.pushed.take();
        Some(push)
    }

    fn response(&mut self, resources: Changed, removed: Vec<Arc<str>>) -> Push {
        self.responses += 1;
        self.awaited = None;
        self.progress.sent = format!("{}-{}", self.kind.short(), self.responses);
        let names = resources.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.refused.sent(&self.progress.sent, names);
        self.progress.refused = self.refused.all();
        Push {
            nonce: self.progress.sent.clone(),
            version: self.responses.to_string(),
            resources,
            removed,
        }
    }

    /// Of these names, what the client does not have as it is now, and what it has and is gone.
    fn differences(&self, all: &Resources, names: BTreeSet<Arc<str>>) -> (Changed, Vec<Arc<str>>) {
        let mut changed = Vec::new();
        let mut removed = Vec::new();
        for name in names {
            let sent = self.sent.get(&name);
            let current = all.get(&name).filter(|_| self.wildcard || self.names.contains(&name));
            match current {
                Some(resource) if sent != Some(&resource.version) => changed.push((name, resource.clone())),
                None if sent.is_some() => removed.push(name),
                Some(_) | None => {}
            }
        }
        (changed, removed)
    }

    fn all_differences(&self, all: &Resources) -> (Changed, Vec<Arc<str>>) {
        let known = self.sent.keys().cloned();
        let names = if self.wildcard {
            known.chain(all.iter().map(|(name, _)| name.clone())).collect()
        } else {
            known.chain(self.names.iter().cloned()).collect()
        };
        self.differences(all, names)
    }

    /// Everything that the client asked for and that exists.
    fn wanted(&self, all: &Resources) -> Changed {
        let owned = |(name, resource): (&Arc<str>, &Resource)| (Arc::clone(name), resource.clone());
        if self.wildcard {
            return all.iter().map(owned).collect();
        }
        let named = self.names.iter();
        named
            .filter_map(|name| Some((name.clone(), all.get(name)?.clone())))
            .collect()
    }

    /// A client that waits for its first answer gets one even if there is nothing: it would wait for ever otherwise.
    fn answers_empty(&self) -> bool {
        self.wildcard || self.mode == Mode::StateOfTheWorld
    }

    /// Whether the client accepted the last response.
    pub fn is_settled(&self) -> bool {
        self.progress.acked == self.progress.sent
    }

    /// What was agreed so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_mesh::resource::ResourceSet;
    use weft_mesh::resource::layer::Layer;

    use super::*;

    fn resources(entries: &[(u8, u8)]) -> ResourceSet {
        let entry = |(name, content): &(u8, u8)| {
            let resource = Resource::new("t".to_owned(), vec![*content]);
            (Arc::from(format!("r{name}")), resource)
        };
        entries.iter().map(entry).collect()
    }

    fn set(entries: &[(u8, u8)]) -> Resources {
        Resources::own(resources(entries))
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

    fn versions(set: &Resources) -> BTreeMap<Arc<str>, Arc<str>> {
        set.iter()
            .map(|(name, resource)| (name.clone(), resource.version.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn a_client_ends_with_the_full_state(
            states in prop::collection::vec(prop::collection::btree_map(0..6_u8, 0..3_u8, 0..6), 1..8),
            delta in any::<bool>(),
            linked in any::<bool>(),
        ) {
            let mode = if delta { Mode::Delta } else { Mode::StateOfTheWorld };
            let mut stream = TypeStream::new(Kind::Cluster, mode, &Request::default());
            let mut client = Client::default();
            let mut layer = Layer::new(ResourceSet::new());
            for state in states {
                let (low, high): (Vec<_>, Vec<_>) = state.into_iter().partition(|(name, _)| *name < 4);
                // Either layers that know their difference, or ones that have to be compared whole.
                layer = Layer::after(linked.then_some(&layer), resources(&low));
                let state = Resources { shared: layer.clone(), own: Layer::new(resources(&high)) };
                let pushes = [stream.push(&state), stream.part()];
                for push in pushes.into_iter().flatten() {
                    prop_assert!(push.resources.is_empty() || push.removed.is_empty(), "what goes, goes alone");
                    client.apply(mode, &push);
                    let ack = Request { nonce: push.nonce, ..Request::default() };
                    stream.request(&ack);
                }
                prop_assert!(stream.is_settled());
                prop_assert_eq!(&client.has, &versions(&state));
                prop_assert!(stream.push(&state).is_none() && stream.part().is_none(), "nothing is sent twice");
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
            (stream.progress().acked.as_str(), stream.progress().error()),
            ("", "no".to_owned())
        );
        let push = stream.push(&set(&[(1, 2)])).unwrap();
        stream.request(&Request {
            nonce: push.nonce.clone(),
            ..Request::default()
        });
        assert_eq!(
            (stream.progress().acked.as_str(), stream.progress().error()),
            (push.nonce.as_str(), String::new())
        );
    }

    /// Whether the client takes each of two responses of one push, the additions and the removals, and what is remembered of it.
    #[test]
    fn what_is_taken_away_hides_no_rejection() {
        for (additions, removals, expected) in [(true, true, ""), (false, true, "no"), (true, false, "no")] {
            let request = Request::default();
            let mut stream = TypeStream::new(Kind::Cluster, Mode::Delta, &request);
            stream.request(&request);
            let first = stream.push(&set(&[(1, 1), (2, 1)])).unwrap();
            assert!(stream.awaits(&first.nonce) && stream.part().is_none());
            let answer = |nonce: &str, good: bool| Request {
                nonce: nonce.to_owned(),
                error: (!good).then(|| "no".to_owned()),
                ..Request::default()
            };
            // What was refused before is mended by the next push.
            stream.request(&answer(&first.nonce, false));
            let next = set(&[(1, 2)]);
            let (push, part) = (stream.push(&next).unwrap(), stream.part().unwrap());
            assert!(!stream.awaits(&first.nonce), "it is answered by others now");
            for (nonce, good) in [(&push.nonce, additions), (&part.nonce, removals)] {
                assert!(stream.awaits(nonce));
                stream.request(&answer(nonce, good));
                assert!(stream.push(&next).is_none() && stream.part().is_none());
            }
            assert_eq!(stream.progress().error(), expected, "{additions} {removals}");
        }
    }
}
