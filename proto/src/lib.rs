//! Wire contracts of the mesh: Envoy's xDS, Istio's certificate service, OTLP, and the words that both ends of a wire share. No logic.
//!
//! Protobuf types stop at the edges of the other crates; this is the only crate that names where they come from.

pub mod ads;
pub mod cluster_name;
pub mod defaults;
pub mod descriptors;
pub mod operators;

/// Types of the messages in use, by package; `cargo xtask gen` writes them.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
mod generated {
    include!("gen/modules.rs");
}

/// Envoy's API, `xds::envoy::…`, and what it builds on, `xds::google::…`, `xds::xds::…`: as much of it as the programs use.
pub mod xds {
    pub use super::generated::{envoy, google, xds};
}

/// Traces over OTLP (`proto/otlp.proto`).
pub use generated::opentelemetry::proto::collector::trace::v1 as otlp;

/// The certificate service of the mesh, on Istio's wire (`proto/ca.proto`).
pub use generated::istio::v1::auth as istio_ca;

/// Names that a proxy answers DNS queries for, on Istio's wire (`proto/names.proto`).
pub use generated::istio::networking::nds::v1 as names;

/// Configuration of a type that the reader may not know (`proto/typed_struct.proto`).
pub use generated::xds::r#type::v3 as typed_struct;
