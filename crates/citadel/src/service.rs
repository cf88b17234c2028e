//! Istio's certificate service over gRPC.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};
use weft_base::grpc_tls::Peer;
use weft_base::identity::{SpiffeId, TrustDomain};
use weft_proto::istio_ca::istio_certificate_service_server::IstioCertificateService;
use weft_proto::istio_ca::{IstioCertificateRequest, IstioCertificateResponse};

use crate::authenticate::{Tokens, authenticate};
use crate::authority::{Authority, Order};
use crate::csr;
use crate::metrics::Metrics;
use crate::store;

/// The service; clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub authority: Arc<Authority>,
    /// Check callers' tokens.
    pub tokens: Tokens,
    /// Identities that also get DNS names: servers that the API server calls.
    pub servers: ServerNames,
    /// Identities of other trust domains are not signed.
    pub trust_domain: TrustDomain,
    pub metrics: Metrics,
}

/// Which identities get the DNS names of their Services beside their SPIFFE id.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerNames {
    /// The control plane's namespace; nobody else's identity gets names. `None` where there are no Services.
    pub namespace: Option<String>,
}

/// Service accounts of control-plane servers that others call by the DNS name of the Service of the same name.
const SERVERS: [&str; 3] = ["weft-pilot", "weft-citadel", "weft-telemetry"];

// === impl ServerNames ===

impl ServerNames {
    /// The names of an identity, never what a request asks for.
    pub(crate) fn of(&self, id: &SpiffeId) -> Vec<String> {
        let (namespace, account) = (id.namespace(), id.service_account());
        if self.namespace.as_deref() != Some(namespace) || !SERVERS.contains(&account) {
            return Vec::new();
        }
        let mut names = vec![
            format!("{account}.{namespace}.svc"),
            format!("{account}.{namespace}.svc.cluster.local"),
            format!("{account}.{namespace}"),
        ];
        // Each revision of pilot has a Service of its own, through which the API server calls its webhooks.
        if account == "weft-pilot" {
            names.push(format!("*.{namespace}.svc"));
        }
        names
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.csr_count.inc();
        let now = SystemTime::now();
        let peer = request.extensions().get::<Peer>().cloned();
        let certificate = peer.as_ref().and_then(|peer| peer.identity.as_ref());
        let token = bearer(&request)?;
        let by_token = match &token {
            Some(token) => Some(self.tokens.identity(token, now).await),
            None => None,
        };
        let id = authenticate(&self.trust_domain, by_token, certificate);
        let id = id.map_err(|error| {
            self.metrics.authentication_failure_count.inc();
            tracing::warn!(peer = ?peer.as_ref().map(|peer| peer.addr), %error, "caller refused");
            if error.is_temporary() {
                Status::unavailable(error.to_string())
            } else {
                Status::unauthenticated(error.to_string())
            }
        })?;
        let request = request.into_inner();
        let public_key = csr::public_key(&request.csr).map_err(|error| {
            self.metrics.csr_parsing_err_count.inc();
            Status::invalid_argument(error.to_string())
        })?;
        let lifetime = u64::try_from(request.validity_duration);
        let lifetime = lifetime.map_err(|_| Status::invalid_argument("validity_duration must not be negative"))?;
        let dns_names = self.servers.of(&id);
        let order = Order {
            id: &id,
            dns_names: &dns_names,
            public_key: &public_key,
            lifetime: Duration::from_secs(lifetime),
        };
        let serial = store::random_serial().map_err(|error| Status::internal(error.to_string()))?;
        let leaf = self.authority.sign(&order, now, serial).map_err(|error| {
            self.metrics.csr_sign_err_count.inc();
            tracing::error!(%id, %error, "cannot sign");
            Status::internal(error.to_string())
        })?;
        self.metrics.success_cert_issuance_count.inc();
        tracing::info!(%id, "certificate issued");
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: std::iter::once(leaf)
                .chain(self.authority.intermediates().iter().cloned())
                .chain([self.authority.root_pem().to_owned()])
                .collect(),
        }))
    }
}

/// The bearer token of a request, if there is one.
fn bearer(request: &Request<IstioCertificateRequest>) -> Result<Option<String>, Status> {
    let Some(value) = request.metadata().get("authorization") else {
        return Ok(None);
    };
    let text = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    text.map(|token| Some(token.trim().to_owned()))
        .ok_or_else(|| Status::unauthenticated("authorization must be `Bearer <token>`"))
}
