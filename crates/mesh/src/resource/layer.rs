//! Resources of one type as layers: a set that many proxies share, and the few that are one proxy's own.
//!
//! A layer knows how it differs from the one that it replaced, so that a push looks at what changed and not at everything.

use std::sync::{Arc, Weak};

use super::{Resource, ResourceSet};

/// An immutable set and its difference to the one before.
#[derive(Debug, Default)]
pub struct Layer {
    set: ResourceSet,
    since: Option<(Weak<Self>, Vec<Arc<str>>)>,
}

/// All resources of one type for one proxy. Cloning is cheap; a name is in one of the layers at most.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The same for every proxy of a scope.
    pub shared: Arc<Layer>,
    /// Of this proxy alone.
    pub own: Arc<Layer>,
}

// === impl Layer ===

impl Layer {
    /// A layer by itself.
    pub fn new(set: ResourceSet) -> Arc<Self> {
        Arc::new(Self { set, since: None })
    }

    /// The layer that replaces `before`: that very one if nothing differs.
    pub fn after(before: Option<&Arc<Self>>, set: ResourceSet) -> Arc<Self> {
        let Some(before) = before else {
            return Self::new(set);
        };
        let version = |set: &ResourceSet, name: &Arc<str>| set.get(name).map(|resource| resource.version.clone());
        let new = set.iter().filter(|(name, resource)| {
            let known = before.set.get(*name);
            known.is_none_or(|known| known.version != resource.version)
        });
        let gone = before.set.keys().filter(|name| version(&set, name).is_none());
        let names: Vec<Arc<str>> = new.map(|(name, _)| name).chain(gone).cloned().collect();
        if names.is_empty() {
            return Arc::clone(before);
        }
        Arc::new(Self {
            set,
            since: Some((Arc::downgrade(before), names)),
        })
    }

    pub fn set(&self) -> &ResourceSet {
        &self.set
    }

    /// The names that differ from `before`; `None` where that is not known.
    fn changed_since(self: &Arc<Self>, before: &Arc<Self>) -> Option<&[Arc<str>]> {
        if Arc::ptr_eq(self, before) {
            return Some(&[]);
        }
        let (from, names) = self.since.as_ref()?;
        Weak::ptr_eq(from, &Arc::downgrade(before)).then_some(names.as_slice())
    }
}

// === impl Resources ===

impl Resources {
    /// Resources without a shared part.
    pub fn own(set: ResourceSet) -> Self {
        Self {
            own: Layer::new(set),
            ..Self::default()
        }
    }

    /// A resource by name.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.own.set.get(name).or_else(|| self.shared.set.get(name))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Resource)> {
        self.shared.set.iter().chain(&self.own.set)
    }

    pub fn len(&self) -> usize {
        self.shared.set.len() + self.own.set.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names that differ from `before`; `None` where everything has to be looked at.
    pub fn changed_since<'a>(&'a self, before: &Self) -> Option<impl Iterator<Item = &'a Arc<str>> + use<'a>> {
        let shared = self.shared.changed_since(&before.shared)?;
        let own = self.own.changed_since(&before.own)?;
        Some(shared.iter().chain(own))
    }
}
