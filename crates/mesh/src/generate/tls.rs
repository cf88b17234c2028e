//! TLS contexts: mesh mTLS of both sides, what a DestinationRule asks for, and gateway credentials.

use std::collections::BTreeSet;

use weft_api::destination_rule::{ClientTls, ClientTlsMode};
use weft_api::gateway::{ServerTls, ServerTlsMode, TlsVersion};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::wire::{ads, any, boolean, exact, grpc_service};
use crate::view::ProxyView;

/// Cluster of the secret discovery service that has the workload's own identity.
const IDENTITY_CLUSTER: &str = "sds-grpc";

/// Protocols of mesh peers over mTLS.
pub(super) const MESH_ALPN: [&str; 5] = [
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
    "istio-peer-exchange",
    "istio",
];

/// What an mTLS connection within the mesh carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Http1,
    Http2,
    Tcp,
}

/// mTLS towards a mesh workload whose certificate must have one of `names`; without names any workload of the mesh may answer.
pub(super) fn mesh_client(carries: Carries, sni: &str, names: &BTreeSet<String>) -> core::TransportSocket {
    let alpn = match carries {
        Carries::Http1 => "istio-http/1.1",
        Carries::Http2 => "istio-h2",
        Carries::Tcp => "istio",
    };
    upstream(tls::UpstreamTlsContext {
        common_tls_context: Some(common(names.iter().map(|name| san(name)).collect(), &[alpn])),
        sni: sni.to_owned(),
        ..tls::UpstreamTlsContext::default()
    })
}

/// mTLS towards mesh peers, whose certificate is required, and must have one of `names` where there are any.
pub(super) fn mesh_server(names: &[String]) -> core::TransportSocket {
    downstream(tls::DownstreamTlsContext {
        common_tls_context: Some(common(names.iter().map(|name| san(name)).collect(), &MESH_ALPN)),
        require_client_certificate: Some(boolean(true)),
        ..tls::DownstreamTlsContext::default()
    })
}

/// mTLS of a gRPC client, whose certificates come from the provider `default` of its own bootstrap (gRPC A29).
pub(super) fn grpc_client(identities: &BTreeSet<String>) -> core::TransportSocket {
    use tls::common_tls_context::ValidationContextType;
    let provider = |name: &str| tls::CertificateProviderPluginInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    #[expect(deprecated, reason = "the one field for names that every gRPC implementation reads")]
    let validation = tls::CertificateValidationContext {
        ca_certificate_provider_instance: Some(provider("ROOTCA")),
        match_subject_alt_names: identities.iter().map(|id| exact(id)).collect(),
        ..tls::CertificateValidationContext::default()
    };
    upstream(tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificate_provider_instance: Some(provider("default")),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..tls::CommonTlsContext::default()
        }),
        ..tls::UpstreamTlsContext::default()
    })
}

pub(super) fn plaintext() -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(&RawBuffer {}))),
    }
}

/// A match of one name: of a SPIFFE id or another URI, else of a DNS name.
fn san(name: &str) -> tls::SubjectAltNameMatcher {
    use tls::subject_alt_name_matcher::SanType;
    let kind = if name.contains("://") {
        SanType::Uri
    } else {
        SanType::Dns
    };
    tls::SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(exact(name)),
        ..tls::SubjectAltNameMatcher::default()
    }
}

/// What a DestinationRule's `tls` asks for; `None` is plaintext. Where the rule gives no names, those of the ServiceEntry count.
/// `ISTIO_MUTUAL` is mesh mTLS and not made here.
pub(super) fn originate(settings: &ClientTls, host: &str, entry_names: &[String]) -> Option<core::TransportSocket> {
    match settings.mode {
        // One that is not usable is not connected to at all.
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual | ClientTlsMode::Unusable => return None,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {}
    }
    let file = |path: &String| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.clone())),
        ..core::DataSource::default()
    };
    let names = if settings.subject_alt_names.is_empty() {
        entry_names
    } else {
        &settings.subject_alt_names
    };
    let mut validation = tls::CertificateValidationContext {
        match_typed_subject_alt_names: names.iter().map(|name| san(name)).collect(),
        ..tls::CertificateValidationContext::default()
    };
    match &settings.ca_certificates {
        Some(path) => validation.trusted_ca = Some(file(path)),
        None => {
            validation.system_root_certs = Some(tls::certificate_validation_context::SystemRootCerts {});
        }
    }
    let validated = !settings.insecure_skip_verify;
    let mut common = tls::CommonTlsContext {
        validation_context_type: validated.then_some(
            tls::common_tls_context::ValidationContextType::ValidationContext(validation),
        ),
        ..tls::CommonTlsContext::default()
    };
    if let (Some(chain), Some(key)) = (&settings.client_certificate, &settings.private_key) {
        common.tls_certificates = vec![tls::TlsCertificate {
            certificate_chain: Some(file(chain)),
            private_key: Some(file(key)),
            ..tls::TlsCertificate::default()
        }];
    }
    let sni = settings.sni.clone().unwrap_or_else(|| host.to_owned());
    Some(upstream(tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        auto_sni_san_validation: validated && names.is_empty(),
        sni,
        ..tls::UpstreamTlsContext::default()
    }))
}

