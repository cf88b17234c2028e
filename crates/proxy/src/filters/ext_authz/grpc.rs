//! Questions to a service in gRPC (Envoy `envoy.service.auth.v3.Authorization`), and its answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use prost::Message as _;
use serde_json::{Map, Value};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use weft_proto::xds::envoy::service::auth::v3 as auth;
use weft_proto::xds::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use weft_proto::xds::google::protobuf as pb;

use super::Sight;
use super::verdict::{Change, Changes, Denial, How, Verdict};
use crate::filters::RequestPass;
use crate::filters::ask::{Answered, NoAnswer, Question};
use crate::model::convert::struct_json;
use crate::model::filters::ext_authz::{Config, GrpcService};
use crate::stream_info::StreamInfo;
use crate::stream_info::connection::{PeerCertificate, TlsInfo};
use crate::stream_info::header_names;
use crate::stream_info::path::RequestPath;

/// Longest answer that is taken, in bytes: gRPC's own default.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Status of an answer that allows (`google.rpc.Code`).
const OK: i32 = 0;

/// The question about a request.
pub(super) fn question(
    service: &GrpcService,
    config: &Config,
    request: &RequestPass<'_>,
    sight: &Sight<'_>,
) -> Question {
    let message = auth::CheckRequest {
        attributes: Some(attributes(config, request, sight)),
    };
    let mut headers = service.metadata.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Question {
        cluster: service.cluster.clone(),
        method: Method::POST,
        path: RequestPath::from_static("/envoy.service.auth.v3.Authorization/Check"),
        authority: service.authority.clone(),
        headers,
        body: framed(&message),
        timeout: service.timeout,
        answer_bytes_max: ANSWER_BYTES_MAX,
        grpc: true,
    }
}

/// A message behind its prefix: not compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &auth::CheckRequest) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(length + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

