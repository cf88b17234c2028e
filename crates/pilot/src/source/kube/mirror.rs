//! What the watches said, as objects: events in, differences out. No clock, no I/O, no tasks.
//!
//! A watch that starts over lists everything again; what the list does not have any more is gone, so that after a lost
//! connection, a relist or a restart of the server the mirror is what a new one would be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use weft_api::diagnostic::Diagnostic;
use weft_api::meta::ObjectKey;
use weft_api::parse::parse_json;
use weft_api::resource::Resource;
use weft_mesh::snapshot::{Answer, Credentials};

use super::kinds::WatchId;
use crate::source::{SourceEvent, explain};

/// What a watch says.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// It lists everything from now on.
    Restarted,
    /// An object of the list.
    Listed(Box<Value>),
    /// The list is complete.
    Complete,
    /// An object is new or changed.
    Changed(Box<Value>),
    /// An object is gone.
    Deleted {
        /// Its namespace; empty without one.
        namespace: String,
        name: String,
    },
    /// The server does not let us look.
    Refused,
}

/// An object as it was last seen.
#[derive(Clone, Debug, Default)]
struct Held {
    /// The object, when it was last readable, or what stands in for a policy that never was.
    resource: Option<Resource>,
    /// It was readable once.
    good: bool,
    /// What is wrong with it as it is.
    findings: Vec<Diagnostic>,
}

/// What one watch said.
#[derive(Debug, Default)]
struct Watch {
    objects: BTreeMap<ObjectKey, Held>,
    /// While a list comes in: what it had so far.
    listing: Option<BTreeSet<ObjectKey>>,
    /// Whether a list was complete once.
    listed: bool,
    /// Whether the server did not let us look last time.
    refused: bool,
}

/// The mirror of a server.
#[derive(Debug)]
pub struct Mirror {
    source: Arc<str>,
    watches: BTreeMap<WatchId, Watch>,
    changed: BTreeMap<ObjectKey, Option<Resource>>,
    findings_changed: bool,
    /// What was said last of the Secrets that gateways name.
    credentials: Credentials,
    discovered: bool,
    loaded: bool,
}

// === impl Mirror ===

