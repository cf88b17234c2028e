//! One gRPC method, `weft.sample.Callme/Describe` (`callme.proto`), as plain HTTP/2: a length-prefixed message each way and the
//! status in trailers (the gRPC specification's "HTTP2 protocol mapping").

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;

/// The method's path.
pub(crate) const PATH: &str = "/weft.sample.Callme/Describe";
/// The media type of requests and answers.
pub(crate) const MEDIA_TYPE: &str = "application/grpc";

/// Largest message that is read.
const MESSAGE_BYTES: usize = 1 << 20;
/// Byte that says whether a message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

// Codes of the gRPC specification.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DescribeRequest {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DescribeReply {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(string, tag = "2")]
    pub(crate) instance: String,
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    // Messages of this program are far below 4 GiB.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// The one message of a body; `None` if there is none, more than one, or it is compressed or broken.
pub(crate) fn unframe<M: Message + Default>(mut body: Bytes) -> Option<M> {
    if body.len() < PREFIX_BYTES || body.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(body.get_u32()).ok()?;
    (body.len() == length).then(|| M::decode(body).ok()).flatten()
}

/// Answers a call.
pub(crate) async fn describe(version: &str, instance: &str, request: Body) -> Response<Body> {
    let body = Limited::new(request, MESSAGE_BYTES).collect().await;
    let request = body.ok().and_then(|body| unframe::<DescribeRequest>(body.to_bytes()));
    let (message, status) = match request {
        Some(request) => {
            let reply = DescribeReply {
                version: version.to_owned(),
                instance: instance.to_owned(),
                text: request.text,
            };
            (frame(&reply), OK)
        }
        None => (Bytes::new(), INVALID_ARGUMENT),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(MEDIA_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_frame_and_nothing_else_does() {
        let request = DescribeRequest { text: "hello".into() };
        let framed = frame(&request);
        assert_eq!(unframe(framed.clone()), Some(request));
        let twice = [framed.as_ref(), framed.as_ref()].concat();
        for broken in [
            &b""[..],
            &framed[..framed.len() - 1],
            &twice,
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x02\xff\xff",
        ] {
            let decoded: Option<DescribeRequest> = unframe(Bytes::copy_from_slice(broken));
            assert_eq!(decoded, None, "{broken:?}");
        }
    }

    #[tokio::test]
    async fn the_status_is_a_trailer() {
        let request = frame(&DescribeRequest { text: "hi".into() });
        for (body, expected) in [(request, "0"), (Bytes::from_static(b"x"), "3")] {
            let answer = describe("v1", "a", Body::from(body))
                .await
                .into_body()
                .collect()
                .await
                .unwrap();
            assert_eq!(answer.trailers().unwrap()["grpc-status"], expected);
        }
    }
}
