//! TLS towards upstreams: contexts that follow their secrets, and the handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_base::verify::Verifier;

use super::asked::Asked;
use super::verify::ServerRules;
use super::{TlsError, material, names, versions};
use crate::model::tls::{SanKind, UpstreamTls};
use crate::secrets::SecretStore;
use crate::stream::Stream;

/// The TLS of a cluster or of one of its transport socket matches.
#[derive(Debug)]
pub struct ClientContext {
    model: Arc<UpstreamTls>,
    provider: Arc<CryptoProvider>,
    state: ArcSwap<State>,
}

#[derive(Debug)]
enum State {
    NotReady(Arc<str>),
    Ready {
        config: Arc<ClientConfig>,
        local_uri_san: Option<Arc<str>>,
    },
}

/// Answers every request for a client certificate with the one there is.
#[derive(Debug)]
struct Always(Option<Arc<CertifiedKey>>);

// === impl ClientContext ===

impl ClientContext {
    /// A context with what `secrets` has now.
    pub fn new(model: Arc<UpstreamTls>, provider: Arc<CryptoProvider>, secrets: &SecretStore) -> Arc<Self> {
        let context = Arc::new(Self {
            model,
            provider,
            state: ArcSwap::from_pointee(State::NotReady(Arc::from("not built yet"))),
        });
        context.refresh(secrets);
        context
    }

    /// Builds the context anew from what `secrets` has now; what cannot be built leaves a ready context as it is.
    pub fn refresh(&self, secrets: &SecretStore) {
        match self.build(secrets) {
            Ok(ready) => self.state.store(Arc::new(ready)),
            Err(reason) => {
                if matches!(**self.state.load(), State::NotReady(_)) {
                    self.state.store(Arc::new(State::NotReady(Arc::from(reason))));
                } else {
                    tracing::warn!(%reason, "tls secrets are unusable, the last good ones stay");
                }
            }
        }
    }

    /// Does the handshake on a connected socket. `endpoint` is the endpoint's name, for contexts that send it; what a request asks
    /// itself goes before it. `protocols` are offered by ALPN instead of the context's own, unless there are none.
    pub async fn connect(
        &self,
        socket: TcpStream,
        endpoint: &str,
        asked: Option<&Asked>,
        protocols: &[Arc<str>],
    ) -> Result<Stream, TlsError> {
        let config = match &**self.state.load() {
            State::NotReady(reason) => return Err(TlsError::NotReady(reason.clone())),
            State::Ready { config, .. } => config.clone(),
        };
        let of_endpoint = Some(endpoint).filter(|name| self.model.auto_host_sni && !name.is_empty());
        let wanted = asked.and_then(|asked| asked.server_name.as_deref());
        let wanted = wanted.or(of_endpoint).or(self.model.sni.as_deref());
        let named = wanted.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        // An address is never sent as a server name (RFC 6066, section 3), so it stands for "none".
        let name = named.or_else(|| {
            socket
                .peer_addr()
                .ok()
                .map(|peer| ServerName::IpAddress(peer.ip().into()))
        });
        let Some(name) = name else {
            return Err(TlsError::Handshake(std::io::ErrorKind::NotConnected.into()));
        };
        let connector = TlsConnector::from(config);
        let handshake = if protocols.is_empty() {
            connector.connect(name, socket)
        } else {
            let protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            connector.with_alpn(protocols).connect(name, socket)
        };
        let stream = handshake.await.map_err(TlsError::Handshake)?;
        if let Some(asked) = asked {
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let sans = leaf.and_then(|leaf| names::subject_alt_names(leaf).ok());
            if !asked.accepts(&sans.unwrap_or_default()) {
                return Err(TlsError::NotAsked(asked.certificate_name.clone().unwrap_or_default()));
            }
        }
        Ok(Stream::TlsClient(Box::new(stream)))
    }

    /// URI name of our own certificate now, where there is one.
    pub fn local_uri_san(&self) -> Option<Arc<str>> {
        match &**self.state.load() {
            State::NotReady(_) => None,
            State::Ready { local_uri_san, .. } => local_uri_san.clone(),
        }
    }

    fn build(&self, secrets: &SecretStore) -> Result<State, String> {
        let common = &self.model.common;
        let roots = match common
            .validation
            .as_ref()
            .and_then(|validation| validation.roots.as_ref())
        {
            None => None,
            Some(source) => {
                let pem = secrets.roots(source).map_err(|error| error.to_string())?;
                Some(material::roots(&pem).map_err(|error| error.to_string())?)
            }
        };
        let own = match common.certificates.first() {
            None => None,
            Some(source) => {
                let pem = secrets.certificate(source).map_err(|error| error.to_string())?;
                Some(material::certificate(&pem.chain, &pem.key).map_err(|error| error.to_string())?)
            }
        };
        let (own, local_uri_san) = match own {
            None => (None, None),
            Some(own) => (Some(own.key), own.uri_san),
        };
        let rules = ServerRules {
            roots,
            names: common
                .validation
                .as_ref()
                .map(|v| v.subject_alt_names.clone())
                .unwrap_or_default(),
            check_server_name: self.model.auto_sni_san_validation,
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions(common.min_version, common.max_version))
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(rules, &self.provider))
            .with_client_cert_resolver(Arc::new(Always(own)));
        config.alpn_protocols = common.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(State::Ready {
            config: Arc::new(config),
            local_uri_san,
        })
    }
}

/// URI name of the verified certificate of the server that we are the TLS client of.
pub(crate) fn server_uri_san(stream: &Stream) -> Option<Arc<str>> {
    let Stream::TlsClient(tls) = stream else {
        return None;
    };
    let leaf = tls.get_ref().1.peer_certificates()?.first()?;
    let names = names::subject_alt_names(leaf).ok()?;
    let uri = names.into_iter().find(|name| name.kind == SanKind::Uri);
    uri.map(|name| name.text)
}

// === impl Always ===

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
