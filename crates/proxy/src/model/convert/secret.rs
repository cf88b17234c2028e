//! Secrets and references to them.

use std::sync::Arc;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::{Path, Result, data_source, required, text};
use crate::model::secret::{CertificateSource, SdsRef, SdsSource, Secret};
use crate::model::tls::RootSource;

/// A secret by name, as SDS or the bootstrap delivers it.
pub fn secret(source: &tls::Secret, at: &Path) -> Result<(Arc<str>, Secret)> {
    use tls::secret::Type;
    let secret = match &source.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            match certificate_source(certificate, &at.field("tls_certificate"))? {
                CertificateSource::Static { chain, key } => Secret::Certificate { chain, key },
                CertificateSource::Sds(_) => return Err(at.error("a secret cannot refer to another")),
            }
        }
        Some(Type::ValidationContext(context)) => {
            let at = at.field("validation_context");
            let data = required(context.trusted_ca.as_ref(), &at, "trusted_ca")?;
            Secret::Validation {
                roots: data_source(data, &at.field("trusted_ca"))?,
            }
        }
        Some(Type::SessionTicketKeys(_)) => return Err(at.field("session_ticket_keys").error("is not supported")),
        Some(Type::GenericSecret(_)) => return Err(at.field("generic_secret").error("is not supported")),
        None => return Err(at.error("needs tls_certificate or validation_context")),
    };
    Ok((text(&source.name), secret))
}

pub(super) fn certificate_source(source: &tls::TlsCertificate, at: &Path) -> Result<CertificateSource> {
    let chain = required(source.certificate_chain.as_ref(), at, "certificate_chain")?;
    let key = required(source.private_key.as_ref(), at, "private_key")?;
    Ok(CertificateSource::Static {
        chain: data_source(chain, &at.field("certificate_chain"))?,
        key: data_source(key, &at.field("private_key"))?,
    })
}

pub(super) fn trusted_ca(source: &core::DataSource, at: &Path) -> Result<RootSource> {
    data_source(source, at).map(RootSource::Static)
}

/// A named secret and who serves it; without a source it is one of the bootstrap's.
pub(super) fn sds_ref(source: &tls::SdsSecretConfig, at: &Path) -> Result<SdsRef> {
    use core::config_source::ConfigSourceSpecifier as Specifier;
    let at_config = at.field("sds_config");
    let specifier = source.sds_config.as_ref().map(|config| &config.config_source_specifier);
    let from = match specifier {
        None => SdsSource::Static,
        Some(Some(Specifier::Ads(_))) => SdsSource::Ads,
        Some(Some(Specifier::PathConfigSource(_))) => {
            let at = at_config.field("path_config_source");
            return Err(
                at.error("is not supported; name the files in tls_certificates and trusted_ca, which are watched")
            );
        }
        Some(Some(Specifier::ApiConfigSource(api))) => SdsSource::Cluster(grpc_cluster(api, &at_config)?),
        Some(_) => return Err(at_config.error("needs ads or api_config_source")),
    };
    Ok(SdsRef {
        name: text(&source.name),
        source: from,
    })
}

/// The cluster of an `api_config_source` that speaks gRPC.
pub fn grpc_cluster(source: &core::ApiConfigSource, at: &Path) -> Result<Arc<str>> {
    let at = at.field("api_config_source").field("grpc_services");
    let service = source.grpc_services.first().ok_or_else(|| at.error("is required"))?;
    envoy_grpc_cluster(service, &at.index(0))
}

/// The cluster of a gRPC service that has no settings of its own.
pub(super) fn envoy_grpc_cluster(source: &core::GrpcService, at: &Path) -> Result<Arc<str>> {
    let service = envoy_grpc(source, at)?;
    let own = [
        (source.timeout.is_some(), "timeout"),
        (!source.initial_metadata.is_empty(), "initial_metadata"),
    ];
    if let Some((_, field)) = own.iter().find(|(is_set, _)| *is_set) {
        return Err(at.field(field).error("is not supported here"));
    }
    if !service.authority.is_empty() {
        return Err(at.field("envoy_grpc").field("authority").error("is not supported here"));
    }
    Ok(text(&service.cluster_name))
}

/// What a gRPC service says of its cluster.
pub(in crate::model) fn envoy_grpc<'a>(
    source: &'a core::GrpcService,
    at: &Path,
) -> Result<&'a core::grpc_service::EnvoyGrpc> {
    match &source.target_specifier {
        Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(service)) => Ok(service),
        Some(core::grpc_service::TargetSpecifier::GoogleGrpc(_)) => {
            Err(at.field("google_grpc").error("is not supported, use envoy_grpc"))
        }
        None => Err(at.field("envoy_grpc").error("is required")),
    }
}
