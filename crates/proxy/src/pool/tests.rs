//! The pool against a small model of what becomes of requests and connections: whoever is lent a connection finds nothing of others on
//! it, whoever waits is served in order, and no connection is more than the cluster may have. The server is real, and says when an
//! exchange begins on a connection whose last one is not over.

// Here as in other files: nothing below this mark is built into the proxy.
#[cfg(test)]
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use weft_base::shutdown::Shutdown;
use weft_proto::xds::envoy::config::cluster::v3::{self as pb, cluster as inner};

use super::*;
use crate::body::Progress;
use crate::body::client::ComingBody;
use crate::error::ErrorKind;
use crate::filters::client_body::ClientBody;
use crate::http1::received_body::ReceivedBody;
use crate::model::cluster::{self as model, Discovery, EndpointAddress, Health, LoadAssignment, LocalityEndpoints};
use crate::model::convert;
use crate::secrets::SecretStore;
use crate::upstream::limits::Resource;

/// Until the pool has done what the model says.
const SETTLED: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// With a body that ends when the client says so.
    Upload,
    /// Offers another protocol.
    Upgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Whole,
    /// Whole, and the connection ends with it.
    Closing,
    /// Whole, and something that nobody asked for.
    Surplus,
    /// Half of it, then the end of the connection.
    Broken,
    /// The end of the connection.
    Reset,
    /// Another protocol, where it was offered; whole elsewhere.
    Switch,
}

/// A step; numbers choose among those that can.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(Kind),
    EndUpload(usize),
    Answer(usize, Answer),
    Leave(usize),
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    waiting: usize,
    /// Zero is without bound.
    per_connection: u32,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Waiting,
    On(usize),
    Switched(usize),
    Over(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    Failed,
    Refused,
    Left,
    /// The answer was another's.
    Wrong,
}

// The model.

#[derive(Debug)]
struct Model {
    limits: Limits,
    requests: Vec<(Kind, At)>,
    /// Whether all of a request's body was sent.
    uploaded: Vec<bool>,
    /// How many requests a connection has served; `None` once it is closed.
    connections: Vec<Option<u32>>,
    idle: Vec<usize>,
    queue: VecDeque<usize>,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Vec::new(),
            uploaded: Vec::new(),
            connections: Vec::new(),
            idle: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    fn send(&mut self, kind: Kind) -> usize {
        let id = self.requests.len();
        self.requests.push((kind, At::Waiting));
        self.uploaded.push(kind != Kind::Upload);
        if let Some(connection) = self.idle.pop() {
            self.serve(connection, id);
        } else if self.queue.len() >= self.limits.waiting {
            self.requests[id].1 = At::Over(End::Refused);
        } else {
            self.queue.push_back(id);
            self.grow();
        }
        id
    }

    fn answer(&mut self, id: usize, answer: Answer) {
        let (kind, At::On(connection)) = self.requests[id] else {
            unreachable!("only requests on a connection are answered")
        };
        self.requests[id].1 = match answer {
            Answer::Switch if kind == Kind::Upgrade => At::Switched(connection),
            Answer::Whole | Answer::Closing | Answer::Surplus | Answer::Switch => At::Over(End::Answered),
            Answer::Broken | Answer::Reset => At::Over(End::Failed),
        };
        match answer {
            Answer::Switch if kind == Kind::Upgrade => {}
            Answer::Whole | Answer::Switch if self.uploaded[id] => self.free(connection),
            Answer::Whole | Answer::Closing | Answer::Surplus | Answer::Broken | Answer::Reset | Answer::Switch => {
                self.close(connection);
            }
        }
    }

    fn leave(&mut self, id: usize) {
        match std::mem::replace(&mut self.requests[id].1, At::Over(End::Left)) {
            At::Waiting => self.queue.retain(|waiting| *waiting != id),
            At::On(connection) | At::Switched(connection) => self.close(connection),
            At::Over(_) => unreachable!("only those who are there leave"),
        }
    }

    fn serve(&mut self, connection: usize, id: usize) {
        self.requests[id].1 = At::On(connection);
        *self.connections[connection].as_mut().unwrap() += 1;
    }

    fn free(&mut self, connection: usize) {
        if self.connections[connection] == Some(self.limits.per_connection) {
            self.close(connection);
        } else if let Some(id) = self.queue.pop_front() {
            self.serve(connection, id);
        } else {
            self.idle.push(connection);
        }
    }

    fn close(&mut self, connection: usize) {
        self.connections[connection] = None;
        self.grow();
    }

    fn grow(&mut self) {
        if self.open() < self.limits.connections
            && let Some(id) = self.queue.pop_front()
        {
            self.connections.push(Some(0));
            self.serve(self.connections.len() - 1, id);
        }
    }

