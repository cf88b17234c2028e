//! Many proxies on real streams: everybody gets everything once, an endpoint that changes is sent alone, and an edited rule too.
//!
//! `WEFT_SCALE=1000x1000` (proxies x services) runs it at a size worth measuring, and prints times.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; measurements are printed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use weft_base::shutdown::Shutdown;
use weft_pilot::app::Pilot;
use weft_pilot::config::{Cli, Verb};
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3::Node;
use weft_proto::xds::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

/// Ends a test that would hang.
const LIMIT: Duration = Duration::from_secs(300);

/// Streams of one connection, below what the server allows.
const STREAMS: usize = 90;

/// What all clients have received.
#[derive(Debug, Default)]
struct Received {
    /// Resources by type.
    counts: BTreeMap<String, usize>,
    /// Clients that have their routes and all endpoints.
    complete: usize,
}

/// Shared by the clients.
#[derive(Clone, Debug)]
struct Tally {
    received: Arc<Mutex<Received>>,
    changed: Arc<watch::Sender<u64>>,
}

// === impl Tally ===

impl Tally {
    fn add(&self, change: impl FnOnce(&mut Received)) {
        change(&mut self.received.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits until it fits, and gives the time that it took.
    async fn until(&self, what: &str, fits: impl Fn(&Received) -> bool) -> Duration {
        let begun = Instant::now();
        let mut changes = self.changed.subscribe();
        let waited = tokio::time::timeout(LIMIT, changes.wait_for(|_| fits(&self.received.lock()))).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.received.lock());
        begun.elapsed()
    }

    fn reset(&self) {
        self.received.lock().counts.clear();
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        self.received.lock().counts.clone()
    }
}

fn services(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\nspec:\n  selector: {{app: s{i}}}\n  \
             ports: [{{name: http, port: 80}}]\n"
        );
    }
    text
}

fn workloads(proxies: usize, services: usize, first_ready: bool) -> String {
    let mut text = String::new();
    for i in 0..proxies {
        let ready = i != 0 || first_ready;
        let app = i % services;
        let (outbound, port) = (20_000 + i, 30_000 + i);
        let _ = write!(
            text,
            "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\nmetadata: {{name: p{i}, labels: {{app: s{app}}}}}\nspec:\n  \
             ready: {ready}\n  outboundPort: {outbound}\n  ports: [{{name: http, appPort: {port}, meshPort: {outbound}}}]\n"
        );
    }
    text
}

fn rule(weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s0}}\nspec:\n  hosts: [s0]\n  \
         http:\n  - timeout: {weight}s\n    route: [{{destination: {{host: s1}}}}]\n"
    )
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// One proxy: subscribes as the mesh's own does, and accepts everything.
async fn client(channel: Channel, id: usize, services: usize, tally: Tally) {
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let (requests, receiver) = mpsc::channel(64);
    let first = |type_url: &str, node: Option<Node>| DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        node,
        ..DeltaDiscoveryRequest::default()
    };
    let node = Node {
        id: format!("sidecar~127.0.0.1~p{id}.default~default.svc.cluster.local"),
        user_agent_name: "weft-proxy".to_owned(),
        ..Node::default()
    };
    requests
        .send(first(Kind::Cluster.type_url(), Some(node)))
        .await
        .unwrap();
    requests.send(first(Kind::Listener.type_url(), None)).await.unwrap();
    let mut routes = first(Kind::Routes.type_url(), None);
    routes.resource_names_subscribe = vec!["http_proxy".to_owned()];
    requests.send(routes).await.unwrap();
    let stream = client
        .delta_aggregated_resources(ReceiverStream::new(receiver))
        .await
        .unwrap();
    let mut responses = stream.into_inner();
    let (mut endpoints, mut has_routes, mut complete) = (BTreeSet::new(), false, false);
    // Ends with the server.
    while let Ok(Some(response)) = responses.message().await {
        let mut ack = first(&response.type_url, None);
        ack.response_nonce = response.nonce;
        let names = response.resources.iter().map(|resource| resource.name.clone());
        if response.type_url == Kind::Cluster.type_url() {
            let mut ask = first(Kind::Endpoints.type_url(), None);
            ask.resource_names_subscribe = names.clone().filter(|name| name.starts_with("outbound|")).collect();
            let _ = requests.send(ask).await;
        } else if response.type_url == Kind::Endpoints.type_url() {
            endpoints.extend(names.clone());
        } else if response.type_url == Kind::Routes.type_url() {
            has_routes = true;
        }
        let _ = requests.send(ack).await;
        let newly = !complete && has_routes && endpoints.len() == services;
        complete |= newly;
        tally.add(|received| {
            *received.counts.entry(response.type_url).or_default() += response.resources.len();
            received.complete += usize::from(newly);
        });
    }
}

