//! Generated configuration that proxies share, made once per scope and snapshot whichever proxy asks first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use weft_mesh::generate::{ScopeKey, Shared, relevant_labels};
use weft_mesh::view::ProxyView;

/// Scopes of the running snapshot and the one before; clones share one state.
///
/// Bounded by the scopes that connected proxies have: an entry that nobody asked for during a whole generation is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    /// Labels that rules of this generation look at.
    relevant: Arc<BTreeSet<String>>,
    scopes: BTreeMap<ScopeKey, Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// Generation that asked for it last.
    asked: u64,
    /// Held while it is made, so that the others of the scope wait instead of making it too.
    made: Arc<Mutex<Option<Arc<Shared>>>>,
}

// === impl Cache ===

impl Cache {
    /// The shared part of a proxy's configuration. Makes it, in some milliseconds for a thousand services, where it is not
    /// there yet.
    pub(super) fn shared(&self, view: &ProxyView) -> Arc<Shared> {
        let generation = view.snapshot.generation;
        let made = {
            let mut state = self.state.lock();
            state.move_to(view);
            let key = ScopeKey::of(view, &state.relevant);
            let entry = state.scopes.entry(key).or_default();
            entry.asked = entry.asked.max(generation);
            entry.made.clone()
        };
        let mut made = made.lock();
        match &*made {
            // A slow stream may still ask for an older snapshot than the scope has: it gets the newer one.
            Some(shared) if shared.snapshot.generation >= generation => shared.clone(),
            before => {
                let shared = Arc::new(Shared::build(view, before.as_deref()));
                *made = Some(shared.clone());
                shared
            }
        }
    }
}

// === impl State ===

impl State {
    fn move_to(&mut self, view: &ProxyView) {
        let generation = view.snapshot.generation;
        if generation <= self.generation && self.generation != 0 {
            return;
        }
        let last = self.generation;
        self.generation = generation;
        self.relevant = Arc::new(relevant_labels(&view.snapshot));
        self.scopes.retain(|_, entry| entry.asked >= last);
    }
}
