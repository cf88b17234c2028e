//! Findings about references between objects.

use weft_api::diagnostic::Diagnostic;

use super::MeshSnapshot;

/// All findings, sorted by place.
pub(super) fn check(_snapshot: &MeshSnapshot) -> Vec<Diagnostic> {
    Vec::new()
}
