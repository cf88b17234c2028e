//! An authorization service in gRPC that keeps what it is asked, and answers as the header `x-check` of the request wants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use weft_proto::xds::envoy::config::core::v3::{self as core, HeaderValue, HeaderValueOption};
use weft_proto::xds::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use weft_proto::xds::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use weft_proto::xds::envoy::service::auth::v3::check_response::HttpResponse;
use weft_proto::xds::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use weft_proto::xds::envoy::r#type::v3::HttpStatus;
use weft_proto::xds::google::{protobuf as pb, rpc};

/// A running service; ends on drop.
#[derive(Debug)]
pub(crate) struct Authz {
    pub(crate) address: SocketAddr,
    checks: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

struct Service {
    checks: Arc<Mutex<Vec<String>>>,
}

// === impl Authz ===

impl Authz {
    /// Serves on a loopback port of its own.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let checks: Arc<Mutex<Vec<String>>> = Arc::default();
        let service = Service { checks: checks.clone() };
        let mut serving = JoinSet::new();
        serving.spawn(
            tonic::transport::Server::builder()
                .add_service(AuthorizationServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(Self {
            address,
            checks,
            _serving: serving,
        })
    }

    /// What it was asked since the last time, as text that two proxies must share.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.checks.lock())
    }
}

// === impl Service ===

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let told = request
            .metadata()
            .get("x-told")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let check = request.into_inner();
        self.checks.lock().push(text(&check, told.as_deref()));
        let http = check
            .attributes
            .and_then(|attributes| attributes.request)
            .and_then(|request| request.http);
        let wanted = http.and_then(|http| http.headers.get("x-check").cloned());
        match wanted.as_deref() {
            Some("error") => Err(Status::unavailable("not now")),
            Some("plain denial") => Ok(Response::new(with_code(7, None))),
            Some("denial") => Ok(Response::new(with_code(
                7,
                Some(HttpResponse::DeniedResponse(denial())),
            ))),
            Some("odd denial") => {
                let odd = DeniedHttpResponse {
                    status: Some(HttpStatus { code: 418 }),
                    body: "0123456789abcdef".to_owned(),
                    ..DeniedHttpResponse::default()
                };
                Ok(Response::new(with_code(16, Some(HttpResponse::DeniedResponse(odd)))))
            }
            Some("changes") => {
                let mut response = with_code(0, Some(HttpResponse::OkResponse(changes())));
                let text = pb::value::Kind::StringValue("found".to_owned());
                response.dynamic_metadata = Some(pb::Struct {
                    fields: [("user".to_owned(), pb::Value { kind: Some(text) })].into(),
                });
                Ok(Response::new(response))
            }
            _ => Ok(Response::new(with_code(0, None))),
        }
    }
}

fn with_code(code: i32, http_response: Option<HttpResponse>) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status {
            code,
            ..rpc::Status::default()
        }),
        http_response,
        ..CheckResponse::default()
    }
}

#[expect(deprecated, reason = "services still say `append`")]
fn option(key: &str, value: &str, append: Option<bool>, action: i32) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append: append.map(|value| pb::BoolValue { value }),
        append_action: action,
        ..HeaderValueOption::default()
    }
}

fn denial() -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: 401 }),
        headers: vec![
            option("x-reason", "none", None, 0),
            option("x-reason", "other", None, 0),
            option("www-authenticate", "Basic", Some(false), 0),
        ],
        body: "who are you?".to_owned(),
    }
}

/// Each way to change a header, where it is there (`x-is`) and where it is not (`x-not`).
fn changes() -> OkHttpResponse {
    let ways = [
        ("usual", None, 0),
        ("append", Some(true), 0),
        ("set", Some(false), 0),
        ("absent", None, 1),
        ("overwrite", None, 2),
        ("there", None, 3),
    ];
    let all = |value: &str| {
        let of = |(way, append, action): (&str, Option<bool>, i32)| {
            ["is", "not"].map(|kind| option(&format!("x-{kind}-{way}"), value, append, action))
        };
        ways.into_iter().flat_map(of).collect::<Vec<_>>()
    };
    OkHttpResponse {
        headers: all("authz"),
        headers_to_remove: vec!["x-secret".to_owned(), ":path".to_owned(), "host".to_owned()],
        response_headers_to_add: all("answer"),
        query_parameters_to_set: vec![weft_proto::xds::envoy::config::core::v3::QueryParameter {
            key: "who".to_owned(),
            value: "me".to_owned(),
        }],
        query_parameters_to_remove: vec!["token".to_owned()],
        ..OkHttpResponse::default()
    }
}

/// A question without what no two runs share: times, ids and ports.
fn text(check: &CheckRequest, told: Option<&str>) -> String {
    let mut out = String::new();
    let Some(attributes) = &check.attributes else {
        return out;
    };
    let _ = writeln!(out, "metadata {told:?}");
    peer(&mut out, "source", attributes.source.as_ref());
    peer(&mut out, "destination", attributes.destination.as_ref());
    if let Some(request) = &attributes.request {
        let _ = writeln!(out, "has a time: {}", request.time.is_some());
        if let Some(http) = &request.http {
            http_text(&mut out, http);
        }
    }
    let extensions: BTreeMap<_, _> = attributes.context_extensions.iter().collect();
    let _ = writeln!(out, "extensions {extensions:?}");
    if let Some(metadata) = &attributes.metadata_context {
        let namespaces: BTreeMap<_, _> = metadata.filter_metadata.iter().collect();
        for (namespace, fields) in namespaces {
            let fields: BTreeMap<_, _> = fields
                .fields
                .iter()
                .map(|(key, value)| (key, format!("{value:?}")))
                .collect();
            let _ = writeln!(out, "metadata {namespace} {fields:?}");
        }
    }
    let _ = writeln!(out, "tls {:?}", attributes.tls_session.as_ref().map(|tls| &tls.sni));
    out
}

fn peer(out: &mut String, name: &str, peer: Option<&Peer>) {
    let Some(peer) = peer else { return };
    let address = peer.address.as_ref().and_then(|address| match &address.address {
        Some(core::address::Address::SocketAddress(socket)) => Some(socket.address.as_str()),
        _ => None,
    });
    let _ = writeln!(
        out,
        "{name} {address:?} service={:?} principal={:?} certificate={:?}",
        peer.service, peer.principal, peer.certificate
    );
}

fn http_text(out: &mut String, http: &HttpRequest) {
    let _ = writeln!(
        out,
        "{} {} host={} scheme={} protocol={} size={} query={:?} fragment={:?} body={:?} raw={:?}",
        http.method,
        http.path,
        http.host,
        http.scheme,
        http.protocol,
        http.size,
        http.query,
        http.fragment,
        http.body,
        http.raw_body,
    );
    let _ = writeln!(out, "has an id: {}", !http.id.is_empty());
    let headers: BTreeMap<_, _> = http.headers.iter().collect();
    for (name, value) in headers {
        let is_id = name == "x-request-id";
        let _ = writeln!(out, "header {name}: {}", if is_id { "<id>" } else { value });
    }
}
