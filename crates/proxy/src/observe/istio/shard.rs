//! A worker's way from the facts of a request to the numbers that count it. What was asked once is found again by the addresses of
//! the shared parts of the facts, without forming a label: a look-up, a scan of few response codes, and seven additions.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderValue;
use smallvec::SmallVec;

use super::labels::{CatchAll, Parties, Reporter, Service};
use super::peer::{self, OwnHeaders};
use super::registry::Registry;
use super::series::{HttpSeries, MessageSeries, TcpSeries};
use crate::error::ResponseFlags;
use crate::model::cluster::Cluster;
use crate::model::filters::istio_stats::Config as IstioStats;
use crate::model::listener::Direction;
use crate::model::metadata::WorkloadRef;
use crate::stats::prometheus::label;
use crate::stream_info::StreamInfo;
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::identity::Identity;

/// Most entries of each of a worker's maps; a full one is emptied, and what is asked again is found in the registry.
const ENTRIES_MAX: usize = 4_096;

/// Longest host that becomes a label.
const HOST_BYTES_MAX: usize = 255;

/// A worker's part of the metrics.
#[derive(Debug)]
pub struct Shard {
    registry: Arc<Registry>,
    worker: usize,
    sets: RefCell<Map<Key, Entry>>,
    peers: RefCell<Map<HeaderValue, Option<Arc<WorkloadRef>>>>,
    hosts: RefCell<Map<HeaderValue, Rc<str>>>,
}

type Map<K, V> = HashMap<K, V, RandomState>;

/// Few series, found by a scan.
type Known<K, S> = RefCell<SmallVec<[(K, Arc<S>); 2]>>;

/// What is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Http,
    Grpc,
    Tcp,
}

/// Addresses of the shared facts. An [`Entry`] keeps them alive, so that none is given to another fact meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    reporter: Reporter,
    protocol: Protocol,
    catch_all: CatchAll,
    cluster: usize,
    peer: usize,
    identity: usize,
    host: usize,
}

#[derive(Debug)]
struct Entry {
    set: Rc<Set>,
    _cluster: Option<Arc<Cluster>>,
    _peer: Option<Arc<WorkloadRef>>,
    _identity: Option<Rc<Identity>>,
    _host: Option<Rc<str>>,
}

/// The series of one pair of workloads.
#[derive(Debug)]
struct Set {
    /// The twenty labels.
    labels: String,
    protocol: Protocol,
    security_policy: &'static str,
    http: Known<Outcome, HttpSeries>,
    tcp: Known<ResponseFlags, TcpSeries>,
    messages: OnceCell<Arc<MessageSeries>>,
}

/// How a request ended, as far as labels tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    code: u16,
    grpc_status: Option<u32>,
    flags: ResponseFlags,
}

/// The facts that labels are made of.
#[derive(Debug)]
struct Facts<'a> {
    reporter: Reporter,
    protocol: Protocol,
    catch_all: CatchAll,
    cluster: Option<&'a Arc<Cluster>>,
    peer: Option<&'a Arc<WorkloadRef>>,
    identity: Option<&'a Rc<Identity>>,
    host: Option<Rc<str>>,
}

// === impl Shard ===

impl Shard {
    /// The shard of a worker.
    pub fn new(registry: Arc<Registry>, worker: usize) -> Self {
        Self {
            registry,
            worker,
            sets: RefCell::default(),
            peers: RefCell::default(),
            hosts: RefCell::default(),
        }
    }

    /// Lets go of facts of earlier configurations. Call it when the configuration changed.
    pub fn forget(&self) {
        self.sets.borrow_mut().clear();
        self.hosts.borrow_mut().clear();
    }

    /// What tells peers of this proxy's workload.
    pub fn own_headers(&self) -> Option<&OwnHeaders> {
        self.registry.own_headers.as_ref()
    }

    /// Who a peer metadata header is about.
    pub fn peer(&self, header: &HeaderValue) -> Option<Arc<WorkloadRef>> {
        let mut peers = self.peers.borrow_mut();
        if let Some(known) = peers.get(header) {
            return known.clone();
        }
        make_room(&mut peers);
        let decoded = peer::decode(header.as_bytes()).map(Arc::new);
        peers.insert(header.clone(), decoded.clone());
        decoded
    }

    /// Counts a request that has ended.
    pub fn request(&self, stats: &IstioStats, info: &StreamInfo) {
        let set = self.set(stats, info);
        let outcome = Outcome {
            code: info.response_code,
            grpc_status: info.grpc_status.filter(|_| set.protocol == Protocol::Grpc),
            flags: info.flags,
        };
        let mut series = set.http.borrow_mut();
        let at = series.iter().position(|(known, _)| *known == outcome);
        let at = at.unwrap_or_else(|| {
            series.push((outcome, self.registry.http(self.worker, &set.http_labels(outcome))));
            series.len() - 1
        });
        let series = &series[at].1;
        series.requests.add(1);
        let millis = info.millis_to(info.finished_at).unwrap_or(0);
        series.duration.observe(millis);
        series.request_bytes.observe(info.bytes_received);
        series.response_bytes.observe(info.bytes_sent);
    }

    /// The counts of gRPC messages of a request; its endpoint must be known.
    pub fn messages(&self, stats: &IstioStats, info: &StreamInfo) -> Arc<MessageSeries> {
        let set = self.set(stats, info);
        let series = set
            .messages
            .get_or_init(|| self.registry.messages(self.worker, &set.labels));
        series.clone()
    }

