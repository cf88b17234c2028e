//! Key material by name: read from a file, given inline, or fetched over SDS.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// Where bytes come from (Envoy `core.v3.DataSource`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// A file that is watched for changes.
    File(PathBuf),
    /// The bytes themselves.
    Inline(Bytes),
}

/// How a TLS context gets its key and chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Given in the context.
    Static {
        /// PEM chain, leaf first.
        chain: DataSource,
        /// PEM private key.
        key: DataSource,
    },
    /// A named secret.
    Sds(SdsRef),
}

/// A named secret and the server that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SdsRef {
    pub name: Arc<str>,
    /// Who serves it.
    pub source: SdsSource,
}

/// Who serves a named secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SdsSource {
    /// The aggregated stream.
    Ads,
    /// A gRPC cluster of its own; `sds-grpc` is answered from the workload's own identity where there is one.
    Cluster(Arc<str>),
    /// A static secret of the bootstrap.
    Static,
}

/// A secret as SDS or the bootstrap delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Key and chain.
    Certificate {
        /// PEM chain, leaf first.
        chain: DataSource,
        /// PEM private key.
        key: DataSource,
    },
    Validation {
        /// PEM bundle of roots.
        roots: DataSource,
    },
}
