//! Gateways by name and by workload, and the secrets that they use.

use std::sync::Arc;

use weft_api::gateway::Gateway;
use weft_api::meta::{Labels, Object, selects};
use weft_api::secret::Secret;

use super::inputs::{ByName, Inputs, by_precedence};

/// Gateway objects, winners first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    all: Vec<Arc<Object<Gateway>>>,
}

/// Secrets by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    by_name: ByName<Secret>,
}

// === impl Gateways ===

impl Gateways {
    pub(super) fn build(inputs: &Inputs) -> Self {
        Self {
            all: by_precedence(&inputs.gateways).into_iter().map(Arc::clone).collect(),
        }
    }

    /// All gateways, winners first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object<Gateway>>> {
        self.all.iter()
    }

    /// A gateway by name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object<Gateway>>> {
        self.all
            .iter()
            .find(|object| *object.meta.namespace == *namespace && *object.meta.name == *name)
    }

    /// The gateways that choose a workload with these labels, in any namespace, winners first.
    pub fn for_workload<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Arc<Object<Gateway>>> {
        self.all
            .iter()
            .filter(move |object| selects(&object.spec.selector, labels))
    }
}

// === impl Secrets ===

impl Secrets {
    pub(super) fn build(inputs: &Inputs) -> Self {
        Self {
            by_name: Arc::clone(&inputs.secrets),
        }
    }

    /// A secret by namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object<Secret>>> {
        self.by_name.get(&(namespace.into(), name.into()))
    }
}