fn size() -> (usize, usize, bool) {
    let text = std::env::var("WEFT_SCALE").ok();
    let given = text.and_then(|text| {
        let (proxies, services) = text.split_once('x')?;
        Some((proxies.parse().ok()?, services.parse().ok()?))
    });
    let (proxies, services) = given.unwrap_or((30, 40));
    (proxies, services, given.is_some())
}

/// User and system time of this process, clients included.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proxies_get_what_changed() {
    let (proxies, count, measured) = size();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("services.yaml"), services(count)).unwrap();
    std::fs::write(path("workloads.yaml"), workloads(proxies, count, true)).unwrap();
    std::fs::write(path("rule.yaml"), rule(1)).unwrap();
    let shutdown = Shutdown::new();
    let folder = dir.path().display().to_string();
    let any = "127.0.0.1:0";
    let arguments = [
        "--config",
        &folder,
        "--xds-listen",
        any,
        "--xds-tls-listen",
        any,
        "--monitoring-listen",
        any,
    ];
    let cli = Cli::parse_from(["weft-pilot", "serve"].into_iter().chain(arguments));
    let Verb::Serve(config) = cli.verb;
    let pilot = Pilot::start(&config, None, &shutdown).await.unwrap();
    let mut snapshots = pilot.snapshots.clone();
    snapshots.wait_for(|snapshot| snapshot.generation > 0).await.unwrap();

    let tally = Tally {
        received: Arc::default(),
        changed: Arc::new(watch::Sender::new(0)),
    };
    let report = |what: &str, took: Duration, before: Duration| {
        if measured {
            let spent = cpu().saturating_sub(before);
            println!("{proxies} proxies, {count} services: {what} took {took:?}, {spent:?} CPU with the clients");
        }
    };
    let before = cpu();
    let mut channel = None;
    for id in 0..proxies {
        if id % STREAMS == 0 {
            channel = Some(
                Endpoint::from_shared(format!("http://{}", pilot.xds.unwrap()))
                    .unwrap()
                    .connect()
                    .await
                    .unwrap(),
            );
        }
        shutdown.spawn(client(channel.clone().unwrap(), id, count, tally.clone()));
    }
    let took = tally
        .until("everything for everybody", |received| received.complete == proxies)
        .await;
    report("the first configuration", took, before);

    // One workload is no longer ready: one assignment for each, nothing else.
    tally.reset();
    let before = cpu();
    replace(&path("workloads.yaml"), &workloads(proxies, count, false));
    let sent = |kind: &'static str| move |received: &Received| received.counts.get(kind) == Some(&proxies);
    let took = tally.until("an endpoint", sent(Kind::Endpoints.type_url())).await;
    report("an endpoint", took, before);
    assert_eq!(
        tally.counts(),
        BTreeMap::from([(Kind::Endpoints.type_url().to_owned(), proxies)])
    );

    // An edited rule: one route configuration for each, nothing else.
    tally.reset();
    let before = cpu();
    replace(&path("rule.yaml"), &rule(2));
    let took = tally.until("a rule", sent(Kind::Routes.type_url())).await;
    report("a rule", took, before);
    assert_eq!(
        tally.counts(),
        BTreeMap::from([(Kind::Routes.type_url().to_owned(), proxies)])
    );
    shutdown.start();
    shutdown.drain(Duration::from_secs(10)).await;
}
