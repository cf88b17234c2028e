//! The `load` role: sends requests at a steady rate over HTTP/1.1, HTTP/2 and gRPC, and says every second, as one JSON object a
//! line, how many there were and which failed. A request is sent when it is due, however slow the ones before it are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::grpc::{self, DescribeReply, DescribeRequest};
use crate::tally::{Outcome, Tally};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 1 << 20;
/// More requests than this on their way at once means that nothing answers; then each counts as failed at once.
const IN_FLIGHT: usize = 4096;

/// What the requests speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Grpc,
}

// === impl Protocol ===

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// What to send.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Whom to ask over HTTP/1.1.
    #[arg(long, env = "HTTP1_TARGET")]
    http1: Option<Uri>,
    /// Whom to ask over HTTP/2, as `http://host:port/path`.
    #[arg(long, env = "HTTP2_TARGET")]
    http2: Option<Uri>,
    /// Whom to ask over gRPC, as `http://host:port`.
    #[arg(long, env = "GRPC_TARGET")]
    grpc: Option<Uri>,
    /// Requests a second, of all protocols together, in turn.
    #[arg(long, env = "RATE", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// End after so many seconds instead of at SIGTERM.
    #[arg(long)]
    seconds: Option<u64>,
    /// When a request without an answer has failed, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    timeout_ms: u64,
}

/// Clients with their connections.
#[derive(Clone, Debug)]
struct Senders {
    http1: Client<HttpConnector, Full<Bytes>>,
    http2: Client<HttpConnector, Full<Bytes>>,
    limit: Duration,
}

/// Sends until the time is over or a signal comes, then prints the last line.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let targets = targets(&options)?;
    let senders = Senders::new(Duration::from_millis(options.timeout_ms));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let start = Instant::now();
    let mut due = interval(Duration::from_secs(1) / options.rate);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut report = interval(Duration::from_secs(1));
    let mut tasks = JoinSet::new();
    let mut turn = targets.iter().cycle();
    loop {
        tokio::select! {
            _ = due.tick() => {
                let Some((protocol, target)) = turn.next() else { continue };
                if tasks.len() >= IN_FLIGHT {
                    tally.lock().add(*protocol, start.elapsed(), Duration::ZERO, Err("too many requests wait".to_owned()));
                    continue;
                }
                let (senders, tally) = (senders.clone(), Arc::clone(&tally));
                let (protocol, target) = (*protocol, target.clone());
                tasks.spawn(async move {
                    let sent = Instant::now();
                    let outcome = senders.ask(protocol, target).await;
                    tally.lock().add(protocol, start.elapsed(), sent.elapsed(), outcome);
                });
            }
            _ = report.tick() => {
                print(&tally)?;
                if options.seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds)) {
                    break;
                }
            }
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    // What is on its way still counts; each has its own limit.
    while tasks.join_next().await.is_some() {}
    print(&tally)
}

fn print(tally: &Mutex<Tally>) -> anyhow::Result<()> {
    use std::io::Write;
    let line = tally.lock().json();
    writeln!(std::io::stdout(), "{line}").context("cannot write the report")
}

fn targets(options: &Options) -> anyhow::Result<Vec<(Protocol, Uri)>> {
    let all = [
        (Protocol::Http1, &options.http1),
        (Protocol::Http2, &options.http2),
        (Protocol::Grpc, &options.grpc),
    ];
    let given = all
        .into_iter()
        .filter_map(|(protocol, target)| target.clone().map(|target| (protocol, target)));
    let mut targets = Vec::new();
    for (protocol, target) in given {
        if target.scheme_str() != Some("http") || target.authority().is_none() {
            bail!("{target} must look like http://host:port/path");
        }
        let mut parts = target.into_parts();
        if protocol == Protocol::Grpc {
            parts.path_and_query = Some(grpc::PATH.parse()?);
        }
        targets.push((protocol, Uri::from_parts(parts)?));
    }
    if targets.is_empty() {
        bail!("nothing to send: give at least one of --http1, --http2, --grpc");
    }
    Ok(targets)
}

// === impl Senders ===

impl Senders {
    fn new(limit: Duration) -> Self {
        let client = |http2: bool| {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).http2_only(http2);
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(limit));
            builder.build(connector)
        };
        Self {
            http1: client(false),
            http2: client(true),
            limit,
        }
    }

    /// Who answered, or what went wrong.
    async fn ask(&self, protocol: Protocol, target: Uri) -> Outcome {
        let asked = timeout(self.limit, self.exchange(protocol, target)).await;
        asked
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|error| format!("{error:#}"))
    }

    async fn exchange(&self, protocol: Protocol, target: Uri) -> anyhow::Result<String> {
        let (client, request) = match protocol {
            Protocol::Http1 => (&self.http1, Request::builder().uri(target).body(Full::default())?),
            Protocol::Http2 => {
                let request = Request::builder().uri(target).version(Version::HTTP_2);
                (&self.http2, request.body(Full::default())?)
            }
            Protocol::Grpc => (&self.http2, call(target)?),
        };
        let answer = match client.request(request.clone()).await {
            // The server ends and has not seen this one, as every client of HTTP/2 knows it (RFC 9113, section 6.8).
            Err(error) if was_sent_away(&error) => client.request(request).await?,
            answered => answered?,
        };
        let status = answer.status();
        let headers = answer.headers().clone();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("cannot read the answer: {error}"))?;
        if !status.is_success() {
            bail!("status {status}: {}", String::from_utf8_lossy(&body.to_bytes()).trim());
        }
        if protocol != Protocol::Grpc {
            let body: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            return Ok(body["version"].as_str().unwrap_or("unknown").to_owned());
        }
        let trailers = body.trailers().unwrap_or(&headers);
        let code = trailers.get("grpc-status").and_then(|code| code.to_str().ok());
        if code != Some("0") {
            bail!("gRPC status {}", code.unwrap_or("missing"));
        }
        let reply: DescribeReply = grpc::unframe(body.to_bytes()).context("no gRPC message")?;
        Ok(reply.version)
    }
}

/// Whether a request came to nothing because the server sends its clients away with GOAWAY: it was not sent, or its stream is none of
/// those that the server goes on with.
fn was_sent_away(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut http2 = causes.filter_map(|cause| cause.downcast_ref::<h2::Error>());
    http2.any(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}

fn call(target: Uri) -> Result<Request<Full<Bytes>>, http::Error> {
    let message = DescribeRequest {
        text: "load".to_owned(),
    };
    Request::builder()
        .method(Method::POST)
        .uri(target)
        .version(Version::HTTP_2)
        .header("content-type", grpc::MEDIA_TYPE)
        .header("te", "trailers")
        .body(Full::new(grpc::frame(&message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        <Line as clap::Parser>::try_parse_from([&["load"], arguments].concat())
            .unwrap()
            .options
    }

    #[test]
    fn targets_are_plain_urls() {
        let both = targets(&options(&["--http1", "http://a/x", "--grpc", "http://b:9090"])).unwrap();
        let both: Vec<String> = both.iter().map(|(_, target)| target.to_string()).collect();
        assert_eq!(both, ["http://a/x", "http://b:9090/weft.sample.Callme/Describe"]);
        assert!(targets(&options(&["--http1", "https://a/"])).is_err());
        assert!(targets(&options(&["--http1", "/a"])).is_err());
        assert!(targets(&options(&[])).is_err());
    }
}
