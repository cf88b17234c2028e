//! TLS contexts.

use std::sync::Arc;

use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::matcher::string_matcher;
use super::secret::{certificate_source, sds_ref, trusted_ca};
use super::{Path, Result, boolean, enumeration, holds, required, text, unpack};
use crate::model::secret::CertificateSource;
use crate::model::tls::{
    DownstreamTls, RootSource, SanKind, SanMatcher, TlsCommon, TlsVersion, UpstreamTls, Validation,
};

/// The context of a filter chain's transport socket; `None` is plaintext.
pub(super) fn downstream(source: Option<&core::TransportSocket>, at: &Path) -> Result<Option<DownstreamTls>> {
    let Some((any, at)) = typed_config(source, at)? else {
        return Ok(None);
    };
    if holds::<RawBuffer>(any) {
        return Ok(None);
    }
    let context: tls::DownstreamTlsContext = unpack(any, &at)?;
    let common = common(
        required(context.common_tls_context.as_ref(), &at, "common_tls_context")?,
        &at,
    )?;
    if common.certificates.is_empty() {
        return Err(at
            .field("common_tls_context")
            .error("needs tls_certificates or tls_certificate_sds_secret_configs"));
    }
    let require_client_certificate = boolean(context.require_client_certificate.as_ref(), false);
    if require_client_certificate && common.validation.is_none() {
        return Err(at
            .field("require_client_certificate")
            .error("needs a validation_context to check certificates by"));
    }
    Ok(Some(DownstreamTls {
        common,
        require_client_certificate,
    }))
}

/// The context of a cluster's transport socket; `None` is plaintext.
pub(super) fn upstream(source: Option<&core::TransportSocket>, at: &Path) -> Result<Option<Arc<UpstreamTls>>> {
    let Some((any, at)) = typed_config(source, at)? else {
        return Ok(None);
    };
    if holds::<RawBuffer>(any) {
        return Ok(None);
    }
    let context: tls::UpstreamTlsContext = unpack(any, &at)?;
    let common = match &context.common_tls_context {
        Some(source) => common(source, &at)?,
        None => common(&tls::CommonTlsContext::default(), &at)?,
    };
    Ok(Some(Arc::new(UpstreamTls {
        common,
        sni: (!context.sni.is_empty()).then(|| text(&context.sni)),
        auto_host_sni: context.auto_host_sni,
        auto_sni_san_validation: context.auto_sni_san_validation,
    })))
}

fn typed_config<'a>(
    source: Option<&'a core::TransportSocket>,
    at: &Path,
) -> Result<Option<(&'a weft_proto::xds::google::protobuf::Any, Path)>> {
    use core::transport_socket::ConfigType;
    let Some(source) = source else {
        return Ok(None);
    };
    let at = at.field("typed_config");
    match &source.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(Some((any, at))),
        None => Err(at.error("is required")),
    }
}

fn common(source: &tls::CommonTlsContext, at: &Path) -> Result<TlsCommon> {
    let at = at.field("common_tls_context");
    let mut certificates: Vec<CertificateSource> = Vec::new();
    for (index, certificate) in source.tls_certificates.iter().enumerate() {
        certificates.push(certificate_source(
            certificate,
            &at.field("tls_certificates").index(index),
        )?);
    }
    for (index, config) in source.tls_certificate_sds_secret_configs.iter().enumerate() {
        let at = at.field("tls_certificate_sds_secret_configs").index(index);
        certificates.push(CertificateSource::Sds(sds_ref(config, &at)?));
    }
    let params = source.tls_params.clone().unwrap_or_default();
    let at_params = at.field("tls_params");
    let min_version = version(params.tls_minimum_protocol_version, TlsVersion::V1_2, &at_params)?;
    let max_version = version(params.tls_maximum_protocol_version, TlsVersion::V1_3, &at_params)?;
    if min_version > max_version {
        return Err(at_params.error("the minimum version is above the maximum"));
    }
    Ok(TlsCommon {
        certificates,
        validation: validation(source, &at)?,
        alpn: source.alpn_protocols.iter().map(|protocol| text(protocol)).collect(),
        min_version,
        max_version,
    })
}

fn version(value: i32, default: TlsVersion, at: &Path) -> Result<TlsVersion> {
    use tls::tls_parameters::TlsProtocol;
    match enumeration(value, at, "tls_protocol_version")? {
        TlsProtocol::TlsAuto => Ok(default),
        TlsProtocol::TlSv12 => Ok(TlsVersion::V1_2),
        TlsProtocol::TlSv13 => Ok(TlsVersion::V1_3),
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => Err(at.error("TLS below 1.2 is not supported")),
    }
}

fn validation(source: &tls::CommonTlsContext, at: &Path) -> Result<Option<Validation>> {
    use tls::common_tls_context::ValidationContextType as Type;
    Ok(match &source.validation_context_type {
        None => None,
        Some(Type::ValidationContext(context)) => Some(context_rules(context, &at.field("validation_context"))?),
        Some(Type::ValidationContextSdsSecretConfig(config)) => Some(Validation {
            roots: Some(RootSource::Sds(sds_ref(
                config,
                &at.field("validation_context_sds_secret_config"),
            )?)),
            subject_alt_names: Vec::new(),
        }),
        Some(Type::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            let mut rules = match &combined.default_validation_context {
                Some(context) => context_rules(context, &at.field("default_validation_context"))?,
                None => context_rules(&tls::CertificateValidationContext::default(), &at)?,
            };
            let config = required(
                combined.validation_context_sds_secret_config.as_ref(),
                &at,
                "validation_context_sds_secret_config",
            )?;
            rules.roots = Some(RootSource::Sds(sds_ref(
                config,
                &at.field("validation_context_sds_secret_config"),
            )?));
            Some(rules)
        }
        Some(Type::ValidationContextCertificateProvider(_) | Type::ValidationContextCertificateProviderInstance(_)) => {
            return Err(at.error("certificate providers are not supported"));
        }
    })
}

fn context_rules(source: &tls::CertificateValidationContext, at: &Path) -> Result<Validation> {
    let roots = match (&source.trusted_ca, &source.system_root_certs) {
        (Some(data), _) => Some(trusted_ca(data, &at.field("trusted_ca"))?),
        (None, Some(_)) => Some(RootSource::System),
        (None, None) => None,
    };
    let mut subject_alt_names = Vec::new();
    for (index, matcher) in source.match_typed_subject_alt_names.iter().enumerate() {
        let at = at.field("match_typed_subject_alt_names").index(index);
        subject_alt_names.push(san_matcher(matcher, &at)?);
    }
    Ok(Validation {
        roots,
        subject_alt_names,
    })
}

fn san_matcher(source: &tls::SubjectAltNameMatcher, at: &Path) -> Result<SanMatcher> {
    use tls::subject_alt_name_matcher::SanType;
    let kind = match enumeration(source.san_type, at, "san_type")? {
        SanType::Dns => SanKind::Dns,
        SanType::Uri => SanKind::Uri,
        SanType::IpAddress => SanKind::Ip,
        SanType::Email => SanKind::Email,
        SanType::Unspecified => return Err(at.field("san_type").error("is required")),
        SanType::OtherName => return Err(at.field("san_type").error("OTHER_NAME is not supported")),
    };
    let matcher = required(source.matcher.as_ref(), at, "matcher")?;
    Ok(SanMatcher {
        kind,
        matcher: string_matcher(matcher, &at.field("matcher"))?,
    })
}
