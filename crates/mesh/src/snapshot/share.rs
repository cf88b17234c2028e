//! Keeps the old `Arc` where the new value is equal, so that "changed" is a pointer comparison downstream.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The old `Arc` if its value equals the new one.
pub fn keep<T: PartialEq>(new: T, old: Option<&Arc<T>>) -> Arc<T> {
    match old {
        Some(old) if **old == new => Arc::clone(old),
        _ => Arc::new(new),
    }
}

/// Replaces values that equal the old one under the same key by the old `Arc`.
pub(super) fn entries<K: Ord, V: PartialEq>(new: &mut BTreeMap<K, Arc<V>>, old: &BTreeMap<K, Arc<V>>) {
    for (key, value) in new {
        if let Some(before) = old.get(key)
            && before == value
        {
            *value = Arc::clone(before);
        }
    }
}
