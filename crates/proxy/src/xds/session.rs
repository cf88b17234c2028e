//! What an xDS client says on one stream, as a state machine without I/O
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>).
//!
//! A rejected resource is not recorded as known, so that it is asked for again on the next stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_proto::ads::{Kind, Mode};

/// Longest text about rejected resources in bytes.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// Names of resources.
pub type Names = BTreeSet<Arc<str>>;

/// One message to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Type asked for.
    pub type_url: &'static str,
    /// The response that this answers; empty where it answers none.
    pub nonce: String,
    /// Why the answered response was rejected.
    pub error: Option<String>,
    /// State of the world: the version in use.
    pub version: String,
    /// State of the world: all names; empty asks for everything.
    pub names: Vec<Arc<str>>,
    /// Delta: names newly asked for.
    pub subscribe: Vec<Arc<str>>,
    /// Delta: names no longer asked for.
    pub unsubscribe: Vec<Arc<str>>,
    /// Delta, first message of a type: versions still known from the stream before.
    pub known: Vec<(Arc<str>, String)>,
}

/// What a response brings.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Version of the whole, state of the world only.
    pub version: String,
    /// To be answered with.
    pub nonce: String,
    /// Names and versions of the resources in it that were accepted.
    pub accepted: Vec<(Arc<str>, String)>,
    /// Names of removed resources.
    pub removed: Vec<Arc<str>>,
    /// Rejected resources: name and reason.
    pub rejected: Vec<(Arc<str>, String)>,
}

/// The client's side of a stream; lives over reconnects.
#[derive(Debug)]
pub struct Session {
    mode: Mode,
    types: BTreeMap<Kind, TypeState>,
}

#[derive(Debug, Default)]
struct TypeState {
    enabled: bool,
    started: bool,
    names: Names,
    version: String,
    nonce: String,
    known: BTreeMap<Arc<str>, String>,
}

/// Everything that was rejected as one text, of which servers take so much.
pub(super) fn told(rejected: &[(Arc<str>, String)]) -> String {
    let mut text = String::new();
    for (index, (name, reason)) in rejected.iter().enumerate() {
        if text.len() + name.len() + reason.len() > ERROR_BYTES_MAX {
            let left = rejected.len() - index;
            text.push_str(&format!("; and {left} more"));
            break;
        }
        let separator = if text.is_empty() { "" } else { "; " };
        text.push_str(&format!("{separator}{name}: {reason}"));
    }
    text
}

// === impl Session ===

impl Session {
    /// A session that asks for everything of the `wildcard` types and for other types by name.
    pub fn new(mode: Mode, wildcard: &[Kind]) -> Self {
        let state = |kind: Kind| TypeState {
            enabled: !kind.is_wildcard() || wildcard.contains(&kind),
            ..TypeState::default()
        };
        Self {
            mode,
            types: Kind::ALL.into_iter().map(|kind| (kind, state(kind))).collect(),
        }
    }

    /// The first messages of a new stream.
    pub fn open(&mut self) -> Vec<Request> {
        for state in self.types.values_mut() {
            state.started = false;
            state.nonce.clear();
        }
        Kind::ALL.into_iter().filter_map(|kind| self.begin(kind)).collect()
    }

    /// The names asked for have changed.
    pub fn ask_for(&mut self, kind: Kind, names: Names) -> Option<Request> {
        let state = self.types.get_mut(&kind)?;
        if kind.is_wildcard() || state.names == names {
            return None;
        }
        let before = std::mem::replace(&mut state.names, names);
        state.known.retain(|name, _| state.names.contains(name));
        if !state.started {
            return self.begin(kind);
        }
        let state = self.types.get(&kind)?;
        let mut request = self.request(kind, state);
        request.subscribe = state.names.difference(&before).cloned().collect();
        request.unsubscribe = before.difference(&state.names).cloned().collect();
        Some(request)
    }

    /// Answers a response.
    pub fn answer(&mut self, kind: Kind, response: Response) -> Option<Request> {
        let state = self.types.get_mut(&kind)?;
        state.nonce.clone_from(&response.nonce);
        if self.mode == Mode::StateOfTheWorld && kind.is_wildcard() {
            state.known.clear();
        }
        state.known.extend(response.accepted);
        for name in response
            .removed
            .iter()
            .chain(response.rejected.iter().map(|(name, _)| name))
        {
            state.known.remove(name);
        }
        if response.rejected.is_empty() {
            state.version = response.version;
        }
        let state = self.types.get(&kind)?;
        let mut request = self.request(kind, state);
        request.nonce = response.nonce;
        request.error = (!response.rejected.is_empty()).then(|| told(&response.rejected));
        Some(request)
    }

