//! Serving a downstream HTTP/1 connection to its end: one request after the other.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::sync::oneshot;

use super::body::ResponseBody;
use super::connection::{ActiveRequest, End, HttpConnection};
use super::received::ReceivedHead;
use super::request::{self, Received};
use super::upgrade::{ClientSwitch, offered};
use crate::body::client::{ComingBody, Interim};
use crate::error::{BadRequest, ErrorKind};
use crate::http1::framing::FramingError;
use crate::http1::head::{HeadError, Limits, Request};
use crate::http1::received_body::ReceivedBody;
use crate::http1::server::{self, Sent, ServerConnection, Settings};
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream::{Rewound, Stream};

/// What happens to a connection behind an answer.
enum After {
    /// Another request may come.
    Next,
    Close,
    /// It is gone, or somebody else's.
    Over,
}

/// Serves a connection until either side wants it closed.
pub(super) async fn serve(stream: Stream, connection: &Rc<HttpConnection>, manager: &ConnectionManager) {
    let settings = Settings {
        limits: Limits {
            bytes_max: manager.model.header_bytes_max,
            count_max: manager.model.header_count_max as usize,
        },
        // A stream begins with its first byte, and may be as idle before its head is whole as behind it.
        head_timeout: match manager.model.request_headers_timeout {
            Duration::ZERO => manager.model.stream_idle_timeout,
            limit => limit,
        },
        linger: manager.model.delayed_close_timeout,
    };
    let mut server = ServerConnection::new(stream, settings);
    let mut ending = pin!(connection.end());
    let mut leaving = false;
    loop {
        let received = tokio::select! {
            biased;
            received = server.receive() => received,
            end = &mut ending, if !leaving => {
                // What has begun to come is answered, but for a client that says nothing for too long.
                if end == End::Now || server.is_idle() {
                    return server.close().await;
                }
                leaving = true;
                continue;
            }
        };
        let after = match received {
            server::Received::Closed => return,
            server::Received::Request(head, Ok(body)) => {
                match answer(&mut server, connection, head, body, leaving).await {
                    (After::Over, Some(switch)) => {
                        if let Some((stream, ahead)) = server.into_parts() {
                            // Whoever waits for it may be gone.
                            let _ = switch.send(Rewound::new(ahead, stream));
                        }
                        return;
                    }
                    (after, _) => after,
                }
            }
            server::Received::Request(head, Err(error)) => {
                let head = ReceivedHead::from(head);
                // What is no target is refused before its version is looked at.
                let is_target = head.target != Err(BadRequest::Protocol);
                let (status, rule) = of_framing(error, is_target && !manager.model.http1.accept_http10);
                refuse(&mut server, connection, Some(&head), status, rule).await
            }
            server::Received::Malformed(error) => {
                let (status, rule) = of_head(error);
                refuse(&mut server, connection, None, status, rule).await
            }
            server::Received::Late => {
                refuse(
                    &mut server,
                    connection,
                    None,
                    StatusCode::REQUEST_TIMEOUT,
                    ErrorKind::HeadTimeout,
                )
                .await
            }
        };
        match after {
            After::Next if !leaving => {}
            After::Next | After::Close => return server.close().await,
            After::Over => return,
        }
    }
}

/// Answers one request. Where both sides switch to another protocol, the connection is for whoever waits for it.
async fn answer(
    server: &mut ServerConnection,
    connection: &Rc<HttpConnection>,
    head: Request,
    body: ReceivedBody,
    leaving: bool,
) -> (After, Option<oneshot::Sender<Rewound>>) {
    connection.asked();
    let _active = ActiveRequest::new(connection.clone());
    let is_connect = head.method == Method::CONNECT;
    let wants_switch = is_connect || offered(&head.headers, head.version).is_some();
    let (hand_over, switch) = if wants_switch {
        let (sender, receiver) = oneshot::channel();
        (Some(sender), ClientSwitch::Http1(receiver))
    } else {
        (None, ClientSwitch::None)
    };
    let received = Received {
        interim: connection.passes_interim().then(|| Interim::Http1(server.interim())),
        head: ReceivedHead::from(head),
        body: ComingBody::Http1(body),
        switch,
        stream: None,
    };
    let served = pin!(request::serve(connection.clone(), received));
    let answered = server.while_there(served).await;
    let draining = connection.answered();
    let Some(mut response) = answered else {
        return (After::Over, None);
    };
    let status = response.status();
    let switched = wants_switch && (status == StatusCode::SWITCHING_PROTOCOLS || (is_connect && status.is_success()));
    // An answer that does not wait for the request's end leaves the connection in no usable state. Behind a switch that was asked for
    // and not made, nobody knows what the client goes on with.
    let early = !server.is_request_over();
    if !switched && (early || wants_switch || draining || leaving) {
        close_with(&mut response);
    }
    let after = send(server, connection, response).await;
    if switched && !matches!(after, After::Over) {
        return (After::Over, hand_over);
    }
    (after, None)
}

/// Answers what is no request, and closes.
async fn refuse(
    server: &mut ServerConnection,
    connection: &Rc<HttpConnection>,
    head: Option<&ReceivedHead>,
    status: StatusCode,
    kind: ErrorKind,
) -> After {
    connection.asked();
    let _active = ActiveRequest::new(connection.clone());
    let mut response = request::refuse_unread(connection.clone(), head, status, kind).await;
    connection.answered();
    close_with(&mut response);
    match send(server, connection, response).await {
        After::Next | After::Close => After::Close,
        After::Over => After::Over,
    }
}

async fn send(server: &mut ServerConnection, connection: &HttpConnection, response: Response<ResponseBody>) -> After {
    let (parts, body) = response.into_parts();
    let date = connection.worker.date.at(SystemTime::now());
    match server.answer(parts, body, &date).await {
        Sent::Whole => After::Next,
        Sent::Last => After::Close,
        Sent::Broken => After::Over,
    }
}

fn close_with(response: &mut Response<ResponseBody>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// As Envoy's codec answers them. `by_version`: what is wrong with HTTP/1.0 is that it is not taken at all.
fn of_framing(error: FramingError, by_version: bool) -> (StatusCode, ErrorKind) {
    let status = match error {
        FramingError::CodingInHttp10 if by_version => {
            let kind = ErrorKind::BadRequest(BadRequest::Version);
            return (kind.status(), kind);
        }
        FramingError::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
        FramingError::LengthAndCoding
        | FramingError::RepeatedLength
        | FramingError::BadLength
        | FramingError::BodyOfConnect
        | FramingError::BodyOfNothing
        | FramingError::CodingInHttp10 => StatusCode::BAD_REQUEST,
    };
    (status, ErrorKind::BadRequest(BadRequest::Protocol))
}

fn of_head(error: HeadError) -> (StatusCode, ErrorKind) {
    let rule = match error {
        HeadError::TooLarge | HeadError::TooMany => BadRequest::HeadersTooLarge,
        HeadError::Version => BadRequest::Version,
        HeadError::Malformed(_) => BadRequest::Protocol,
    };
    let kind = ErrorKind::BadRequest(rule);
    (kind.status(), kind)
}