    fn open(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// The one of `number` among the requests that fit.
    fn pick(&self, number: usize, fits: impl Fn(usize, Kind, At) -> bool) -> Option<usize> {
        let requests = self.requests.iter().enumerate();
        let fitting: Vec<usize> = requests
            .filter(|(id, (kind, at))| fits(*id, *kind, *at))
            .map(|(id, _)| id)
            .collect();
        fitting.get(number % fitting.len().max(1)).copied()
    }

    /// What must be seen once all is settled.
    fn text(&self) -> String {
        let mut text = String::new();
        for (id, (_, at)) in self.requests.iter().enumerate() {
            let part = matches!(at, At::On(_)) && !self.uploaded[id];
            let _ = write!(text, "{id}:{at:?}{} ", if part { "..." } else { "" });
        }
        let in_flight = self.requests.iter();
        let in_flight = in_flight
            .filter(|(_, at)| matches!(at, At::On(_) | At::Switched(_)))
            .count();
        let (waiting, open) = (self.queue.len(), self.open());
        let _ = write!(text, "waiting={waiting} open={open} in-flight={in_flight} faults=[]");
        text
    }
}

// The server.

#[derive(Debug, Default)]
struct Seen {
    /// Connections of requests whose head has come.
    heads: Vec<Option<usize>>,
    ends: Vec<Option<End>>,
    switched: Vec<bool>,
    /// Requests of which all has come.
    uploaded: Vec<bool>,
    faults: Vec<String>,
    /// Tells a connection's task what to answer, by connection.
    answers: Vec<UnboundedSender<(usize, Answer)>>,
}

type Shared = Rc<RefCell<Seen>>;

async fn accept(listener: TcpListener, seen: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tell, told) = unbounded_channel();
        let number = seen.borrow().answers.len();
        seen.borrow_mut().answers.push(tell);
        spawn_local(serve(stream, number, told, seen.clone()));
    }
}

async fn serve(mut stream: TcpStream, number: usize, mut told: UnboundedReceiver<(usize, Answer)>, seen: Shared) {
    let mut read = Vec::new();
    // Each turn begins when the last exchange is over in both directions.
    loop {
        let head = read.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&read[..end]).into_owned();
            let id = text.split(['/', ' ']).nth(2).and_then(|id| id.parse::<usize>().ok());
            read.drain(..end + 4);
            let chunked = text.contains("chunked");
            match id {
                Some(id) if seen.borrow().heads[id].is_none() => seen.borrow_mut().heads[id] = Some(number),
                Some(_) | None => seen.borrow_mut().faults.push(format!("on {number}: {text}")),
            }
            let mut answered = false;
            let mut uploaded = !chunked || read.ends_with(b"0\r\n\r\n");
            while !(answered && uploaded) {
                if let Some(id) = id.filter(|_| uploaded) {
                    seen.borrow_mut().uploaded[id] = true;
                }
                tokio::select! {
                    biased;
                    Some((id, answer)) = told.recv() => {
                        if stream.write_all(&bytes(id, answer)).await.is_err() || matches!(answer, Answer::Broken | Answer::Reset) {
                            return;
                        }
                        answered = true;
                    }
                    count = stream.read_buf(&mut read) => {
                        if !matches!(count, Ok(1..)) {
                            return;
                        }
                        uploaded |= read.ends_with(b"0\r\n\r\n");
                        if read.windows(8).any(|window| window == b"HTTP/1.1") {
                            seen.borrow_mut().faults.push(format!("on {number}: a head before the end of an exchange"));
                        }
                    }
                }
            }
            read.clear();
        } else if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    }
}

fn bytes(id: usize, answer: Answer) -> Vec<u8> {
    let body = format!("r{id}");
    let length = body.len();
    match answer {
        Answer::Whole => format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"),
        Answer::Closing => format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"),
        Answer::Surplus => {
            let surplus = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad";
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}{surplus}")
        }
        Answer::Broken => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned(),
        Answer::Reset => String::new(),
        Answer::Switch => "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_owned(),
    }
    .into_bytes()
}

// The pool, and those who use it.

struct Bench {
    pools: Rc<Pools>,
    cluster: Arc<Cluster>,
    seen: Shared,
    clients: Vec<AbortHandle>,
    /// The clients' ends of bodies.
    uploads: Vec<Option<TcpStream>>,
}

