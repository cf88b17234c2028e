//! Wire contracts of the mesh: Envoy's xDS, Istio's certificate service, OTLP. No logic.
//!
//! Protobuf types stop at the edges of the other crates; this is the only crate that names where they come from.

pub mod descriptors;

/// Envoy's API, `xds::envoy::…`, and what it builds on, `xds::google::…`, `xds::xds::…`.
pub use envoy_types::pb as xds;

/// Traces over OTLP.
pub mod otlp {
    pub use opentelemetry_proto::tonic::collector::trace::v1 as collector;
    pub use opentelemetry_proto::tonic::{common::v1 as common, resource::v1 as resource, trace::v1 as trace};
}

/// The certificate service of the mesh, on Istio's wire (`proto/ca.proto`).
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
pub mod istio_ca {
    include!("gen/istio.v1.auth.rs");
}

/// Names that a proxy answers DNS queries for, on Istio's wire (`proto/names.proto`).
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
pub mod names {
    include!("gen/istio.networking.nds.v1.rs");

    impl prost::Name for NameTable {
        const NAME: &'static str = "NameTable";
        const PACKAGE: &'static str = "istio.networking.nds.v1";

        fn type_url() -> String {
            "type.googleapis.com/istio.networking.nds.v1.NameTable".to_owned()
        }
    }
}

/// Configuration of a type that the reader may not know (`proto/typed_struct.proto`); the xDS types crate leaves it out.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
#[rustfmt::skip]
pub mod typed_struct {
    include!("gen/xds.type.v3.rs");

    impl prost::Name for TypedStruct {
        const NAME: &'static str = "TypedStruct";
        const PACKAGE: &'static str = "xds.type.v3";

        fn type_url() -> String {
            "type.googleapis.com/xds.type.v3.TypedStruct".to_owned()
        }
    }
}