    /// The counts of a connection of bytes.
    pub fn connection(&self, stats: &IstioStats, info: &StreamInfo) -> Arc<TcpSeries> {
        let set = self.set(stats, info);
        let mut series = set.tcp.borrow_mut();
        if let Some((_, known)) = series.iter().find(|(flags, _)| *flags == info.flags) {
            return known.clone();
        }
        let made = self.registry.tcp(self.worker, &set.tcp_labels(info.flags));
        series.push((info.flags, made.clone()));
        made
    }

    fn set(&self, stats: &IstioStats, info: &StreamInfo) -> Rc<Set> {
        let facts = self.facts(stats, info);
        let key = facts.key();
        let mut sets = self.sets.borrow_mut();
        if let Some(entry) = sets.get(&key) {
            return entry.set.clone();
        }
        make_room(&mut sets);
        let set = Rc::new(facts.set(&self.registry.local));
        let entry = Entry {
            set: set.clone(),
            _cluster: facts.cluster.cloned(),
            _peer: facts.peer.cloned(),
            _identity: facts.identity.cloned(),
            _host: facts.host,
        };
        sets.insert(key, entry);
        set
    }

    fn facts<'a>(&self, stats: &IstioStats, info: &'a StreamInfo) -> Facts<'a> {
        let connection: &ConnectionInfo = &info.connection;
        let (reporter, peer, identity) = match connection.direction {
            Direction::Inbound => (
                Reporter::Destination,
                info.client_workload.as_ref(),
                &connection.identity,
            ),
            Direction::Outbound | Direction::Unspecified => (
                Reporter::Source,
                info.upstream_workload.as_ref(),
                &info.upstream_identity,
            ),
        };
        let cluster = info.upstream_cluster.as_ref();
        let named = cluster.is_some_and(|cluster| !cluster.services.is_empty());
        let request = info.request.as_ref();
        Facts {
            reporter,
            protocol: match request {
                Some(request) if request.grpc => Protocol::Grpc,
                Some(_) => Protocol::Http,
                None => Protocol::Tcp,
            },
            catch_all: CatchAll::of_route(info.route_name.as_deref()),
            cluster,
            peer,
            identity: identity.as_ref(),
            host: request
                .filter(|_| stats.host_fallback && !named)
                .and_then(|request| self.host(&request.authority)),
        }
    }

    /// The one text of a host; `None` where it is too long or not text.
    fn host(&self, host: &HeaderValue) -> Option<Rc<str>> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(known) = hosts.get(host) {
            return Some(known.clone());
        }
        let text: Rc<str> = host.to_str().ok().filter(|text| text.len() <= HOST_BYTES_MAX)?.into();
        make_room(&mut hosts);
        hosts.insert(host.clone(), text.clone());
        Some(text)
    }
}

fn make_room<K, V>(map: &mut Map<K, V>) {
    if map.len() >= ENTRIES_MAX {
        map.clear();
    }
}

// === impl Facts ===

impl Facts<'_> {
    fn key(&self) -> Key {
        Key {
            reporter: self.reporter,
            protocol: self.protocol,
            catch_all: self.catch_all,
            cluster: self.cluster.map_or(0, |shared| Arc::as_ptr(shared).addr()),
            peer: self.peer.map_or(0, |shared| Arc::as_ptr(shared).addr()),
            identity: self.identity.map_or(0, |shared| Rc::as_ptr(shared).addr()),
            host: self.host.as_ref().map_or(0, |shared| Rc::as_ptr(shared).addr()),
        }
    }

    fn set(&self, local: &WorkloadRef) -> Set {
        let parties = Parties {
            reporter: self.reporter,
            local,
            peer: self.peer.map(|peer| &**peer),
            local_san: self.identity.and_then(|identity| identity.local.as_deref()),
            peer_san: self.identity.and_then(|identity| identity.peer.as_deref()),
            service: Service::of(
                self.cluster.map(|cluster| &**cluster),
                self.catch_all,
                self.host.as_deref(),
            ),
        };
        Set {
            labels: parties.labels(),
            protocol: self.protocol,
            security_policy: parties.security_policy(),
            http: RefCell::default(),
            tcp: RefCell::default(),
            messages: OnceCell::new(),
        }
    }
}

// === impl Set ===

impl Set {
    /// All twenty-five labels.
    fn http_labels(&self, outcome: Outcome) -> String {
        let mut labels = self.labels.clone();
        label(
            &mut labels,
            "request_protocol",
            if self.protocol == Protocol::Grpc {
                "grpc"
            } else {
                "http"
            },
        );
        label(&mut labels, "response_code", &outcome.code.to_string());
        let status = outcome.grpc_status.map(|status| status.to_string()).unwrap_or_default();
        label(&mut labels, "grpc_response_status", &status);
        self.common_labels(&mut labels, outcome.flags);
        labels
    }

    /// The twenty-three labels of connections.
    fn tcp_labels(&self, flags: ResponseFlags) -> String {
        let mut labels = self.labels.clone();
        label(&mut labels, "request_protocol", "tcp");
        self.common_labels(&mut labels, flags);
        labels
    }

    fn common_labels(&self, labels: &mut String, flags: ResponseFlags) {
        label(labels, "response_flags", &flags.to_string());
        label(labels, "connection_security_policy", self.security_policy);
    }
}