fn attributes(config: &Config, request: &RequestPass<'_>, sight: &Sight<'_>) -> auth::AttributeContext {
    let info = &request.info;
    let connection = &info.connection;
    let tls = connection.tls.as_ref();
    let client = tls.and_then(|tls| tls.peer.as_ref());
    let service = request.head.headers.get("x-envoy-downstream-service-cluster");
    let source = Peer {
        address: Some(address(info.remote_addr)),
        service: service
            .and_then(|name| name.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        principal: client.map(principal).unwrap_or_default(),
        certificate: client
            .filter(|_| config.include_peer_certificate)
            .map(certificate)
            .unwrap_or_default(),
        ..Peer::default()
    };
    let destination = Peer {
        address: Some(address(connection.local_addr)),
        principal: tls.and_then(own_principal).unwrap_or_default(),
        ..Peer::default()
    };
    let server_name = connection.server_name.as_deref().filter(|_| config.include_tls_session);
    auth::AttributeContext {
        source: Some(source),
        destination: Some(destination),
        request: Some(Request {
            time: Some(timestamp(info.start_time)),
            http: Some(http_request(config, request, sight)),
        }),
        context_extensions: {
            let pairs = sight.extensions.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        },
        metadata_context: Some(metadata(config, info)),
        route_metadata_context: None,
        tls_session: config.include_tls_session.then(|| TlsSession {
            sni: server_name.unwrap_or_default().to_owned(),
        }),
    }
}

fn http_request(config: &Config, request: &RequestPass<'_>, sight: &Sight<'_>) -> HttpRequest {
    let head = &request.head;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let own = [
        (":authority", head.host()),
        (":method", head.method.as_str()),
        (":path", head.path.as_str()),
        (":scheme", head.scheme.as_str()),
    ];
    let own = own.iter().map(|(name, value)| (*name, (*value).into()));
    let told = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    for (name, value) in own.chain(told).filter(|(name, _)| sight.tells_grpc(config, name)) {
        headers
            .entry(name.to_owned())
            .and_modify(|all| {
                all.push(',');
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    if let Some(is_partial) = sight.is_partial {
        headers.insert("x-envoy-auth-partial-body".to_owned(), is_partial.to_string());
    }
    // Routes do not change the form, as in Envoy.
    let as_bytes = config.body.is_some_and(|settings| settings.as_bytes);
    let id = head.headers.get(header_names::REQUEST_ID);
    HttpRequest {
        id: id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned(),
        method: head.method.as_str().to_owned(),
        headers: headers.into_iter().collect(),
        path: head.path.as_str().to_owned(),
        host: head.host().to_owned(),
        scheme: head.scheme.as_str().to_owned(),
        size: sight.length,
        protocol: protocol(request.info.protocol).to_owned(),
        body: if as_bytes {
            String::new()
        } else {
            String::from_utf8_lossy(&sight.body).into_owned()
        },
        raw_body: if as_bytes { sight.body.to_vec() } else { Vec::new() },
        ..HttpRequest::default()
    }
}

fn timestamp(time: SystemTime) -> pb::Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pb::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn protocol(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::HTTP_2) => "HTTP/2",
        Some(Version::HTTP_10) => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn address(of: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: of.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(of.port()))),
        ..core::SocketAddress::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}

/// Who a certificate is about: its first URI name, else its first DNS name, else its subject.
fn principal(certificate: &PeerCertificate) -> String {
    let names = certificate.uri_sans.first().or_else(|| certificate.dns_sans.first());
    names.unwrap_or(&certificate.subject).to_string()
}

fn own_principal(tls: &TlsInfo) -> Option<String> {
    tls.local_uri_san.as_ref().map(ToString::to_string)
}

/// A certificate as PEM, percent-encoded as in `x-forwarded-client-cert`.
fn certificate(certificate: &PeerCertificate) -> String {
    let text = STANDARD.encode(&certificate.der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut out = String::with_capacity(pem.len() + 64);
    for c in pem.chars() {
        match c {
            '\n' => out.push_str("%0A"),
            ' ' => out.push_str("%20"),
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            other => out.push(other),
        }
    }
    out
}

fn metadata(config: &Config, info: &StreamInfo) -> core::Metadata {
    let of = |namespace: &String| {
        let Value::Object(fields) = info.notes.as_deref()?.metadata(namespace)? else {
            return None;
        };
        Some((namespace.clone(), structure(fields)))
    };
    core::Metadata {
        filter_metadata: config.metadata_namespaces.iter().filter_map(of).collect(),
        ..core::Metadata::default()
    }
}

fn structure(fields: &Map<String, Value>) -> pb::Struct {
    pb::Struct {
        fields: fields
            .iter()
            .map(|(key, value)| (key.clone(), value_of(value)))
            .collect(),
    }
}

fn value_of(value: &Value) -> pb::Value {
    use pb::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(pb::ListValue {
            values: list.iter().map(value_of).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    pb::Value { kind: Some(kind) }
}

/// What the service says by an answer that `took` some time, which its metadata tell.
///
/// # Errors
/// It is none of the service.
pub(super) fn verdict(answer: &Answered, took: Duration) -> Result<Verdict, NoAnswer> {
    let status = answer.trailers.get("grpc-status");
    let status = status.or_else(|| answer.headers.get("grpc-status"));
    if answer.status != StatusCode::OK || status.is_none_or(|status| status != "0") {
        return Err(NoAnswer::Broken);
    }
    let message = answer.body.get(5..).filter(|_| answer.body.first() == Some(&0));
    let message = message.ok_or(NoAnswer::Broken)?;
    let said = auth::CheckResponse::decode(message).map_err(|_| NoAnswer::Broken)?;
    let code = said.status.as_ref().map_or(OK, |status| status.code);
    let mut metadata = said.dynamic_metadata.as_ref().map(struct_json).unwrap_or_default();
    if !metadata.is_empty() {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        metadata.insert("ext_authz_duration".to_owned(), Value::from(millis));
    }
    match (code, said.http_response) {
        (OK, Some(auth::check_response::HttpResponse::OkResponse(ok))) => allowed(ok, metadata),
        (OK, _) => Ok(Verdict::Allowed(Box::new(Changes {
            metadata,
            ..Changes::default()
        }))),
        (_, Some(auth::check_response::HttpResponse::DeniedResponse(denied))) => {
            let code = denied.status.as_ref().map_or(0, |status| status.code);
            let status = u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok());
            let mut headers = HeaderMap::new();
            for change in changes(&denied.headers, of_answer)? {
                change.apply(&mut headers);
            }
            Ok(Verdict::Denied(Box::new(Denial {
                status: status
                    .filter(|status| status.as_u16() >= 200)
                    .unwrap_or(StatusCode::FORBIDDEN),
                headers,
                body: denied.body,
                metadata,
            })))
        }
        (_, _) => Ok(Verdict::Denied(Box::new(Denial {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: String::new(),
            metadata,
        }))),
    }
}

fn allowed(ok: auth::OkHttpResponse, metadata: Map<String, Value>) -> Result<Verdict, NoAnswer> {
    let names = ok.headers_to_remove.iter().filter(|name| !name.starts_with(':'));
    let names = names.map(|name| name.parse::<HeaderName>().map_err(|_| NoAnswer::Broken));
    Ok(Verdict::Allowed(Box::new(Changes {
        request: changes(&ok.headers, of_request)?,
        remove: names
            .filter(|name| !matches!(name, Ok(name) if *name == header::HOST))
            .collect::<Result<_, _>>()?,
        answer: changes(&ok.response_headers_to_add, of_answer)?,
        query_set: ok
            .query_parameters_to_set
            .into_iter()
            .map(|parameter| (parameter.key, parameter.value))
            .collect(),
        query_remove: ok.query_parameters_to_remove,
        metadata,
    })))
}

/// Headers that a service sets; `how` says what happens to one that is there.
fn changes(
    options: &[core::HeaderValueOption],
    how: fn(&core::HeaderValueOption) -> How,
) -> Result<Vec<Change>, NoAnswer> {
    let mut found = Vec::with_capacity(options.len());
    for option in options {
        let Some(header) = &option.header else { continue };
        let value = if header.raw_value.is_empty() {
            HeaderValue::from_str(&header.value)
        } else {
            HeaderValue::from_bytes(&header.raw_value)
        };
        let value = value.map_err(|_| NoAnswer::Broken)?;
        let key = if header.key == ":authority" {
            "host"
        } else {
            &header.key
        };
        let name = key.parse::<HeaderName>().map_err(|_| NoAnswer::Broken)?;
        found.push(Change {
            name,
            value,
            how: how(option),
        });
    }
    Ok(found)
}

/// Of headers of the request `append` alone counts, as in Envoy.
#[expect(deprecated, reason = "services say `append` still")]
fn of_request(option: &core::HeaderValueOption) -> How {
    match &option.append {
        Some(says) if says.value => How::Join,
        _ => How::Overwrite,
    }
}

#[expect(deprecated, reason = "services say `append` still, and it goes first as in Envoy")]
fn of_answer(option: &core::HeaderValueOption) -> How {
    if let Some(says) = &option.append {
        return if says.value { How::Append } else { How::Overwrite };
    }
    match option.append_action() {
        HeaderAppendAction::AppendIfExistsOrAdd => How::Append,
        HeaderAppendAction::AddIfAbsent => How::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => How::Overwrite,
        HeaderAppendAction::OverwriteIfExists => How::OverwriteIfThere,
    }
}
