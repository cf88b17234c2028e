//! Statuses: written by the leader alone, into the object as it is, whatever becomes of single requests.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::transport::Endpoint;
use weft_base::shutdown::{Drained, Shutdown};
use weft_mesh::snapshot::{MeshSettings, MeshSnapshot};
use weft_mesh::view::ProxySettings;
use weft_pilot::metrics::Metrics;
use weft_pilot::source::kube::KubeSource;
use weft_pilot::status;
use weft_pilot::store::{Debounce, Store};
use weft_pilot::xds::connections::Connections;
use weft_pilot::xds::server::DiscoveryServer;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::route::v3::RouteConfiguration;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use weft_proto::xds::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::xds::google::rpc;

use crate::server::{Fault, RULES, Rule, SERVICES, Server};

/// Longer than the pause before what failed is tried again.
const SOON: Duration = Duration::from_secs(12);

/// A replica of the discovery server that is told whether it leads.
struct Replica {
    shutdown: Shutdown,
    leads: watch::Sender<bool>,
    connections: Connections,
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
}

impl Replica {
    fn start(server: &Server, name: &'static str) -> Self {
        let shutdown = Shutdown::new();
        let (store, events, snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        let source = KubeSource::new(server.client("reader"), "istio-system");
        let (leads, leading) = watch::channel(false);
        let connections = Connections::default();
        let writing = status::run(
            server.client(name),
            source.served(),
            snapshots.clone(),
            connections.clone(),
            leading,
        );
        let stop = shutdown.token();
        shutdown.spawn(async move {
            stop.run_until_cancelled(writing).await;
        });
        shutdown.spawn(source.run(events, snapshots.clone(), shutdown.clone()));
        shutdown.spawn(store.run(shutdown.clone()));
        Self {
            shutdown,
            leads,
            connections,
            snapshots,
        }
    }

    fn lead(&self, leads: bool) {
        self.leads.send_replace(leads);
    }

    async fn stop(self) {
        assert_eq!(self.shutdown.drain(SOON).await, Drained::Complete);
    }
}

fn rule(name: &str, generation: i64, hosts: &Value) -> Value {
    let http = json!([{"route": [{"destination": {"host": "a"}}]}]);
    json!({
        "metadata": {"name": name, "namespace": "default", "generation": generation},
        "spec": {"hosts": hosts, "http": http},
    })
}

/// A server with the service to which the rules send.
fn server() -> Server {
    let server = Server::new();
    let ports = json!({"ports": [{"name": "http", "port": 80}]});
    server.put(
        SERVICES,
        json!({"metadata": {"name": "a", "namespace": "default"}, "spec": ports}),
    );
    server
}

/// Waits until the condition of an object says so, for its generation.
async fn until(server: &Server, name: &str, generation: i64, state: &str) -> Value {
    let fits = |object: &Value| {
        let status = &object["status"];
        let conditions = status["conditions"].as_array();
        let ours = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Reconciled"));
        status["observedGeneration"] == generation && ours.is_some_and(|ours| ours["status"] == state)
    };
    let wait = server.until(RULES, name, fits);
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| {
            panic!(
                "{name} is not {state} in generation {generation}: {:?}",
                server.writes()
            )
        })
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes_and_each_term_starts_anew() {
    let server = server();
    server.put(RULES, rule("good", 1, &json!(["a"])));
    server.put(RULES, rule("broken", 1, &json!(7)));
    let (a, b) = (Replica::start(&server, "a"), Replica::start(&server, "b"));
    tokio::time::sleep(SOON).await;
    assert!(server.writes().is_empty(), "nobody leads, nobody writes");

    a.lead(true);
    until(&server, "good", 1, "True").await;
    let broken = until(&server, "broken", 1, "False").await;
    assert!(
        broken["status"]["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .contains("hosts"),
        "{broken}"
    );
    let count = server.writes().len();
    tokio::time::sleep(SOON * 5).await;
    assert_eq!(server.writes().len(), count, "what is said is not said again");

    // Somebody takes it away while nobody looks; the next leader says it again, the last one nothing.
    a.lead(false);
    server.put(RULES, rule("good", 1, &json!(["a"])));
    b.lead(true);
    until(&server, "good", 1, "True").await;
    server.put(RULES, rule("good", 2, &json!(["a", "b.example"])));
    until(&server, "good", 2, "True").await;
    let late = server.writes().split_off(count);
    assert!(late.iter().all(|write| write.client == "b"), "{late:?}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_and_holds_no_other_object_up() {
    let faults = [
        ("GET", Fault::Refuse(500)),
        ("GET", Fault::Hang),
        ("PATCH", Fault::Refuse(500)),
        ("PATCH", Fault::Refuse(409)),
        ("PATCH", Fault::Hang),
        ("PATCH", Fault::LoseAnswer),
    ];
    for (method, fault) in faults {
        let server = server();
        for name in ["first", "second"] {
            server.put(RULES, rule(name, 1, &json!([format!("{name}.example")])));
        }
        server.fail(Rule {
            client: "a",
            method,
            path: "/first",
            fault,
            times: 2,
        });
        let replica = Replica::start(&server, "a");
        replica.lead(true);
        until(&server, "second", 1, "True").await;
        until(&server, "first", 1, "True").await;
        replica.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_writes_meanwhile_stays() {
    let server = server();
    server.put(RULES, rule("shared", 1, &json!(["a"])));
    server.fail(Rule {
        client: "a",
        method: "PATCH",
        path: "/shared",
        fault: Fault::Overtake,
        times: 1,
    });
    let replica = Replica::start(&server, "a");
    replica.lead(true);
    let object = until(&server, "shared", 1, "True").await;
    let types: Vec<&Value> = object["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["type"])
        .collect();
    assert_eq!(types, ["Other", "Reconciled"]);
    let answers: Vec<Option<u16>> = server.writes().iter().map(|write| write.answer).collect();
    assert_eq!(answers, [Some(409), Some(200)]);
    replica.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_leaders_late_write_changes_nothing() {
    let server = server();
    server.put(RULES, rule("late", 1, &json!(["a"])));
    server.fail(Rule {
        client: "a",
        method: "PATCH",
        path: "/late",
        fault: Fault::Overtake,
        times: 1,
    });
    let (a, b) = (Replica::start(&server, "a"), Replica::start(&server, "b"));
    a.lead(true);
    // Its write fails on the version, and its term ends before it tries again.
    server.written(1).await;
    a.lead(false);
    b.lead(true);
    until(&server, "late", 1, "True").await;
    let writers: Vec<(&str, Option<u16>)> = server
        .writes()
        .iter()
        .map(|write| (write.client, write.answer))
        .collect();
    assert_eq!(writers, [("a", Some(409)), ("b", Some(200))]);
    a.stop().await;
    b.stop().await;
}

/// The stream of the proxy of the pod `default/a`, which asks for the routes of port 80.
struct Proxy {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    async fn connect(replica: &Replica) -> Self {
        let settings = ProxySettings {
            access_log_file: String::new(),
            collector: None,
            spans: None,
            sampling_ppm: 0,
        };
        let (connections, shutdown) = (replica.connections.clone(), replica.shutdown.clone());
        let snapshots = replica.snapshots.clone();
        let server = DiscoveryServer::new(snapshots, settings, connections, Metrics::default(), shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let stop = shutdown.token();
        let serving = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(server))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { stop.cancelled().await });
        shutdown.spawn(serving);
        let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await.unwrap());
        let (requests, outgoing) = mpsc::channel(4);
        let node = core::Node {
            id: "sidecar~10.0.0.5~a.default~default.svc.cluster.local".to_owned(),
            user_agent_name: "weft-proxy".to_owned(),
            ..core::Node::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: Kind::Routes.type_url().to_owned(),
            resource_names_subscribe: vec!["80".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(request).await.unwrap();
        let answers = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await;
        Self {
            requests,
            answers: answers.unwrap().into_inner(),
        }
    }

    /// Takes the next answer, or refuses the first route that an object made.
    async fn answer(&mut self, takes: bool) {
        let answer = tokio::time::timeout(SOON, self.answers.next()).await;
        let answer = answer.expect("routes come").unwrap().unwrap();
        let routes = answer.resources[0].resource.as_ref().unwrap();
        let routes = RouteConfiguration::decode(&*routes.value).unwrap();
        let is_made = |metadata: Option<&core::Metadata>| {
            metadata.is_some_and(|metadata| metadata.filter_metadata.contains_key("weft"))
        };
        let mut hosts = routes.virtual_hosts.iter().enumerate();
        let place = hosts.find_map(|(host, virtual_host)| {
            let route = virtual_host
                .routes
                .iter()
                .position(|route| is_made(route.metadata.as_ref()))?;
            Some(format!("80: virtual_hosts[{host}].routes[{route}].match: is too long"))
        });
        let error_detail = (!takes).then(|| rpc::Status {
            message: place.expect("an object made a route"),
            ..rpc::Status::default()
        });
        let request = DeltaDiscoveryRequest {
            type_url: Kind::Routes.type_url().to_owned(),
            response_nonce: answer.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_refuses_is_in_the_status_within_a_second() {
    let server = server();
    server.put(
        "pods",
        json!({
            "metadata": {"name": "a", "namespace": "default", "labels": {"app": "a"}},
            "spec": {"containers": [{"name": "istio-proxy", "args": ["sidecar"]}, {"name": "a"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.5"},
        }),
    );
    // Others that are to be written, too, are not in its way.
    for index in 0..40 {
        server.put(
            RULES,
            rule(&format!("a{index}"), 1, &json!([format!("a{index}.example")])),
        );
    }
    server.put(RULES, rule("web", 1, &json!(["a"])));
    let replica = Replica::start(&server, "a");
    let mut proxy = Proxy::connect(&replica).await;
    replica.lead(true);
    let begun = Instant::now();
    proxy.answer(false).await;
    let refused = until(&server, "web", 1, "False").await;
    let (took, status) = (begun.elapsed(), &refused["status"]);
    let codes: Vec<&Value> = status["validationMessages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["type"]["code"])
        .collect();
    assert_eq!(codes, ["WEFT0027"], "{refused}");
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("refused by a.default") && message.contains("is too long"),
        "{message}"
    );
    println!("a refusal was in the status after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // It is mended, taken and said.
    server.put(RULES, rule("web", 2, &json!(["a", "b.example"])));
    proxy.answer(true).await;
    until(&server, "web", 2, "True").await;
    drop(proxy);
    replica.stop().await;
}
