//! Where objects come from. A source sends what changed; the store is the only one that listens.

pub mod file;
mod files;
pub mod kube;
mod watch;

use std::sync::Arc;

use weft_api::diagnostic::Diagnostic;
use weft_api::meta::ObjectKey;
use weft_api::resource::Resource;
use weft_api::stand_in::meaning;
use weft_mesh::snapshot::Credentials;

/// What changed at a source since its last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceEvent {
    /// Name of the source; its diagnostics replace those of its last event.
    pub source: Arc<str>,
    /// New and changed objects.
    pub upserted: Vec<Resource>,
    /// Objects that are gone.
    pub removed: Vec<ObjectKey>,
    /// All findings of the source as of now, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// The Secrets that the source was asked for, if that changed; files are not asked.
    pub credentials: Option<Credentials>,
}

/// Says in the hints of broken policies what holds in their place.
fn explain(findings: &mut [Diagnostic], stand_ins: &[Resource]) {
    for resource in stand_ins {
        let Some(meaning) = meaning(resource) else {
            continue;
        };
        let object = resource.key().to_string();
        for finding in findings.iter_mut().filter(|finding| finding.object == object) {
            if !finding.hint.is_empty() {
                finding.hint.push_str("; ");
            }
            finding.hint.push_str(meaning);
        }
    }
}