/// What a gateway server's `tls` asks for; `None` for passthrough.
pub(super) fn gateway_server(settings: &ServerTls, http: bool) -> Option<core::TransportSocket> {
    let mutual = match settings.mode {
        ServerTlsMode::Passthrough => return None,
        ServerTlsMode::IstioMutual => return Some(mesh_server(&settings.subject_alt_names)),
        ServerTlsMode::Mutual => true,
        ServerTlsMode::Simple => false,
    };
    let version = |version: Option<TlsVersion>| match version {
        None => tls::tls_parameters::TlsProtocol::TlsAuto as i32,
        Some(TlsVersion::V1_2) => tls::tls_parameters::TlsProtocol::TlSv12 as i32,
        Some(TlsVersion::V1_3) => tls::tls_parameters::TlsProtocol::TlSv13 as i32,
    };
    let alpn: &[&str] = if http { &["h2", "http/1.1"] } else { &[] };
    let mut common = tls::CommonTlsContext {
        alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: version(settings.min_version),
            tls_maximum_protocol_version: version(settings.max_version),
            ..tls::TlsParameters::default()
        }),
        ..tls::CommonTlsContext::default()
    };
    let file = |path: &String| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.clone())),
        ..core::DataSource::default()
    };
    use tls::common_tls_context::ValidationContextType;
    let client_names: Vec<_> = settings.subject_alt_names.iter().map(|name| san(name)).collect();
    if let Some(name) = &settings.credential_name {
        common.tls_certificate_sds_secret_configs = vec![by_ads(&format!("kubernetes://{name}"))];
        if mutual {
            let config = by_ads(&format!("kubernetes://{name}-cacert"));
            common.validation_context_type = Some(if client_names.is_empty() {
                ValidationContextType::ValidationContextSdsSecretConfig(config)
            } else {
                combined(client_names, config)
            });
        }
    } else {
        common.tls_certificates = vec![tls::TlsCertificate {
            certificate_chain: settings.server_certificate.as_ref().map(file),
            private_key: settings.private_key.as_ref().map(file),
            ..tls::TlsCertificate::default()
        }];
        if let Some(path) = settings.ca_certificates.as_ref().filter(|_| mutual) {
            common.validation_context_type = Some(ValidationContextType::ValidationContext(
                tls::CertificateValidationContext {
                    trusted_ca: Some(file(path)),
                    match_typed_subject_alt_names: client_names,
                    ..tls::CertificateValidationContext::default()
                },
            ));
        }
    }
    Some(downstream(tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(boolean(mutual)),
        ..tls::DownstreamTlsContext::default()
    }))
}

/// The credentials that the servers of this gateway name, from Secrets of the gateway's namespace.
pub(super) fn gateway_secrets(view: &ProxyView) -> Vec<tls::Secret> {
    let mut secrets = Vec::new();
    for gateway in view.gateways() {
        for server in &gateway.spec.servers {
            let name = server.tls.as_ref().and_then(|tls| tls.credential_name.as_ref());
            let Some(name) = name else {
                continue;
            };
            let Some(secret) = view.snapshot.secrets.get(&view.workload.key.namespace, name) else {
                continue;
            };
            let inline = |bytes: &[u8]| core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
                ..core::DataSource::default()
            };
            if let (Some(chain), Some(key)) = (secret.spec.certificate(), secret.spec.private_key()) {
                secrets.push(tls::Secret {
                    name: format!("kubernetes://{name}"),
                    r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
                        certificate_chain: Some(inline(chain)),
                        private_key: Some(inline(key)),
                        ..tls::TlsCertificate::default()
                    })),
                });
            }
            // Istio: a Secret of its own for the roots of clients is stronger than those beside the certificate.
            let beside = view
                .snapshot
                .secrets
                .get(&view.workload.key.namespace, &format!("{name}-cacert"));
            let beside = beside.and_then(|beside| beside.spec.ca_certificate());
            if let Some(roots) = beside.or_else(|| secret.spec.ca_certificate()) {
                secrets.push(tls::Secret {
                    name: format!("kubernetes://{name}-cacert"),
                    r#type: Some(tls::secret::Type::ValidationContext(
                        tls::CertificateValidationContext {
                            trusted_ca: Some(inline(roots)),
                            ..tls::CertificateValidationContext::default()
                        },
                    )),
                });
            }
        }
    }
    secrets
}

fn by_ads(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ads()),
    }
}

fn by_identity(name: &str) -> tls::SdsSecretConfig {
    let service = grpc_service(IDENTITY_CLUSTER);
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..core::ApiConfigSource::default()
    };
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            resource_api_version: core::ApiVersion::V3 as i32,
            config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(source)),
            ..core::ConfigSource::default()
        }),
    }
}

/// Roots that are delivered as a secret, and the names of which the peer must have one.
fn combined(
    names: Vec<tls::SubjectAltNameMatcher>,
    roots: tls::SdsSecretConfig,
) -> tls::common_tls_context::ValidationContextType {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext {
            match_typed_subject_alt_names: names,
            ..tls::CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(roots),
        ..CombinedCertificateValidationContext::default()
    })
}

/// The workload's certificate and the mesh's roots, by the names that Istio's agent serves.
fn common(names: Vec<tls::SubjectAltNameMatcher>, alpn: &[&str]) -> tls::CommonTlsContext {
    tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12 as i32,
            tls_maximum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv13 as i32,
            ..tls::TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![by_identity("default")],
        validation_context_type: Some(combined(names, by_identity("ROOTCA"))),
        alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
        ..tls::CommonTlsContext::default()
    }
}

fn upstream(context: tls::UpstreamTlsContext) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

fn downstream(context: tls::DownstreamTlsContext) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}
