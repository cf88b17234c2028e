//! A running pilot: from real files to snapshots, from snapshots to the stream of a proxy.

mod discovery;
mod files;
mod strangers;

use std::sync::Arc;

use weft_api::parse::parse;
use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};

/// The snapshot of some text that must be readable.
#[track_caller]
fn snapshot(text: &str) -> MeshSnapshot {
    let parsed = parse("mesh.yaml", text);
    let broken: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(broken, Vec::<String>::new());
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    build(inputs, &Arc::new(MeshSettings::default()), 1, None)
}

/// A service with one HTTP port 80 that selects `app: NAME`.
fn service(name: &str, namespace: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         selector: {{app: {name}}}\n  ports: [{{name: http, port: 80}}]\n"
    )
}
