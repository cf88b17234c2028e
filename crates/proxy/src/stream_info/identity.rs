//! Who the two sides of a connection are by their certificates, one value for each pair that a thread has seen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Most pairs that a thread remembers; a full map is emptied, and what is asked again gets a new value.
const REMEMBERED_MAX: usize = 4_096;

/// Names of both certificates of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// URI name of this proxy's.
    pub local: Option<Arc<str>>,
    /// URI name of the peer's, verified.
    pub peer: Option<Arc<str>>,
}

/// The pairs that a thread has seen.
#[derive(Debug, Default)]
pub struct Identities {
    known: RefCell<HashMap<Identity, Rc<Identity>, RandomState>>,
}

// === impl Identities ===

impl Identities {
    /// The one value for a pair of names; `None` for two unknown ones.
    pub fn of(&self, local: Option<Arc<str>>, peer: Option<Arc<str>>) -> Option<Rc<Identity>> {
        if local.is_none() && peer.is_none() {
            return None;
        }
        let identity = Identity { local, peer };
        let mut known = self.known.borrow_mut();
        if let Some(shared) = known.get(&identity) {
            return Some(shared.clone());
        }
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        let shared = Rc::new(identity.clone());
        known.insert(identity, shared.clone());
        Some(shared)
    }
}
