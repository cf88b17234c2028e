//! The Sidecar object of a workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::meta::{Labels, Object, selects};
use weft_api::sidecar::Sidecar;

use super::MeshSettings;
use super::inputs::{Inputs, by_precedence};

/// Sidecars by namespace, winners first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecars {
    root: Arc<str>,
    by_namespace: BTreeMap<Arc<str>, Vec<Arc<Object<Sidecar>>>>,
}

// === impl Sidecars ===

impl Sidecars {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings) -> Self {
        let mut by_namespace: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for object in by_precedence(&inputs.sidecars) {
            by_namespace
                .entry(Arc::clone(&object.meta.namespace))
                .or_default()
                .push(Arc::clone(object));
        }
        Self {
            root: settings.root_namespace.as_str().into(),
            by_namespace,
        }
    }

    /// The one that applies: by selector in the namespace, the namespace's default, the root namespace's default.
    pub fn for_workload(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Object<Sidecar>>> {
        let selected = self.of(namespace).find(|object| {
            object
                .spec
                .workload_selector
                .as_ref()
                .is_some_and(|selector| selects(selector, labels))
        });
        selected
            .or_else(|| self.default_of(namespace))
            .or_else(|| self.default_of(&self.root))
    }

    fn default_of(&self, namespace: &str) -> Option<&Arc<Object<Sidecar>>> {
        self.of(namespace)
            .find(|object| object.spec.workload_selector.is_none())
    }

    /// The objects of a namespace, winners first.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object<Sidecar>>> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    /// Namespaces that have any.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_namespace.keys()
    }
}
