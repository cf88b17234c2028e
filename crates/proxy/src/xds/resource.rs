//! Resources as they come over the wire.

use std::sync::Arc;
use std::time::SystemTime;

use weft_proto::xds::google::protobuf::Any;

/// A resource of a response.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name; empty in state-of-the-world responses, where it is inside.
    pub name: Arc<str>,
    /// Its version; empty in state-of-the-world responses.
    pub version: String,
    pub body: Any,
}

/// A discovered resource as it came, for the config dump.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its version; empty in state-of-the-world responses.
    pub version: String,
    pub body: Arc<[u8]>,
    /// When it came.
    pub updated: SystemTime,
}

// === impl Origin ===

impl Origin {
    /// A resource that came just now.
    pub(super) fn of(resource: &Resource) -> Self {
        Self {
            version: resource.version.clone(),
            body: resource.body.value.as_slice().into(),
            updated: SystemTime::now(),
        }
    }
}
