//! From configuration files to snapshots and resources: references, precedence, incremental building.

mod authorization;
mod authorization_evaluated;
mod authorization_made_up;
mod authorization_model;
mod authorization_places;
mod authorization_shown;
mod capture;
mod credentials;
mod endpoints;
mod findings;
mod gateway_routes;
mod generated;
mod incremental;
mod listing;
mod lookups;
mod names;
mod pods;
mod routes;

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

/// A workload of version `version` behind `app: NAME`, with its ports numbered from `port`.
fn workload(name: &str, version: &str, namespace: &str, port: u16, ready: bool) -> String {
    let mesh_port = port + 1;
    format!(
        "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
         metadata: {{name: {name}-{version}-0, namespace: {namespace}, labels: {{app: {name}, version: {version}}}}}\n\
         spec:\n  workloadName: {name}-{version}\n  serviceAccount: {name}\n  ready: {ready}\n  \
         ports: [{{name: http, appPort: {port}, meshPort: {mesh_port}}}]\n"
    )
}
