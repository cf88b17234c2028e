//! Clusters over configuration changes: what did not change stays itself, what did takes its state over by name.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::Resources;
use crate::model::cluster::Discovery;
use crate::runtime::Runtime;
use crate::secrets::SecretStore;
use crate::upstream::cluster::Cluster;

/// The clusters of the next generation.
pub(super) fn clusters(
    resources: &Resources,
    previous: &Runtime,
    provider: &Arc<CryptoProvider>,
    secrets: &SecretStore,
) -> HashMap<Arc<str>, Arc<Cluster>> {
    let mut clusters = HashMap::with_capacity(resources.clusters.len());
    for (name, model) in &resources.clusters {
        let before = previous.clusters.get(name);
        let cluster = match before {
            Some(before) if Arc::ptr_eq(&before.model, model) => before.clone(),
            before => Cluster::new(model.clone(), before.map(|before| &**before), provider, secrets),
        };
        if let Discovery::Eds(service) = &model.discovery
            && let Some(assignment) = resources.endpoints.get(service)
        {
            cluster.update_if_changed(assignment);
        }
        clusters.insert(name.clone(), cluster);
    }
    clusters
}
