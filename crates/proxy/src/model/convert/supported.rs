//! Which fields of which messages the proxy carries: `supported.txt`, read.
//!
//! The build script reads this file too: the descriptors that the proxy is built with know these messages and no others.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A type a line, then its fields, indented; comments begin with `#`.
const TABLE: &str = include_str!("supported.txt");

static CARRIED: LazyLock<BTreeMap<&str, Fields>> = LazyLock::new(|| read(TABLE));

/// The fields of a message that are carried.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<&'static str>);

// === impl Fields ===

impl Fields {
    /// Whether a field is among them.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|field| *field == "*" || *field == name)
    }
}

/// The fields carried of a message type; `None` where the type is not carried at all.
pub(crate) fn carried_fields(type_name: &str) -> Option<&'static Fields> {
    CARRIED.get(type_name)
}

/// Every message that is carried.
#[cfg(test)]
pub(crate) fn carried_types() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    CARRIED.iter().map(|(name, fields)| (*name, fields.0.as_slice()))
}

fn read(table: &'static str) -> BTreeMap<&'static str, Fields> {
    let mut types = BTreeMap::<&str, Fields>::new();
    let mut current = "";
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(field) => types.entry(current).or_default().0.push(field),
            None => {
                current = line;
                types.entry(current).or_default();
            }
        }
    }
    types
}
