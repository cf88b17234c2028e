//! Messages as resources: encoded, by name.

use std::sync::Arc;

use prost::{Message, Name};

use super::canonical::canonical;
use crate::resource::{Resource, ResourceSet};

/// Encoded messages under their names.
pub(super) fn encode<T: Message + Name>(messages: Vec<T>, name: impl Fn(&T) -> String) -> ResourceSet {
    let resource = |message: T| {
        let name: Arc<str> = Arc::from(name(&message));
        (name, encoded(&message))
    };
    messages.into_iter().map(resource).collect()
}

/// One message, encoded.
pub(super) fn encoded<T: Message + Name>(message: &T) -> Resource {
    let bytes = canonical(&T::type_url(), message.encode_to_vec());
    Resource::new(T::type_url(), bytes)
}
