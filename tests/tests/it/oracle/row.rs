//! What a row of the table says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::support::script::Answer;
use crate::support::{coding, wire};

/// A config, requests, and what the upstreams do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Row {
    /// What is shown, as a sentence.
    pub(crate) name: String,
    /// Fields of the HTTP connection manager beside the defaults of `bootstrap`.
    pub(crate) hcm: Map<String, Value>,
    /// Routes of one virtual host for every domain.
    pub(crate) routes: Vec<Value>,
    /// Fields of that virtual host.
    pub(crate) virtual_host: Map<String, Value>,
    /// Virtual hosts instead of `routes`.
    pub(crate) virtual_hosts: Vec<Value>,
    /// Fields of the route configuration.
    pub(crate) route_config: Map<String, Value>,
    /// Fields of clusters beside the defaults; the clusters `a`, `b`, `down` and `empty` exist in every row.
    pub(crate) clusters: BTreeMap<String, Map<String, Value>>,
    /// A TCP proxy with these fields instead of the HTTP connection manager.
    pub(crate) tcp_proxy: Option<Map<String, Value>>,
    /// Network filters before the last one.
    pub(crate) network_filters: Vec<Value>,
    /// Fields of the listener.
    pub(crate) listener: Map<String, Value>,
    /// What the servers behind `a` and `b` answer, in order; the last answer is repeated.
    pub(crate) backends: BTreeMap<String, Vec<Answer>>,
    /// Sent one after the other, each over a connection of its own.
    pub(crate) requests: Vec<Request>,
    /// The requests are sent that many times, and only the share of each upstream is compared, with this tolerance in percent.
    pub(crate) share: Option<Share>,
    /// Statistics that are compared after the last request; one that is not there is zero.
    pub(crate) stats: Vec<String>,
    /// Format of the access log's lines instead of the usual one.
    pub(crate) log: Option<String>,
    /// Both refuse to start on this configuration, and ours says this.
    pub(crate) refused: Option<String>,
    /// Our proxy differs on purpose, for this reason; the row fails when it no longer differs.
    pub(crate) differs: Option<String>,
    /// The same for the access log alone; everything else must agree.
    pub(crate) log_differs: Option<String>,
    /// Made up: what is expected is what Envoy does.
    #[serde(skip)]
    pub(crate) generated: bool,
}

/// A comparison of counts instead of exact equality.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    pub(crate) repeat: usize,
    /// Percent by upstream.
    pub(crate) of: BTreeMap<String, f64>,
    pub(crate) tolerance: f64,
}

/// One request; `raw` or the fields that make one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    /// Exact bytes instead of everything below.
    pub(crate) raw: Option<String>,
    /// Path and query.
    pub(crate) get: String,
    pub(crate) method: String,
    pub(crate) host: String,
    /// Lines `name: value`.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    /// The body is compressed as `content-encoding` says.
    pub(crate) encoded: bool,
    pub(crate) chunked: bool,
    pub(crate) trailers: Vec<String>,
    pub(crate) http2: bool,
    /// Exact fields of a head over HTTP/2, `name: value` each, instead of method, host, path and headers; `trailers` are exact then, too.
    pub(crate) fields: Vec<String>,
    /// Sent behind `100 Continue` or within a tunnel.
    pub(crate) then: String,
    /// Milliseconds for which a tunnel is silent before that.
    pub(crate) pause_ms: u64,
    /// The protocol of an extended CONNECT, over HTTP/2.
    pub(crate) protocol: String,
    /// A tunnel is read until this text comes.
    pub(crate) until: String,
    /// Stays unanswered until the other requests are finished.
    pub(crate) hold: bool,
    /// Waits for a connection to cluster `a` until held answers are let go of; it is sent once those before it wait.
    pub(crate) waits: bool,
    /// Adds a header `x-padding` of so many bytes.
    pub(crate) padding: usize,
    /// The status and the upstreams that were asked, in order: `200 a`, `503 a a`, `404`; `none`: no response at all.
    pub(crate) expect: String,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            raw: None,
            get: "/".to_owned(),
            method: "GET".to_owned(),
            host: "example.com".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            encoded: false,
            chunked: false,
            trailers: Vec::new(),
            http2: false,
            fields: Vec::new(),
            then: String::new(),
            pause_ms: 0,
            protocol: String::new(),
            until: String::new(),
            hold: false,
            waits: false,
            padding: 0,
            expect: String::new(),
        }
    }
}

// === impl Request ===

impl Request {
    /// The bytes of an HTTP/1.1 request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone().into_bytes();
        }
        let mut headers = vec![format!("Host: {}", self.host)];
        headers.extend(self.header_lines());
        let chunked = self.chunked || !self.trailers.is_empty();
        let body = self.body_bytes();
        if !body.is_empty() && !chunked {
            headers.push(format!("Content-Length: {}", body.len()));
        }
        let start = format!("{} {} HTTP/1.1", self.method, self.get);
        wire::encode(&start, &headers, &body, &self.trailers, chunked)
    }

    /// The body as it is sent.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        let fields = self.headers.iter().map(|line| wire::field(line));
        let encoding = coding::named(fields);
        coding::encode(encoding.as_deref().filter(|_| self.encoded), self.body.as_bytes())
    }

    /// The fields beside Host and those that frame the body.
    pub(crate) fn header_lines(&self) -> Vec<String> {
        let padding = (self.padding > 0).then(|| format!("x-padding: {}", "x".repeat(self.padding)));
        self.headers.iter().cloned().chain(padding).collect()
    }
}
