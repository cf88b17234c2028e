//! A scripted upstream: answers as told, HTTP/1.1 or HTTP/2 by the connection's first bytes, and records what it received.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::script::{Action, Answer};
use super::wire::{self, Kind, Message};

/// A running server; its tasks end with it.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    name: String,
    script: parking_lot::Mutex<VecDeque<Answer>>,
    received: watch::Sender<Vec<Message>>,
    released: watch::Sender<bool>,
    /// Tunnels over HTTP/2.
    tunnels: parking_lot::Mutex<JoinSet<()>>,
}

// === impl Backend ===

impl Backend {
    /// Listens on a free port.
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            name: name.to_owned(),
            script: parking_lot::Mutex::default(),
            received: watch::Sender::new(Vec::new()),
            released: watch::Sender::new(false),
            tunnels: parking_lot::Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _tasks: tasks,
        })
    }

    /// Forgets what was received and starts a script; its last answer is repeated.
    pub(crate) fn reset(&self, script: &[Answer]) {
        *self.state.script.lock() = script.iter().cloned().collect();
        self.state.received.send_replace(Vec::new());
        self.state.released.send_replace(false);
    }

    /// Lets held answers go.
    pub(crate) fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// The requests received since the last reset.
    pub(crate) fn received(&self) -> Vec<Message> {
        self.state.received.borrow().clone()
    }

    /// Waits until that many requests have come.
    pub(crate) async fn wait_for(&self, count: usize, limit: Duration) -> Result<()> {
        let mut received = self.state.received.subscribe();
        let enough = received.wait_for(|received| received.len() >= count);
        if tokio::time::timeout(limit, enough).await.is_err() {
            bail!("{} did not receive {count} requests within {limit:?}", self.state.name);
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // A connection that breaks is the proxy's doing and shows in what the client sees.
            let _ = serve(stream, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: &Arc<State>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Ok(()),
            1 | 2 => tokio::task::yield_now().await,
            _ => break,
        }
    }
    if &first == b"PRI" {
        serve_h2(stream, state).await
    } else {
        serve_h1(stream, state).await
    }
}

async fn serve_h1(mut stream: TcpStream, state: &State) -> Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(head) = wire::read_head(&mut stream, &mut buffer).await? {
        let (interim, unread) = state.before_body();
        stream.write_all(&interim).await?;
        let request = if unread {
            head
        } else {
            wire::read_body(&mut stream, &mut buffer, Kind::Request, head).await?
        };
        // When the proxy gives up on a request is not seen here in time to be compared.
        if request.cut_short {
            return Ok(());
        }
        let method = request.start.split(' ').next().unwrap_or_default().to_owned();
        let answer = state.next(request).await;
        if let Some(raw) = &answer.raw {
            stream.write_all(raw.as_bytes()).await?;
            return Ok(());
        }
        match answer.action {
            Action::Close => return Ok(()),
            Action::Reset => return Ok(stream.set_zero_linger()?),
            Action::Hang => std::future::pending().await,
            Action::Answer | Action::AnswerAndClose | Action::Stall | Action::Echo => {}
        }
        let bytes = state.h1_bytes(&answer, &method);
        if answer.action == Action::Stall {
            stream.write_all(&bytes[..bytes.len() - 1]).await?;
            std::future::pending::<()>().await;
        }
        stream.write_all(&bytes).await?;
        if answer.action == Action::AnswerAndClose || unread {
            return Ok(());
        }
        if answer.action == Action::Echo {
            stream.write_all(&buffer).await?;
            return echo(&mut stream).await;
        }
    }
    Ok(())
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

