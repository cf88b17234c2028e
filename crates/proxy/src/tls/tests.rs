//! Handshakes of both contexts with each other: who trusts whom, and which names count.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use weft_base::shutdown::Shutdown;

use super::asked::Asked;
use super::client::ClientContext;
use super::server::ServerContext;
use crate::model::matcher::StringMatcher;
use crate::model::secret::{CertificateSource, DataSource};
use crate::model::tls::{
    DownstreamTls, RootSource, SanKind, SanMatcher, TlsCommon, TlsVersion, UpstreamTls, Validation,
};
use crate::secrets::SecretStore;
use crate::stream::Replay;

/// A chain and its key in PEM.
#[derive(Clone)]
struct Pair(String, String);

fn params(name: &str, authority: bool) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

/// As `openssl req -x509` makes them: an authority that is its own peer.
fn own(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair(params(name, true).self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A root, and what it has signed.
fn signed(name: &str) -> (String, Pair) {
    let root_key = KeyPair::generate().unwrap();
    let root = params("root", true);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = params(name, false)
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    (root_pem, Pair(leaf.pem(), key.serialize_pem()))
}

fn inline(text: &str) -> DataSource {
    DataSource::Inline(text.to_owned().into())
}

fn common(own: Option<&Pair>, roots: Option<&str>, name: Option<&str>) -> TlsCommon {
    let matcher = |name: &str| SanMatcher {
        kind: SanKind::Dns,
        matcher: StringMatcher::Exact {
            value: name.into(),
            ignore_case: false,
        },
    };
    TlsCommon {
        certificates: own
            .map(|Pair(chain, key)| CertificateSource::Static {
                chain: inline(chain),
                key: inline(key),
            })
            .into_iter()
            .collect(),
        validation: roots.map(|roots| Validation {
            roots: Some(RootSource::Static(inline(roots))),
            subject_alt_names: name.map(matcher).into_iter().collect(),
        }),
        alpn: Vec::new(),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

/// Whether both sides finish, and the server name that the server is asked for.
async fn shake(client: UpstreamTls, server: TlsCommon, endpoint: &str, asked: Option<&Asked>) -> bool {
    let shutdown = Shutdown::new();
    let secrets = SecretStore::new(&shutdown);
    let provider = weft_base::tls::provider();
    let server = DownstreamTls {
        require_client_certificate: server.validation.is_some(),
        common: server,
    };
    let server = ServerContext::new(server, Duration::from_secs(10), provider.clone(), &secrets);
    let client = ClientContext::new(client.into(), provider, &secrets);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let (connected, accepted) = tokio::join!(
        client.connect(socket, endpoint, asked, &[]),
        server.accept(Replay::new(bytes::Bytes::new(), accepted))
    );
    shutdown.drain(Duration::ZERO).await;
    connected.is_ok() && accepted.is_ok()
}

fn to(common: TlsCommon) -> UpstreamTls {
    UpstreamTls {
        common,
        sni: Some("a.example".into()),
        auto_host_sni: false,
        auto_sni_san_validation: false,
    }
}

#[tokio::test]
async fn a_certificate_that_is_a_root_itself_is_trusted() {
    let (one, other) = (own("a.example"), own("a.example"));
    let (root, leaf) = signed("a.example");
    let both = format!("{}{}", other.0, one.0);
    for (at, server, roots, name, expected) in [
        ("its own root", &one, &*one.0, None, true),
        ("one of two", &one, &*both, None, true),
        ("the same name, another key", &one, &*other.0, None, false),
        ("its name", &one, &*one.0, Some("a.example"), true),
        ("another name", &one, &*one.0, Some("b.example"), false),
        ("signed by a root", &leaf, &*root, None, true),
        ("signed by another", &leaf, &*one.0, None, false),
    ] {
        let client = to(common(None, Some(roots), name));
        assert_eq!(
            shake(client, common(Some(server), None, None), "", None).await,
            expected,
            "server: {at}"
        );
        let client = to(common(Some(server), Some(&leaf.0), None));
        let mut accepts = common(Some(&leaf), Some(roots), name);
        // The server's own certificate is trusted as it is, too.
        accepts.max_version = TlsVersion::V1_2;
        assert_eq!(shake(client, accepts, "", None).await, expected, "client: {at}");
    }
}

#[tokio::test]
async fn names_of_the_request_go_before_all_others() {
    let server = own("a.example");
    let asked = |server_name: Option<&str>, certificate_name: Option<&str>| Asked {
        server_name: server_name.map(Into::into),
        certificate_name: certificate_name.map(Into::into),
    };
    for (sni, endpoint, asks, expected) in [
        (Some("a.example"), "", asked(None, None), true),
        (Some("b.example"), "", asked(None, None), false),
        (Some("b.example"), "a.example", asked(None, None), true),
        (Some("b.example"), "b.example", asked(Some("a.example"), None), true),
        (Some("a.example"), "a.example", asked(Some("b.example"), None), false),
        (Some("a.example"), "", asked(None, Some("a.example")), true),
        (Some("a.example"), "", asked(None, Some("b.example")), false),
        (Some("a.example"), "", asked(None, Some("127.0.0.1")), false),
    ] {
        let client = UpstreamTls {
            sni: sni.map(Into::into),
            auto_host_sni: true,
            auto_sni_san_validation: true,
            // Replaced by the name that is sent.
            ..to(common(None, Some(&server.0), Some("else.example")))
        };
        let at = format!("{sni:?} {endpoint:?} {asks:?}");
        assert_eq!(
            shake(client, common(Some(&server), None, None), endpoint, Some(&asks)).await,
            expected,
            "{at}"
        );
    }
}