impl Mirror {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self {
            source,
            watches: BTreeMap::new(),
            changed: BTreeMap::new(),
            findings_changed: false,
            credentials: Credentials::default(),
            discovered: false,
            loaded: false,
        }
    }

    /// All watches that the server needs were announced once.
    pub(super) fn discovered(&mut self) {
        self.discovered = true;
    }

    /// A watch starts.
    pub(super) fn expect(&mut self, watch: WatchId) {
        self.watches.entry(watch).or_default();
    }

    /// A watch ended for good: its objects are gone.
    pub(super) fn forget(&mut self, watch: &WatchId) {
        let Some(state) = self.watches.remove(watch) else {
            return;
        };
        for (key, held) in state.objects {
            self.gone(key, &held);
        }
    }

    /// Whether the first event was given.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The watches whose first list has not come.
    pub(super) fn missing(&self) -> String {
        let missing = self.watches.iter().filter(|(_, watch)| !watch.listed);
        missing.map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Takes in what a watch said.
    pub(super) fn take(&mut self, watch: &WatchId, news: News) {
        match news {
            News::Restarted => {
                let state = self.watches.entry(watch.clone()).or_default();
                state.listing = Some(BTreeSet::new());
            }
            News::Listed(object) | News::Changed(object) => self.put(watch, &object),
            News::Complete => self.complete(watch),
            News::Deleted { namespace, name } => {
                let key = ObjectKey {
                    kind: watch.kind,
                    namespace: namespace.into(),
                    name: name.into(),
                };
                let state = self.watches.entry(watch.clone()).or_default();
                if let Some(held) = state.objects.remove(&key) {
                    self.gone(key, &held);
                }
            }
            News::Refused => self.watches.entry(watch.clone()).or_default().refused = true,
        }
    }

    /// An object as it is now. One that is broken stays what it was when last readable; a policy that never was lets less through.
    fn put(&mut self, watch: &WatchId, object: &Value) {
        let parsed = parse_json(object);
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let key = ObjectKey {
            kind: watch.kind,
            namespace: text("namespace").into(),
            name: text("name").into(),
        };
        let state = self.watches.entry(watch.clone()).or_default();
        if let Some(listing) = &mut state.listing {
            listing.insert(key.clone());
        }
        let held = state.objects.entry(key.clone()).or_default();
        held.good |= !parsed.resources.is_empty();
        let stand_ins = if held.good { Vec::new() } else { parsed.stand_ins };
        let mut findings = parsed.diagnostics;
        explain(&mut findings, &stand_ins);
        if held.findings != findings {
            held.findings = findings;
            self.findings_changed = true;
        }
        if let Some(resource) = parsed.resources.into_iter().chain(stand_ins).next()
            && held.resource.as_ref() != Some(&resource)
        {
            held.resource = Some(resource.clone());
            self.changed.insert(key, Some(resource));
        }
    }

    /// What the list did not have is gone.
    fn complete(&mut self, watch: &WatchId) {
        let state = self.watches.entry(watch.clone()).or_default();
        state.listed = true;
        state.refused = false;
        let Some(listing) = state.listing.take() else {
            return;
        };
        let keys: Vec<ObjectKey> = state
            .objects
            .keys()
            .filter(|key| !listing.contains(key))
            .cloned()
            .collect();
        let gone: Vec<(ObjectKey, Held)> = keys
            .into_iter()
            .filter_map(|key| state.objects.remove(&key).map(|held| (key, held)))
            .collect();
        for (key, held) in gone {
            self.gone(key, &held);
        }
    }

    fn gone(&mut self, key: ObjectKey, held: &Held) {
        self.findings_changed |= !held.findings.is_empty();
        if held.resource.is_some() {
            self.changed.insert(key, None);
        }
    }

    /// What changed since the last event; the first one waits until everything was listed once.
    pub(super) fn event(&mut self) -> Option<SourceEvent> {
        if !self.loaded {
            if !self.discovered || self.watches.values().any(|watch| !watch.listed) {
                return None;
            }
            self.loaded = true;
        } else if self.changed.is_empty() && !self.findings_changed && *self.credentials == self.answers() {
            return None;
        }
        self.findings_changed = false;
        let mut event = SourceEvent {
            source: Arc::clone(&self.source),
            diagnostics: self.findings(),
            credentials: self.credentials_news(),
            ..SourceEvent::default()
        };
        for (key, resource) in std::mem::take(&mut self.changed) {
            match resource {
                Some(resource) => event.upserted.push(resource),
                None => event.removed.push(key),
            }
        }
        Some(event)
    }

    /// What came of the watches of single Secrets; those that were not answered yet are left out.
    fn answers(&self) -> BTreeMap<(Arc<str>, Arc<str>), Answer> {
        let credentials = self.watches.iter().filter(|(id, _)| id.is_credential());
        let answered = credentials.filter_map(|(id, watch)| Some((id.only.clone()?, watch.answer()?)));
        answered.collect()
    }

    fn credentials_news(&mut self) -> Option<Credentials> {
        let answers = self.answers();
        if *self.credentials == answers {
            return None;
        }
        self.credentials = Arc::new(answers);
        Some(Arc::clone(&self.credentials))
    }

    fn findings(&self) -> Vec<Diagnostic> {
        let held = self.watches.values().flat_map(|watch| watch.objects.values());
        let mut findings: Vec<Diagnostic> = held.flat_map(|held| &held.findings).cloned().collect();
        findings.sort();
        findings
    }
}

// === impl Watch ===

impl Watch {
    /// What it says of the one object that it is for; nothing before its first list.
    fn answer(&self) -> Option<Answer> {
        if self.refused {
            return Some(Answer::Refused);
        }
        if self.objects.values().any(|held| held.resource.is_none()) {
            return Some(Answer::Unusable);
        }
        self.listed.then_some(Answer::Read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use weft_api::meta::Kind;
    use weft_api::peer_authentication::MtlsMode;

    use super::*;

    fn id(kind: Kind) -> WatchId {
        WatchId { kind, only: None }
    }

    /// A VirtualService whose timeout is `version` seconds; broken for version 9.
    fn object(name: &str, version: u8) -> Box<Value> {
        let field = if version == 9 { "timeot" } else { "timeout" };
        Box::new(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": name}}], field: format!("{version}s")}]},
        }))
    }