async fn serve_h2(stream: TcpStream, state: &Arc<State>) -> Result<()> {
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let state = Arc::clone(state);
        async move { answer_h2(request, &state).await }
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .auto_date_header(false)
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn answer_h2(
    mut request: hyper::Request<Incoming>,
    state: &State,
) -> Result<hyper::Response<BoxBody<Bytes, Infallible>>> {
    let tunnel = (request.method() == hyper::Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let mut message = Message {
        start: format!(
            "{} {} HTTP/2",
            head.method,
            head.uri.path_and_query().map_or("", |p| p.as_str())
        ),
        ..Message::default()
    };
    let protocol = head.extensions.get::<hyper::ext::Protocol>();
    let pseudo = [
        (":protocol", protocol.map(|protocol| protocol.as_str().to_owned())),
        (":authority", head.uri.authority().map(ToString::to_string)),
        (":scheme", head.uri.scheme_str().map(str::to_owned)),
    ];
    message.headers.extend(
        pseudo
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    message.headers.extend(text_fields(&head.headers));
    match body.collect().await {
        Ok(body) => {
            message.trailers = body.trailers().map(text_fields).unwrap_or_default();
            message.body = body.to_bytes().to_vec();
        }
        Err(error) => bail!("the proxy gave up on the request: {error}"),
    }
    let answer = state.next(message).await;
    match answer.action {
        Action::Close | Action::Reset => bail!("reset as the script says"),
        Action::Hang => std::future::pending().await,
        Action::Stall => bail!("only HTTP/1.1 stalls"),
        Action::Answer | Action::AnswerAndClose | Action::Echo => {}
    }
    if let Some(tunnel) = tunnel.filter(|_| answer.action == Action::Echo) {
        state.tunnels.lock().spawn(async move {
            // It ends with its connection, which the proxy closes when it likes.
            if let Ok(tunnel) = tunnel.await {
                let _ = echo(&mut TokioIo::new(tunnel)).await;
            }
        });
    }
    let mut response = hyper::Response::builder().status(answer.code());
    for (name, value) in answer.headers.iter().map(|line| wire::field(line)) {
        response = response.header(name, value);
    }
    let mut frames = Vec::new();
    let body = answer.bytes(&state.name);
    if answer.may_have_body(head.method.as_str()) && !body.is_empty() {
        frames.push(Ok(Frame::data(Bytes::from(body))));
    }
    if !answer.trailers.is_empty() {
        let mut trailers = http::HeaderMap::new();
        for (name, value) in answer.trailers.iter().map(|line| wire::field(line)) {
            trailers.append(http::HeaderName::try_from(name)?, http::HeaderValue::try_from(value)?);
        }
        frames.push(Ok(Frame::trailers(trailers)));
    }
    let body = if frames.is_empty() {
        http_body_util::Empty::new().boxed()
    } else {
        StreamBody::new(stream::iter(frames)).boxed()
    };
    Ok(response.body(body)?)
}

/// Fields of a header map as text.
pub(crate) fn text_fields(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

// === impl State ===

impl State {
    /// Records a request, takes its answer from the script and waits as the answer says.
    async fn next(&self, request: Message) -> Answer {
        let answer = {
            let mut script = self.script.lock();
            let last = script.len() <= 1;
            if last {
                script.front().cloned()
            } else {
                script.pop_front()
            }
            .unwrap_or_default()
        };
        self.received.send_modify(|received| received.push(request));
        tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
        if answer.held {
            let _ = self.released.subscribe().wait_for(|released| *released).await;
        }
        answer
    }

    /// What the next answer does before the body of its request: interim answers, and whether it waits for the body.
    fn before_body(&self) -> (Vec<u8>, bool) {
        let script = self.script.lock();
        let Some(answer) = script.front() else {
            return (Vec::new(), false);
        };
        let mut bytes = Vec::new();
        for interim in &answer.interim {
            let (status, field) = interim.split_once(' ').unwrap_or((interim, ""));
            let fields: Vec<String> = Some(field.to_owned())
                .filter(|field| !field.is_empty())
                .into_iter()
                .collect();
            bytes.extend(wire::encode(
                &format!("HTTP/1.1 {status} Interim"),
                &fields,
                &[],
                &[],
                false,
            ));
        }
        (bytes, answer.unread)
    }

    fn h1_bytes(&self, answer: &Answer, method: &str) -> Vec<u8> {
        let code = answer.code();
        let body = answer.bytes(&self.name);
        let chunked = answer.chunked || !answer.trailers.is_empty();
        let mut headers = answer.headers.clone();
        let says_length = headers
            .iter()
            .any(|line| line.to_ascii_lowercase().starts_with("content-length"));
        if !chunked && !says_length && code >= 200 && code != 204 && answer.action != Action::Echo {
            headers.push(format!("content-length: {}", body.len()));
        }
        if answer.action == Action::AnswerAndClose {
            headers.push("connection: close".to_owned());
        }
        let reason = http::StatusCode::from_u16(code)
            .ok()
            .and_then(|code| code.canonical_reason())
            .unwrap_or("Unknown");
        let body = if answer.may_have_body(method) { &body[..] } else { &[] };
        let chunked = chunked && answer.may_have_body(method);
        wire::encode(
            &format!("HTTP/1.1 {code} {reason}"),
            &headers,
            body,
            &answer.trailers,
            chunked,
        )
    }
}
