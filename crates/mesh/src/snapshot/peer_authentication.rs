//! Effective mTLS mode of a workload's port.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::meta::{Labels, Object, selects};
use weft_api::peer_authentication::{MtlsMode, PeerAuthentication};

use super::MeshSettings;
use super::inputs::{Inputs, by_precedence};

/// PeerAuthentications by namespace, the winner of a tie (the oldest) first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentications {
    root: Arc<str>,
    by_namespace: BTreeMap<Arc<str>, Vec<Arc<Object<PeerAuthentication>>>>,
}

// === impl PeerAuthentications ===

impl PeerAuthentications {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings) -> Self {
        let mut by_namespace: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for object in by_precedence(&inputs.peer_authentications) {
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

    /// What a workload accepts on a port: port of the workload's object, the workload's object, the namespace's, the root
    /// namespace's, else permissive (istio.io, "PeerAuthentication"). `port` is the application's port.
    pub fn effective(&self, namespace: &str, labels: &Labels, port: u16) -> MtlsMode {
        let mut mode = MtlsMode::Permissive;
        let wide = |namespace: &str| {
            self.of(namespace)
                .find(|object| object.spec.selector.is_none())
                .and_then(|object| object.spec.mode)
        };
        if let Some(root) = wide(&self.root) {
            mode = root;
        }
        if *namespace != *self.root
            && let Some(own) = wide(namespace)
        {
            mode = own;
        }
        let narrow = self.of(namespace).find(|object| {
            object
                .spec
                .selector
                .as_ref()
                .is_some_and(|selector| selects(selector, labels))
        });
        if let Some(object) = narrow {
            mode = object.spec.mode.unwrap_or(mode);
            if let Some(Some(own)) = object.spec.ports.get(&port) {
                mode = *own;
            }
        }
        mode
    }

    /// The ports for which the workload's own object has a mode.
    pub fn named_ports(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = u16> + use<'_> {
        let selects = |object: &&Arc<Object<PeerAuthentication>>| {
            let selector = object.spec.selector.as_ref();
            selector.is_some_and(|selector| selects(selector, labels))
        };
        let object = self.of(namespace).find(selects);
        object.into_iter().flat_map(|object| object.spec.ports.keys().copied())
    }

    /// The objects of a namespace, winners first.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object<PeerAuthentication>>> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object<PeerAuthentication>>> {
        self.by_namespace.values().flatten()
    }
}