    fn deleted(name: &str) -> News {
        News::Deleted {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    /// A mirror that was loaded with an empty list.
    fn loaded() -> Mirror {
        let mut mirror = Mirror::new("test".into());
        mirror.expect(id(Kind::VirtualService));
        mirror.discovered();
        mirror.take(&id(Kind::VirtualService), News::Restarted);
        mirror.take(&id(Kind::VirtualService), News::Complete);
        assert!(mirror.event().is_some());
        mirror
    }

    fn names(event: &SourceEvent) -> (Vec<String>, Vec<String>) {
        let upserted = event.upserted.iter().map(|resource| resource.meta().name.to_string());
        (
            upserted.collect(),
            event.removed.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn nothing_is_said_before_everything_was_listed() {
        let mut mirror = Mirror::new("test".into());
        let (rules, services) = (id(Kind::VirtualService), id(Kind::Service));
        assert_eq!(mirror.event(), None);
        mirror.expect(rules.clone());
        mirror.expect(services.clone());
        mirror.discovered();
        mirror.take(&rules, News::Restarted);
        mirror.take(&rules, News::Listed(object("a", 1)));
        mirror.take(&rules, News::Complete);
        assert_eq!((mirror.event(), mirror.missing().as_str()), (None, "Service"));
        mirror.take(&services, News::Restarted);
        assert_eq!(mirror.event(), None);
        mirror.take(&services, News::Complete);
        let event = mirror.event().unwrap();
        assert_eq!(names(&event), (vec!["a".to_owned()], vec![]));
        // A kind that appears later holds nothing back.
        mirror.expect(id(Kind::Gateway));
        mirror.take(&rules, News::Changed(object("a", 2)));
        assert!(mirror.event().is_some());
    }

    #[test]
    fn only_what_changed_flows() {
        let mut mirror = loaded();
        let rules = id(Kind::VirtualService);
        mirror.take(&rules, News::Changed(object("a", 1)));
        assert!(mirror.event().is_some());
        mirror.take(&rules, News::Changed(object("a", 1)));
        assert_eq!(mirror.event(), None);
        // Listed again as it was: nothing flows either.
        mirror.take(&rules, News::Restarted);
        mirror.take(&rules, News::Listed(object("a", 1)));
        assert_eq!(mirror.event(), None);
        mirror.take(&rules, News::Complete);
        assert_eq!(mirror.event(), None);
    }

    #[test]
    fn a_broken_object_stays_what_it_was_and_is_reported() {
        let mut mirror = loaded();
        let rules = id(Kind::VirtualService);
        mirror.take(&rules, News::Changed(object("a", 1)));
        mirror.event().unwrap();
        mirror.take(&rules, News::Changed(object("a", 9)));
        let event = mirror.event().unwrap();
        assert_eq!(names(&event), (vec![], vec![]));
        let found = &event.diagnostics[0];
        assert_eq!(
            (found.object.as_str(), found.field.as_str(), &*found.file),
            ("VirtualService/default/a", "spec.http[0].timeot", "")
        );
        mirror.take(&rules, deleted("a"));
        let event = mirror.event().unwrap();
        assert_eq!(names(&event), (vec![], vec!["VirtualService/default/a".to_owned()]));
        assert_eq!(event.diagnostics, []);
    }

    #[test]
    fn a_policy_that_was_never_good_closes() {
        let mut mirror = loaded();
        let policies = id(Kind::PeerAuthentication);
        let policy = |mtls: Value| {
            News::Changed(Box::new(json!({
                "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
                "metadata": {"name": "a", "namespace": "default"}, "spec": {"mtls": mtls},
            })))
        };
        let mut check = |mtls: Value, modes: &[MtlsMode], explained: bool| {
            mirror.take(&policies, policy(mtls));
            let event = mirror.event().unwrap();
            let found = event.upserted.iter().map(|resource| {
                let Resource::PeerAuthentication(object) = resource else {
                    panic!("{resource:?}");
                };
                object.spec.mode.unwrap()
            });
            assert_eq!(found.collect::<Vec<_>>(), modes);
            let hints = event.diagnostics.iter().map(|found| found.hint.as_str());
            assert_eq!(hints.collect::<String>().contains("mesh mTLS only"), explained);
        };
        check(json!({"mod": "STRICT"}), &[MtlsMode::Strict], true);
        check(json!({"mode": "DISABLE"}), &[MtlsMode::Disable], false);
        check(json!({"mode": "strict"}), &[], false);
    }

    /// A Secret is missing only when the server has said so.
    #[test]
    fn secrets_are_known_once_they_were_asked_for() {
        let mut mirror = loaded();
        let watch = WatchId::credential(&"edge".into(), "tls");
        let secret = |keys: Value| {
            Box::new(
                json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": "tls", "namespace": "edge"}, "data": keys}),
            )
        };
        let answer = |mirror: &mut Mirror| {
            let event = mirror.event()?;
            let credentials = event.credentials?;
            assert!(credentials.len() < 2, "{credentials:?}");
            Some(credentials.values().next().copied())
        };
        mirror.expect(watch.clone());
        assert_eq!(answer(&mut mirror), None);
        mirror.take(&watch, News::Refused);
        assert_eq!(answer(&mut mirror), Some(Some(Answer::Refused)));
        mirror.take(&watch, News::Restarted);
        assert_eq!(answer(&mut mirror), None);
        mirror.take(&watch, News::Complete);
        assert_eq!(answer(&mut mirror), Some(Some(Answer::Read)));
        mirror.take(&watch, News::Changed(secret(json!({"tls.crt": "YQ=="}))));
        assert_eq!(answer(&mut mirror), Some(Some(Answer::Unusable)));
        mirror.take(
            &watch,
            News::Changed(secret(json!({"tls.crt": "YQ==", "tls.key": "YQ=="}))),
        );
        assert_eq!(answer(&mut mirror), Some(Some(Answer::Read)));
        mirror.forget(&watch);
        assert_eq!(answer(&mut mirror), Some(None));
    }

    /// What happens to a server, and to the connection with it.
    #[derive(Clone, Debug)]
    enum World {
        Put(u8, u8),
        Delete(u8),
        /// From now on the watch hears nothing.
        Cut,
        /// The watch starts over; it is cut again after so many objects of the list.
        Relist(Option<u8>),
    }

    fn world() -> impl Strategy<Value = World> {
        prop_oneof![
            4 => (0..6_u8, 0..4_u8).prop_map(|(name, version)| World::Put(name, version)),
            2 => (0..6_u8).prop_map(World::Delete),
            1 => Just(World::Cut),
            2 => prop::option::of(0..4_u8).prop_map(World::Relist),
        ]
    }

    proptest! {
        /// Whatever was lost on the way, after the next complete list the objects are those of a mirror that starts anew.
        #[test]
        fn converges_to_what_a_restart_would_see(events in prop::collection::vec(world(), 0..60)) {
            let rules = id(Kind::VirtualService);
            let mut mirror = loaded();
            let mut held: BTreeMap<ObjectKey, Resource> = BTreeMap::new();
            let mut server: BTreeMap<u8, u8> = BTreeMap::new();
            let mut connected = true;
            let name = |number: u8| format!("vs{number}");
            for event in events.into_iter().chain([World::Relist(None)]) {
                match event {
                    World::Put(number, version) => {
                        server.insert(number, version);
                        if connected {
                            mirror.take(&rules, News::Changed(object(&name(number), version)));
                        }
                    }
                    World::Delete(number) => {
                        if server.remove(&number).is_some() && connected {
                            mirror.take(&rules, deleted(&name(number)));
                        }
                    }
                    World::Cut => connected = false,
                    World::Relist(cut) => {
                        mirror.take(&rules, News::Restarted);
                        let listed = cut.map_or(server.len(), usize::from);
                        for (number, version) in server.iter().take(listed) {
                            mirror.take(&rules, News::Listed(object(&name(*number), *version)));
                        }
                        connected = cut.is_none();
                        if connected {
                            mirror.take(&rules, News::Complete);
                        }
                    }
                }
                if let Some(event) = mirror.event() {
                    for resource in event.upserted {
                        held.insert(resource.key(), resource);
                    }
                    for key in event.removed {
                        prop_assert!(held.remove(&key).is_some(), "{key} was removed twice");
                    }
                }
            }
            let mut fresh = Mirror::new("fresh".into());
            fresh.expect(rules.clone());
            fresh.discovered();
            fresh.take(&rules, News::Restarted);
            for (number, version) in &server {
                fresh.take(&rules, News::Listed(object(&name(*number), *version)));
            }
            fresh.take(&rules, News::Complete);
            let expected: BTreeMap<ObjectKey, Resource> = fresh
                .event()
                .into_iter()
                .flat_map(|event| event.upserted)
                .map(|resource| (resource.key(), resource))
                .collect();
            prop_assert_eq!(held, expected);
        }
    }
}
