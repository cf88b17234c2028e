//! The certificate service over real sockets, from join token to renewal by certificate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};
use weft_base::ca_client::{self, CaConfig, CaError};
use weft_base::grpc_tls;
use weft_base::identity::{SpiffeId, TrustDomain};
use weft_base::shutdown::Shutdown;
use weft_base::spiffe::{Allowed, identity_of};
use weft_base::tls;
use weft_citadel::app::{self, Citadel, Config};
use weft_proto::istio_ca::IstioCertificateRequest;
use weft_proto::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;

struct Mesh {
    citadel: Citadel,
    dir: tempfile::TempDir,
    shutdown: Shutdown,
}

impl Mesh {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new();
        let config = Config {
            state_dir: Some(dir.path().join("ca")),
            kubernetes: false,
            namespace: "weft-system".to_owned(),
            pod_name: None,
            listen: ([127, 0, 0, 1], 0).into(),
            monitoring_listen: ([127, 0, 0, 1], 0).into(),
            trust_domain: TrustDomain::default(),
        };
        let citadel = Citadel::start(&config, None, &shutdown).await.unwrap();
        Self { citadel, dir, shutdown }
    }

    fn token(&self, id: &SpiffeId, lifetime: Duration) -> String {
        app::token(&self.dir.path().join("ca"), id, lifetime).unwrap()
    }

    fn client(&self, id: &SpiffeId, token: &str) -> CaConfig {
        let token_file = self.dir.path().join(format!("{}.token", id.service_account()));
        std::fs::write(&token_file, token).unwrap();
        CaConfig {
            address: self.citadel.addr.to_string(),
            root_cert: self.citadel.root_cert.clone().unwrap(),
            token_file,
            id: id.clone(),
        }
    }

    async fn sign(&self, csr: String, token: &str) -> Result<Vec<String>, tonic::Status> {
        let roots = tls::roots(&tls::read_pem(self.citadel.root_cert.as_ref().unwrap()).unwrap()).unwrap();
        let allowed = Allowed::TrustDomain(TrustDomain::default());
        let config = ca_client::client_tls(roots, allowed, None).unwrap();
        let channel = grpc_tls::connect(&self.citadel.addr.to_string(), config).await.unwrap();
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr,
            validity_duration: 3600,
            metadata: None,
        });
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = IstioCertificateServiceClient::new(channel)
            .create_certificate(request)
            .await?;
        Ok(answer.into_inner().cert_chain)
    }
}

fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/default/sa/{account}")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_workload_joins_by_token_and_renews_by_certificate() {
    let mesh = Mesh::start().await;
    let config = mesh.client(&id("a"), &mesh.token(&id("a"), Duration::from_secs(60)));
    let first = ca_client::request(&config, None).await.unwrap();
    assert_eq!(first.id, id("a"));
    // The token is gone: the certificate alone proves who asks.
    std::fs::remove_file(&config.token_file).unwrap();
    let second = ca_client::request(&config, Some(&first)).await.unwrap();
    assert_eq!(second.id, id("a"));
    assert_ne!(first.key_pem, second.key_pem);
    let error = ca_client::request(&config, None).await.unwrap_err();
    assert!(matches!(error, CaError::Token { .. }), "{error}");
    mesh.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_workload_cannot_become_another() {
    let mesh = Mesh::start().await;
    let a = mesh.client(&id("a"), &mesh.token(&id("a"), Duration::from_secs(60)));
    let a = Arc::new(ca_client::request(&a, None).await.unwrap());
    let b = mesh.client(&id("b"), &mesh.token(&id("b"), Duration::from_secs(60)));
    let error = ca_client::request(&b, Some(&a)).await.unwrap_err().to_string();
    assert!(error.contains("the client certificate for"), "{error}");
    for (token, expected) in [
        (mesh.token(&id("a"), Duration::ZERO), "expired"),
        ("forged.aaaa".to_owned(), "signature"),
    ] {
        let config = mesh.client(&id("c"), &token);
        let error = ca_client::request(&config, None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    mesh.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_request_gets_nothing_but_its_key_signed() {
    let mesh = Mesh::start().await;
    let token = mesh.token(&id("a"), Duration::from_secs(60));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names = vec![SanType::URI(
        "spiffe://cluster.local/ns/kube-system/sa/admin".try_into().unwrap(),
    )];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let chain = mesh.sign(csr, &token).await.unwrap();
    let leaf = tls::certificates(chain[0].as_bytes()).unwrap();
    assert_eq!(identity_of(&leaf[0]).unwrap(), id("a"));
    for garbage in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &"x".repeat(40_000),
    ] {
        let status = mesh.sign(garbage.to_owned(), &token).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
    let status = mesh.sign("x".repeat(100_000), &token).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    assert!(mesh.citadel.root_cert.as_ref().is_some_and(|path| path.exists()));
    mesh.shutdown.drain(Duration::from_secs(5)).await;
}
