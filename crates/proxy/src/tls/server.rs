//! TLS towards clients: contexts that follow their secrets, and the handshake.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use tokio_rustls::LazyConfigAcceptor;
use weft_base::verify::Verifier;

use super::material::{self, Certificate};
use super::verify::ClientRules;
use super::{TlsError, names, version_of, versions};
use crate::model::tls::{DownstreamTls, Validation};
use crate::secrets::SecretStore;
use crate::stream::{Replay, Stream};
use crate::stream_info::connection::TlsInfo;

/// The TLS of one filter chain. It can be used before its secrets are there: handshakes are refused until then.
#[derive(Debug)]
pub struct ServerContext {
    model: DownstreamTls,
    handshake_timeout: Duration,
    provider: Arc<CryptoProvider>,
    state: ArcSwap<State>,
}

#[derive(Debug)]
enum State {
    NotReady(Arc<str>),
    Ready(Ready),
}

#[derive(Debug)]
struct Ready {
    with_alpn: Arc<ServerConfig>,
    /// For clients that offer no protocol of ours: Envoy then goes on without one, where rustls would refuse.
    without_alpn: Arc<ServerConfig>,
    local_uri_san: Option<Arc<str>>,
}

/// Chooses among several certificates by server name; the first is the default.
#[derive(Debug)]
struct ByServerName {
    certificates: Vec<Certificate>,
}

// === impl ServerContext ===

impl ServerContext {
    /// A context with what `secrets` has now.
    pub fn new(
        model: DownstreamTls,
        handshake_timeout: Duration,
        provider: Arc<CryptoProvider>,
        secrets: &SecretStore,
    ) -> Arc<Self> {
        let context = Arc::new(Self {
            model,
            handshake_timeout,
            provider,
            state: ArcSwap::from_pointee(State::NotReady(Arc::from("not built yet"))),
        });
        context.refresh(secrets);
        context
    }

    /// Builds the context anew from what `secrets` has now; what cannot be built leaves a ready context as it is.
    pub fn refresh(&self, secrets: &SecretStore) {
        match self.build(secrets) {
            Ok(ready) => self.state.store(Arc::new(State::Ready(ready))),
            Err(reason) => {
                if matches!(**self.state.load(), State::NotReady(_)) {
                    self.state.store(Arc::new(State::NotReady(Arc::from(reason))));
                } else {
                    tracing::warn!(%reason, "tls secrets are unusable, the last good ones stay");
                }
            }
        }
    }

    /// Does the handshake on an accepted connection.
    pub async fn accept(&self, socket: Replay) -> Result<(Stream, TlsInfo), TlsError> {
        let handshake = self.handshake(socket);
        if self.handshake_timeout.is_zero() {
            return handshake.await;
        }
        tokio::time::timeout(self.handshake_timeout, handshake)
            .await
            .map_err(|_| TlsError::TimedOut)?
    }

    async fn handshake(&self, socket: Replay) -> Result<(Stream, TlsInfo), TlsError> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket)
            .await
            .map_err(TlsError::Handshake)?;
        let (config, local_uri_san) = match &**self.state.load() {
            State::NotReady(reason) => return Err(TlsError::NotReady(reason.clone())),
            State::Ready(ready) => {
                let ours = &ready.with_alpn.alpn_protocols;
                let hello = start.client_hello();
                let common = hello
                    .alpn()
                    .is_some_and(|mut offered| offered.any(|p| ours.iter().any(|own| own == p)));
                let config = if common { &ready.with_alpn } else { &ready.without_alpn };
                (config.clone(), ready.local_uri_san.clone())
            }
        };
        let stream = start.into_stream(config).await.map_err(TlsError::Handshake)?;
        let info = describe(stream.get_ref().1, local_uri_san);
        Ok((Stream::TlsServer(Box::new(stream)), info))
    }

    fn build(&self, secrets: &SecretStore) -> Result<Ready, String> {
        let mut certificates = Vec::with_capacity(self.model.common.certificates.len());
        for source in &self.model.common.certificates {
            let pem = secrets.certificate(source).map_err(|error| error.to_string())?;
            certificates.push(material::certificate(&pem.chain, &pem.key).map_err(|error| error.to_string())?);
        }
        let Some(first) = certificates.first() else {
            return Err("the context has no certificate".to_owned());
        };
        let local_uri_san = first.uri_san.clone();
        let range = versions(self.model.common.min_version, self.model.common.max_version);
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(range)
            .map_err(|error| error.to_string())?;
        let builder = match self.model.common.validation.as_ref() {
            None => builder.with_no_client_auth(),
            Some(validation) => {
                let rules = self.client_rules(validation, secrets)?;
                builder.with_client_cert_verifier(Verifier::new(rules, &self.provider))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName { certificates }));
        if self.model.common.validation.is_some() {
            // A resumed session would outlive a change of the trust roots.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        // The server's order of cipher suites, as in Envoy unless `prefer_client_ciphers` is set.
        config.ignore_client_order = true;
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = self.model.common.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(Ready {
            with_alpn: Arc::new(config),
            without_alpn,
            local_uri_san,
        })
    }

    fn client_rules(&self, validation: &Validation, secrets: &SecretStore) -> Result<ClientRules, String> {
        let chain = match &validation.roots {
            None => None,
            Some(source) => {
                let pem = secrets.roots(source).map_err(|error| error.to_string())?;
                let roots = material::roots(&pem).map_err(|error| error.to_string())?;
                let builder = WebPkiClientVerifier::builder_with_provider(roots.store.clone(), self.provider.clone());
                Some((roots, builder.build().map_err(|error| error.to_string())?))
            }
        };
        Ok(ClientRules {
            chain,
            names: validation.subject_alt_names.clone(),
            required: self.model.require_client_certificate,
        })
    }
}

// === impl ByServerName ===

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            let serves = |certificate: &&Certificate| {
                (certificate.dns_names.iter()).any(|own| **own == *name || Some(&**own) == wildcard.as_deref())
            };
            self.certificates.iter().find(serves)
        });
        named
            .or_else(|| self.certificates.first())
            .map(|certificate| certificate.key.clone())
    }
}

fn describe(session: &ServerConnection, local_uri_san: Option<Arc<str>>) -> TlsInfo {
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    TlsInfo {
        version: version_of(session),
        cipher: session
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown"),
        alpn: session
            .alpn_protocol()
            .and_then(|p| std::str::from_utf8(p).ok())
            .map(Arc::from),
        local_uri_san,
        peer: peer.and_then(|certificate| names::peer_certificate(certificate).ok()),
    }
}
