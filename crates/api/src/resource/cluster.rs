//! Kubernetes `v1` Node and Namespace: all that the mesh needs of them is in their metadata.

use crate::matching::Locality;
use crate::meta::Labels;

/// A node; its labels say where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node;

/// A namespace; its labels say whether it takes part in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace;

/// Region, zone and sub-zone of a node with these labels: `topology.kubernetes.io/*`; the sub-zone is Istio's own label.
pub fn locality(labels: &Labels) -> Locality {
    let of = |key: &str| labels.get(key).cloned().unwrap_or_default();
    Locality {
        region: of("topology.kubernetes.io/region"),
        zone: of("topology.kubernetes.io/zone"),
        sub_zone: of("topology.istio.io/subzone"),
    }
}