impl Bench {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Shared::default();
        spawn_local(accept(listener, seen.clone()));
        Self {
            pools: Rc::new(Pools::new(Executor::default(), Rc::default())),
            cluster: cluster(address, limits),
            seen,
            clients: Vec::new(),
            uploads: Vec::new(),
        }
    }

    async fn send(&mut self, id: usize, kind: Kind) {
        {
            let mut seen = self.seen.borrow_mut();
            seen.heads.push(None);
            seen.ends.push(None);
            seen.switched.push(false);
            seen.uploaded.push(false);
        }
        let (upload, body) = if kind == Kind::Upload {
            let (client, server) = pair().await;
            let body = ClientBody::Direct(ComingBody::Http1(ReceivedBody::chunked(server)));
            let progress = Rc::<Progress>::default();
            (Some(client), RequestBody::Direct { body, progress })
        } else {
            (None, RequestBody::Empty)
        };
        self.uploads.push(upload);
        let (pools, cluster, seen) = (self.pools.clone(), self.cluster.clone(), self.seen.clone());
        let client = spawn_local(async move {
            let end = exchange(&pools, &cluster, &seen, id, kind, body).await;
            seen.borrow_mut().ends[id] = Some(end);
        });
        self.clients.push(client.abort_handle());
    }

    /// What is seen now, in the model's words.
    fn text(&self, model: &Model) -> String {
        let seen = self.seen.borrow();
        let mut text = String::new();
        for id in 0..seen.heads.len() {
            let left = model.requests[id].1 == At::Over(End::Left);
            let at = match (seen.ends[id], seen.heads[id]) {
                (Some(end), _) => At::Over(end),
                (None, _) if left => At::Over(End::Left),
                (None, Some(connection)) if seen.switched[id] => At::Switched(connection),
                (None, Some(connection)) => At::On(connection),
                (None, None) => At::Waiting,
            };
            let part = matches!(at, At::On(_)) && !seen.uploaded[id];
            let _ = write!(text, "{id}:{at:?}{} ", if part { "..." } else { "" });
        }
        let state = &self.cluster.state;
        let (waiting, open) = (
            state.pending.load(Ordering::Relaxed),
            state.connections.load(Ordering::Relaxed),
        );
        let in_flight = state.requests.load(Ordering::Relaxed);
        let faults = &seen.faults;
        let _ = write!(
            text,
            "waiting={waiting} open={open} in-flight={in_flight} faults={faults:?}"
        );
        text
    }

    /// Waits until what is seen is what must be.
    async fn settle(&self, model: &Model) -> Result<(), TestCaseError> {
        let expected = model.text();
        let settled = async {
            while self.text(model) != expected {
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::time::timeout(SETTLED, settled).await;
        prop_assert_eq!(self.text(model), expected);
        Ok(())
    }
}

async fn exchange(
    pools: &Pools,
    cluster: &Arc<Cluster>,
    seen: &Shared,
    id: usize,
    kind: Kind,
    body: RequestBody,
) -> End {
    let endpoint = cluster.endpoints().endpoints[0].clone();
    let wanted = Wanted {
        asked: None,
        fresh: false,
        downstream_http2: false,
        auto_http2: false,
    };
    let lent = match pools.get(cluster, &endpoint, wanted).await {
        Ok(lent) => lent,
        Err(error) if error.kind == ErrorKind::Overflow => return End::Refused,
        Err(_) => return End::Failed,
    };
    let counted = cluster.state.take(Resource::Request, &cluster.model.limits).unwrap();
    let mut request = Request::builder().method("POST").header("host", "h");
    if kind == Kind::Upgrade {
        request = request.header("connection", "upgrade").header("upgrade", "x");
    }
    let path = format!("/{id}").parse().unwrap();
    let answer = lent
        .send(&path, request.body(body).unwrap(), cluster, counted, None)
        .await;
    let Ok(answer) = answer else {
        return End::Failed;
    };
    let switching = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let mut body = answer.into_body();
    if switching {
        let _stream = body.into_switched();
        seen.borrow_mut().switched[id] = true;
        return std::future::pending().await;
    }
    let mut got = Vec::new();
    while !body.is_end_stream() {
        match poll_fn(|cx| body.poll_frame(cx)).await {
            None => break,
            Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(_)) => return End::Failed,
        }
    }
    body.ended();
    if got == format!("r{id}").into_bytes() {
        End::Answered
    } else {
        End::Wrong
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(connect, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

fn cluster(address: SocketAddr, limits: Limits) -> Arc<Cluster> {
    let source = pb::Cluster {
        name: "c".to_owned(),
        cluster_discovery_type: Some(inner::ClusterDiscoveryType::Type(
            inner::DiscoveryType::OriginalDst as i32,
        )),
        lb_policy: inner::LbPolicy::ClusterProvided as i32,
        ..pb::Cluster::default()
    };
    let mut model = convert::cluster(&source, &convert::Path::default()).unwrap();
    model.limits.connections_max = limits.connections as u32;
    model.limits.pending_max = limits.waiting as u32;
    model.requests_per_connection_max = limits.per_connection;
    let endpoint = model::Endpoint {
        address: EndpointAddress::Socket(address),
        hostname: Arc::from(""),
        weight: 1,
        health: Health::Healthy,
        transport_labels: Vec::new(),
        workload: None,
    };
    model.discovery = Discovery::Static(LoadAssignment {
        name: Arc::from("c"),
        localities: vec![LocalityEndpoints {
            endpoints: vec![endpoint],
            ..LocalityEndpoints::default()
        }],
        overprovisioning_percent: 140,
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Cluster::new(Arc::new(model), None, &provider, &SecretStore::new(&Shutdown::new()))
}

async fn run(limits: Limits, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut bench = Bench::start(limits).await;
    let mut model = Model::new(limits);
    let on_connection = |_: usize, _: Kind, at: At| matches!(at, At::On(_));
    for step in steps {
        step_once(&mut bench, &mut model, *step).await;
        bench.settle(&model).await?;
    }
    // Whoever is still there is served, those who wait in their order.
    while let Some(id) = model.pick(0, on_connection) {
        if !model.uploaded[id] {
            step_once(&mut bench, &mut model, Step::EndUpload(0)).await;
            bench.settle(&model).await?;
            continue;
        }
        step_once(&mut bench, &mut model, Step::Answer(0, Answer::Whole)).await;
        bench.settle(&model).await?;
    }
    prop_assert!(model.queue.is_empty() || model.requests.iter().any(|(_, at)| matches!(at, At::Switched(_))));
    Ok(())
}

async fn step_once(bench: &mut Bench, model: &mut Model, step: Step) {
    match step {
        Step::Send(kind) => {
            let id = model.send(kind);
            bench.send(id, kind).await;
        }
        Step::EndUpload(number) => {
            let open = |id: usize, _: Kind, at: At| !model.uploaded[id] && matches!(at, At::On(_) | At::Waiting);
            if let Some(id) = model.pick(number, open) {
                model.uploaded[id] = true;
                let upload = bench.uploads[id].as_mut().unwrap();
                upload.write_all(b"1\r\nx\r\n0\r\n\r\n").await.unwrap();
            }
        }
        Step::Answer(number, answer) => {
            if let Some(id) = model.pick(number, |_, _, at| matches!(at, At::On(_))) {
                let (kind, At::On(connection)) = model.requests[id] else {
                    unreachable!("chosen so")
                };
                let answer = if answer == Answer::Switch && kind != Kind::Upgrade {
                    Answer::Whole
                } else {
                    answer
                };
                model.answer(id, answer);
                let tell = bench.seen.borrow().answers[connection].clone();
                tell.send((id, answer)).unwrap();
            }
        }
        Step::Leave(number) => {
            if let Some(id) = model.pick(number, |_, _, at| !matches!(at, At::Over(_))) {
                model.leave(id);
                bench.clients[id].abort();
            }
        }
    }
}

fn check(limits: Limits, steps: &[Step]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, run(limits, steps))
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![3 => Just(Kind::Plain), 2 => Just(Kind::Upload), 1 => Just(Kind::Upgrade)];
    let answer = prop_oneof![
        4 => Just(Answer::Whole),
        1 => Just(Answer::Closing),
        1 => Just(Answer::Surplus),
        1 => Just(Answer::Broken),
        1 => Just(Answer::Reset),
        1 => Just(Answer::Switch),
    ];
    prop_oneof![
        4 => kind.prop_map(Step::Send),
        2 => (0..8_usize).prop_map(Step::EndUpload),
        4 => (0..8_usize, answer).prop_map(|(number, answer)| Step::Answer(number, answer)),
        1 => (0..8_usize).prop_map(Step::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn requests_and_connections_are_as_in_the_model(
        (connections, waiting, per_connection) in (1..4_usize, 1..5_usize, 0..4_u32),
        steps in prop::collection::vec(any_step(), 1..24),
    ) {
        check(Limits { connections, waiting, per_connection }, &steps)?;
    }
}

#[test]
fn an_answer_before_the_end_of_an_upload_ends_the_connection() {
    let limits = Limits {
        connections: 1,
        waiting: 4,
        per_connection: 0,
    };
    let steps = [
        Step::Send(Kind::Upload),
        Step::Send(Kind::Plain),
        Step::Answer(0, Answer::Whole),
        Step::Answer(0, Answer::Whole),
        Step::Send(Kind::Upload),
        Step::EndUpload(0),
        Step::Answer(0, Answer::Whole),
        Step::Send(Kind::Plain),
    ];
    check(limits, &steps).unwrap();
}

#[test]
fn a_connection_that_switched_counts_until_it_ends() {
    let limits = Limits {
        connections: 1,
        waiting: 2,
        per_connection: 0,
    };
    let steps = [
        Step::Send(Kind::Upgrade),
        Step::Answer(0, Answer::Switch),
        Step::Send(Kind::Plain),
        Step::Send(Kind::Plain),
        Step::Send(Kind::Plain),
        Step::Leave(1),
        Step::Leave(0),
    ];
    check(limits, &steps).unwrap();
}
