//! The application's probes, done by the proxy in Kubernetes' place: HTTP, TCP and gRPC (`ISTIO_KUBE_APP_PROBERS`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use prost::Message;
use serde::Deserialize;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::application::passed_on;
use super::fetch::{self, FetchError, Target};
use super::place::Place;

/// The default of Kubernetes.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Of an answer only the status counts, but it is read to its end, up to here (Kubernetes reads as much).
const BODY_BYTES_MAX: usize = 10 << 10;

/// Probes by their paths on the status port.
pub(super) type Probes = BTreeMap<String, RawProbe>;

/// A probe as the variable has it: the parts of a Kubernetes probe, ports by number.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawProbe {
    http_get: Option<RawHttp>,
    tcp_socket: Option<RawTcp>,
    grpc: Option<RawGrpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHttp {
    #[serde(default)]
    path: String,
    port: u16,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    http_headers: Vec<RawHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcp {
    port: u16,
    #[serde(default)]
    host: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrpc {
    port: u16,
    #[serde(default)]
    service: Option<String>,
}

/// A probe ready to be done.
#[derive(Debug)]
pub(crate) struct Probe {
    kind: Kind,
    timeout: Duration,
}

#[derive(Debug)]
enum Kind {
    Http { target: Target, headers: HeaderMap },
    Tcp(Place),
    Grpc { place: Place, service: String },
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error("gRPC: {0}")]
    Grpc(String),
    /// The service says that it does not serve.
    #[error("the service's health is {0}, expected 1 (SERVING)")]
    NotServing(i32),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// `grpc.health.v1.HealthCheckRequest` (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; status 1 is SERVING.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

// === impl Probe ===

impl Probe {
    /// Checks a probe; `ip` is the pod's own address.
    pub(super) fn new(raw: RawProbe, ip: IpAddr) -> Result<Self, String> {
        let place = |port: u16, host: &str| -> Result<Place, String> {
            let at = match host {
                "" | "localhost" => ip,
                host => host
                    .parse()
                    .map_err(|_| format!("host {host:?} is not an IP address"))?,
            };
            Ok(Place::new((at, port).into(), ip))
        };
        let kind = match (raw.http_get, raw.tcp_socket, raw.grpc) {
            (Some(http), None, None) => Kind::Http {
                target: Target {
                    place: place(http.port, &http.host)?,
                    tls: match http.scheme.to_ascii_uppercase().as_str() {
                        "" | "HTTP" => false,
                        "HTTPS" => true,
                        other => return Err(format!("scheme {other:?} is neither HTTP nor HTTPS")),
                    },
                    path: path(&http.path)?,
                },
                headers: headers(&http.http_headers)?,
            },
            (None, Some(tcp), None) => Kind::Tcp(place(tcp.port, &tcp.host)?),
            (None, None, Some(grpc)) => Kind::Grpc {
                place: place(grpc.port, "")?,
                service: grpc.service.unwrap_or_default(),
            },
            _ => return Err("needs exactly one of httpGet, tcpSocket and grpc".to_owned()),
        };
        let timeout = raw.timeout_seconds.filter(|seconds| *seconds > 0);
        Ok(Self {
            kind,
            timeout: timeout.map_or(TIMEOUT, Duration::from_secs),
        })
    }

    /// Does it: the application's own status, or 200.
    pub(super) async fn run(&self, method: &Method, incoming: &HeaderMap) -> Result<StatusCode, ProbeError> {
        match &self.kind {
            Kind::Http { target, headers } => {
                let mut sent = passed_on(incoming);
                sent.extend(headers.clone());
                let (status, _) = fetch::fetch(target, method, sent, BODY_BYTES_MAX, self.timeout).await?;
                Ok(status)
            }
            Kind::Tcp(place) => {
                let connected = tokio::time::timeout(self.timeout, place.connect()).await;
                let connected = connected.map_err(|_| ProbeError::TimedOut(self.timeout))?;
                connected.map_err(|error| ProbeError::Connect(place.address(), error))?;
                Ok(StatusCode::OK)
            }
            Kind::Grpc { place, service } => {
                let checked = tokio::time::timeout(self.timeout, health(*place, service)).await;
                checked.map_err(|_| ProbeError::TimedOut(self.timeout))??;
                Ok(StatusCode::OK)
            }
        }
    }
}

async fn health(place: Place, service: &str) -> Result<(), ProbeError> {
    let wrong = |error: &dyn std::error::Error| ProbeError::Grpc(error.to_string());
    let endpoint = Endpoint::from_shared(format!("http://{}", place.address())).map_err(|error| wrong(&error))?;
    let connector = tower::service_fn(move |_: Uri| async move { place.connect().await.map(TokioIo::new) });
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| wrong(&error))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| wrong(&error))?;
    let request = tonic::Request::new(HealthCheckRequest {
        service: service.to_owned(),
    });
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(request, path, codec).await;
    let status = answer
        .map_err(|status| ProbeError::Grpc(status.to_string()))?
        .into_inner()
        .status;
    if status == 1 {
        Ok(())
    } else {
        Err(ProbeError::NotServing(status))
    }
}

