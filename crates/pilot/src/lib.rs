//! Discovery server: reads users' objects, resolves them to one snapshot of the mesh, and serves it over xDS.

pub mod snapshot;
