//! Statuses: written by the leader alone, into the object as it is, whatever becomes of single requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use weft_base::shutdown::{Drained, Shutdown};
use weft_mesh::snapshot::MeshSettings;
use weft_pilot::source::kube::KubeSource;
use weft_pilot::status;
use weft_pilot::store::{Debounce, Store};

use crate::server::{Fault, RULES, Rule, SERVICES, Server};

/// Longer than the pause before what failed is tried again.
const SOON: Duration = Duration::from_secs(12);

/// A replica of the discovery server that is told whether it leads.
struct Replica {
    shutdown: Shutdown,
    leads: watch::Sender<bool>,
}

impl Replica {
    fn start(server: &Server, name: &'static str) -> Self {
        let shutdown = Shutdown::new();
        let (store, events, snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        let source = KubeSource::new(server.client("reader"), "istio-system");
        let (leads, leading) = watch::channel(false);
        let writing = status::run(server.client(name), source.served(), snapshots.clone(), leading);
        let stop = shutdown.token();
        shutdown.spawn(async move {
            stop.run_until_cancelled(writing).await;
        });
        shutdown.spawn(source.run(events, snapshots, shutdown.clone()));
        shutdown.spawn(store.run(shutdown.clone()));
        Self { shutdown, leads }
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