fn path(text: &str) -> Result<http::uri::PathAndQuery, String> {
    let text = if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{text}")
    };
    let uri: Uri = text.parse().map_err(|_| format!("path {text:?} is not a path"))?;
    uri.into_parts()
        .path_and_query
        .ok_or_else(|| format!("path {text:?} is not a path"))
}

fn headers(raw: &[RawHeader]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for RawHeader { name, value } in raw {
        let wrong = || format!("httpHeaders: {name:?}: {value:?} is not a header");
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        if key == header::CONNECTION || key == header::TRANSFER_ENCODING || key == header::CONTENT_LENGTH {
            return Err(format!("httpHeaders: {name:?} belongs to the connection"));
        }
        headers.append(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn probe(json: &str) -> Result<Probe, String> {
        let raw: RawProbe = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Probe::new(raw, HERE)
    }

    #[test]
    fn broken_probes_are_refused() {
        for (json, reason) in [
            ("{}", "exactly one of"),
            (r#"{"tcpSocket":{"port":1},"grpc":{"port":1}}"#, "exactly one of"),
            (r#"{"httpGet":{"port":"http"}}"#, "invalid type"),
            (r#"{"httpGet":{"port":1,"scheme":"FTP"}}"#, "neither HTTP"),
            (r#"{"httpGet":{"port":1,"host":"a.example"}}"#, "is not an IP address"),
            (
                r#"{"httpGet":{"port":1,"httpHeaders":[{"name":"a b"}]}}"#,
                "is not a header",
            ),
            (r#"{"exec":{"command":["x"]}}"#, "unknown field"),
        ] {
            let error = probe(json).map(|_| ()).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    /// Answers one connection with these bytes, and gives what it received.
    async fn answer_once(bytes: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        #[expect(clippy::disallowed_methods, reason = "a test's server")]
        let task = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut received = vec![0; 4096];
            let count = socket.read(&mut received).await.unwrap();
            socket.write_all(bytes).await.unwrap();
            String::from_utf8_lossy(&received[..count]).into_owned()
        });
        (port, task)
    }

    #[tokio::test]
    async fn http_probes_carry_headers_and_bring_the_status() {
        let (port, server) = answer_once(b"HTTP/1.1 418 Teapot\r\ncontent-length: 2\r\n\r\nno").await;
        let json = format!(
            r#"{{"httpGet":{{"path":"/h?x=1","port":{port},"httpHeaders":[{{"name":"Host","value":"a.example"}},{{"name":"X-A","value":"b"}}]}}}}"#
        );
        let mut incoming = HeaderMap::new();
        incoming.insert("user-agent", HeaderValue::from_static("kube-probe/1.33"));
        incoming.insert("host", HeaderValue::from_static("10.0.0.1:15020"));
        let status = probe(&json).unwrap().run(&Method::GET, &incoming).await.unwrap();
        assert_eq!(status, StatusCode::IM_A_TEAPOT);
        let received = server.await.unwrap();
        assert!(received.starts_with("GET /h?x=1 HTTP/1.1\r\n"), "{received}");
        for line in ["host: a.example\r\n", "x-a: b\r\n", "user-agent: kube-probe/1.33\r\n"] {
            assert!(received.contains(line), "{received}");
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = probe(&format!(r#"{{"tcpSocket":{{"port":{port}}}}}"#)).unwrap();
        assert_eq!(tcp.run(&Method::GET, &HeaderMap::new()).await.unwrap(), StatusCode::OK);
        // Nobody takes the connection up, so neither HTTP nor gRPC comes back.
        for kind in ["httpGet", "grpc"] {
            let probe = probe(&format!(r#"{{"{kind}":{{"port":{port}}},"timeoutSeconds":1}}"#)).unwrap();
            let error = probe.run(&Method::GET, &HeaderMap::new()).await.unwrap_err();
            assert!(error.to_string().contains("no answer within 1s"), "{kind}: {error}");
        }
        drop(listener);
        assert!(matches!(
            tcp.run(&Method::GET, &HeaderMap::new()).await,
            Err(ProbeError::Connect(..))
        ));
    }
}