    fn begin(&mut self, kind: Kind) -> Option<Request> {
        let state = self.types.get_mut(&kind)?;
        if !state.enabled || (!kind.is_wildcard() && state.names.is_empty()) {
            return None;
        }
        state.started = true;
        let state = self.types.get(&kind)?;
        let mut request = self.request(kind, state);
        if self.mode == Mode::Delta {
            request.subscribe = state.names.iter().cloned().collect();
            request.known = state
                .known
                .iter()
                .map(|(name, version)| (name.clone(), version.clone()))
                .collect();
        }
        Some(request)
    }

    fn request(&self, kind: Kind, state: &TypeState) -> Request {
        let mut request = Request {
            type_url: kind.type_url(),
            ..Request::default()
        };
        if self.mode == Mode::StateOfTheWorld {
            request.nonce.clone_from(&state.nonce);
            request.version.clone_from(&state.version);
            request.names = state.names.iter().cloned().collect();
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Names {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    fn accepted(list: &[(&str, &str)]) -> Vec<(Arc<str>, String)> {
        list.iter()
            .map(|(name, version)| (Arc::from(*name), (*version).to_owned()))
            .collect()
    }

    #[test]
    fn delta_subscribes_by_difference_and_resumes_by_version() {
        let mut session = Session::new(Mode::Delta, &[Kind::Cluster]);
        let first = session.open();
        assert_eq!(
            first.iter().map(|r| r.type_url).collect::<Vec<_>>(),
            [Kind::Cluster.type_url()]
        );
        let eds = session.ask_for(Kind::Endpoints, names(&["a", "b"])).unwrap();
        assert_eq!(eds.subscribe.len(), 2);
        let ack = session.answer(
            Kind::Endpoints,
            Response {
                nonce: "1".to_owned(),
                accepted: accepted(&[("a", "v1")]),
                rejected: vec![(Arc::from("b"), "broken".to_owned())],
                ..Response::default()
            },
        );
        let ack = ack.unwrap();
        assert_eq!((ack.nonce.as_str(), ack.error.as_deref()), ("1", Some("b: broken")));
        let change = session.ask_for(Kind::Endpoints, names(&["b", "c"])).unwrap();
        assert_eq!(
            (change.subscribe, change.unsubscribe),
            (vec![Arc::from("c")], vec![Arc::from("a")])
        );
        assert!(session.ask_for(Kind::Endpoints, names(&["b", "c"])).is_none());
        session.answer(
            Kind::Endpoints,
            Response {
                nonce: "2".to_owned(),
                accepted: accepted(&[("c", "v2")]),
                ..Response::default()
            },
        );
        let again = session.open();
        let eds = again.iter().find(|r| r.type_url == Kind::Endpoints.type_url()).unwrap();
        assert_eq!(
            eds.known,
            accepted(&[("c", "v2")]),
            "the rejected one is asked for anew"
        );
        assert_eq!((eds.subscribe.len(), eds.nonce.as_str()), (2, ""));
    }

    #[test]
    fn state_of_the_world_keeps_the_good_version_on_rejection() {
        let mut session = Session::new(Mode::StateOfTheWorld, &[Kind::Cluster, Kind::Listener]);
        assert_eq!(session.open().len(), 2);
        let good = Response {
            version: "1".to_owned(),
            nonce: "n1".to_owned(),
            accepted: accepted(&[("a", "1")]),
            ..Response::default()
        };
        let ack = session.answer(Kind::Cluster, good).unwrap();
        assert_eq!((ack.version.as_str(), ack.nonce.as_str(), ack.error), ("1", "n1", None));
        let bad = Response {
            version: "2".to_owned(),
            nonce: "n2".to_owned(),
            rejected: vec![(Arc::from("a"), "no".to_owned())],
            ..Response::default()
        };
        let nack = session.answer(Kind::Cluster, bad).unwrap();
        assert_eq!((nack.version.as_str(), nack.nonce.as_str()), ("1", "n2"));
        assert!(nack.error.is_some());
    }
}
