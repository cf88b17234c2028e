//! The source: lost watches, relists, restarts, kinds that come later.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use weft_base::shutdown::{Drained, Shutdown};
use weft_mesh::snapshot::{MeshSettings, MeshSnapshot};
use weft_pilot::source::kube::KubeSource;
use weft_pilot::store::{Debounce, Store};

use crate::server::{RULES, SERVICES, Server};

/// Only ends a test that would hang; the longest wait is for the next look at discovery.
const DEADLINE: Duration = Duration::from_secs(60);

/// A source with the store that it feeds.
pub(crate) struct Live {
    shutdown: Shutdown,
    pub(crate) snapshots: watch::Receiver<Arc<MeshSnapshot>>,
}

impl Live {
    async fn start(server: &Server) -> Self {
        let config = kube::Config::new(format!("http://{}", server.listen().await).parse().unwrap());
        Self::of(kube::Client::try_from(config).unwrap())
    }

    pub(crate) fn of(client: kube::Client) -> Self {
        let shutdown = Shutdown::new();
        let (store, events, snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        let source = KubeSource::new(client, "istio-system");
        shutdown.spawn(source.run(events, snapshots.clone(), shutdown.clone()));
        shutdown.spawn(store.run(shutdown.clone()));
        Self { shutdown, snapshots }
    }

    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&MeshSnapshot) -> bool) -> Arc<MeshSnapshot> {
        let mut snapshots = self.snapshots.clone();
        let wait = snapshots.wait_for(|snapshot| snapshot.generation > 0 && fits(snapshot));
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(found) => Arc::clone(&found.unwrap()),
            Err(_) => panic!("{what} did not happen"),
        }
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.shutdown.drain(DEADLINE).await, Drained::Complete);
    }
}

fn service(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
}

fn rule(name: &str, timeout: &str) -> serde_json::Value {
    let route = json!([{"route": [{"destination": {"host": "a"}}], "timeout": timeout}]);
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"hosts": ["a"], "http": route}})
}

fn has_service(snapshot: &MeshSnapshot, name: &str) -> bool {
    snapshot.services.iter().any(|service| *service.name == *name)
}

#[tokio::test]
async fn a_restart_of_the_server_takes_nothing_away_and_converges() {
    let server = Server::new();
    server.put(SERVICES, service("a"));
    server.put(SERVICES, service("b"));
    server.put(RULES, rule("r", "1s"));
    let live = Live::start(&server).await;
    let first = live.until("the first list", |_| true).await;
    assert!(has_service(&first, "a") && has_service(&first, "b"));
    assert_eq!(first.inputs.virtual_services.len(), 1);

    // Live changes; what only metadata say is none.
    server.put(SERVICES, service("x"));
    let before = live.until("a new service", |snapshot| has_service(snapshot, "x")).await;
    let mut touched = service("x");
    touched["metadata"]["annotations"] = json!({"team": "y"});
    server.put(SERVICES, touched);
    server.put(SERVICES, service("y"));
    let after = live
        .until("another service", |snapshot| has_service(snapshot, "y"))
        .await;
    assert_eq!(after.generation, before.generation + 1);

    // The server goes away and comes back without custom kinds for a moment; what happened meanwhile is compacted away.
    server.down();
    server.delete(SERVICES, "b");
    server.put(SERVICES, service("c"));
    server.put(RULES, rule("r", "9s"));
    server.compact();
    server.up_but_not_ready();
    server.probed(2).await;
    let meanwhile = live.snapshots.borrow().clone();
    assert_eq!(meanwhile.inputs.virtual_services.len(), 1);
    assert!(has_service(&meanwhile, "a"));
    server.ready();
    let timeout = |snapshot: &MeshSnapshot| format!("{:?}", snapshot.inputs.virtual_services);
    let settled = live.until("the relist", |snapshot| {
        has_service(snapshot, "c") && !has_service(snapshot, "b") && timeout(snapshot).contains("9s")
    });
    let settled = settled.await;

    // The same as a fresh start.
    let fresh = Live::start(&server).await;
    let new = fresh.until("the first list", |_| true).await;
    assert_eq!(settled.inputs.services, new.inputs.services);
    assert_eq!(settled.inputs.virtual_services, new.inputs.virtual_services);
    assert_eq!(settled.services, new.services);
    assert_eq!(settled.virtual_services, new.virtual_services);
    fresh.stop().await;
    live.stop().await;
}

#[tokio::test]
async fn a_kind_that_is_installed_later_is_picked_up() {
    let server = Server::new();
    server.put(SERVICES, service("a"));
    let live = Live::start(&server).await;
    let first = live.until("the first list", |_| true).await;
    assert!(first.inputs.destination_rules.is_empty());
    server.install("v1beta1", "destinationrules.networking.istio.io");
    let object = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {"host": "a"}});
    server.put("destinationrules.networking.istio.io", object);
    live.until("the new kind", |snapshot| snapshot.inputs.destination_rules.len() == 1)
        .await;
    live.stop().await;
}
