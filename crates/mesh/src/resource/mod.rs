//! Encoded resources, and sets of them.

pub mod layer;

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// Resources of one type by name.
pub type ResourceSet = BTreeMap<Arc<str>, Resource>;

/// A resource as it goes on the wire. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub type_url: Arc<str>,
    /// Hash of the bytes: the same content has the same version, whatever generation made it.
    pub version: Arc<str>,
    pub bytes: Arc<[u8]>,
}

// === impl Resource ===

impl Resource {
    /// A resource of encoded bytes.
    pub fn new(type_url: String, bytes: Vec<u8>) -> Self {
        Self {
            version: Arc::from(format!("{:016x}", xxh64(&bytes, 0))),
            type_url: Arc::from(type_url),
            bytes: Arc::from(bytes),
        }
    }
}
