//! What every object has: a kind, a name, labels, and the place where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use crate::kind::Kind;

/// Labels of an object, or the labels that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Kind, namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// Line and column in a file, both from 1; zero where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as it was named to the parser.
    pub file: Arc<str>,
    /// The position in it.
    pub at: Position,
}

/// The part of Kubernetes metadata that carries meaning here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The namespace; `default` where the document names none, empty for kinds without one.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    /// Creation time as Kubernetes writes it (RFC 3339, UTC, whole seconds); absent in files as a rule.
    pub created: Option<String>,
    /// How often the object was changed, as a server counts it; 0 in files as a rule.
    pub generation: i64,
}

/// An object of one kind with its metadata and the place where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<T> {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// Where the document starts.
    pub place: Place,
    /// Where the values of the direct fields of `spec` start.
    pub spec_fields: BTreeMap<String, Position>,
    /// What the object says.
    pub spec: T,
}

// === impl ObjectKey ===

/// `Kind/namespace/name`; `Kind/name` without a namespace.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.unique_name();
        if self.namespace.is_empty() {
            return write!(f, "{kind}/{}", self.name);
        }
        write!(f, "{kind}/{}/{}", self.namespace, self.name)
    }
}

// === impl Position ===

impl Position {
    /// A position from line and column, both from 1.
    pub fn new(line: u32, column: u32) -> Self {
        Self { line, column }
    }
}

// === impl Object ===

impl<T> Object<T> {
    /// A place in the same file.
    pub fn place_of(&self, at: Position) -> Place {
        Place {
            file: Arc::clone(&self.place.file),
            at,
        }
    }

    /// The place of a direct field of `spec`; the object's where the field is not written.
    pub fn place_of_field(&self, name: &str) -> Place {
        self.place_of(self.spec_fields.get(name).copied().unwrap_or(self.place.at))
    }

    /// The order in which objects that contradict each other win: the oldest, then by file, position and name.
    /// Objects without a creation time come after those with one.
    pub fn precedence(&self) -> (bool, Option<&str>, &str, Position, &str, &str) {
        (
            self.meta.created.is_none(),
            self.meta.created.as_deref(),
            &self.place.file,
            self.place.at,
            &self.meta.namespace,
            &self.meta.name,
        )
    }
}

/// Whether `labels` has every label that `selector` asks for. An empty selector selects everything.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
