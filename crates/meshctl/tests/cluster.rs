//! meshctl against the mesh of a cluster: which mesh it takes, and what comes through the API server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod installation;

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};
use std::time::Duration;

use api::{Api, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROXY: &str = "istio-proxy";

/// Two pilots with a proxy each, a collector, a workload.
fn world() -> World {
    let mut world = World::default();
    for (pilot, proxy) in [("weft-pilot-a", "caller-x.prod"), ("weft-pilot-b", "callme-y.prod")] {
        world.pod(
            "weft-system",
            pilot,
            json!({"istio": "pilot", "app": "weft-pilot"}),
            &["discovery"],
        );
        world.page(pilot, 15014, "/version", "0.1.0\n");
        let states = json!([{"proxy": proxy, "cluster_id": "Kubernetes", "istio_version": "0.1.0",
            "cluster_sent": "n2", "cluster_acked": "n2"}]);
        world.page(pilot, 15014, "/debug/syncz", states);
    }
    world.pod(
        "weft-system",
        "weft-telemetry-c",
        json!({"app": "weft-telemetry"}),
        &["telemetry"],
    );
    let edges = json!({"edges": [{"source": {"workload": "caller", "namespace": "prod"},
        "destination": {"workload": "callme", "namespace": "prod"}, "requests": 7}]});
    world.page("weft-telemetry-c", 20001, "/api/graph", edges);
    world.page("weft-telemetry-c", 20001, "/", "the page");
    world.pod("prod", "caller-x", json!({}), &["app", PROXY]);
    world.pod("prod", "bare", json!({}), &["app"]);
    world.pod("other", "callme-y", json!({}), &[PROXY]);
    world.page("caller-x", 15000, "/config_dump", include_str!("data/config_dump.json"));
    world.object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "weft-pilot", "namespace": "weft-system", "labels": {"istio": "pilot",
            "app.kubernetes.io/part-of": "weft", "app.kubernetes.io/managed-by": "meshctl", "app.kubernetes.io/version": "0.1.0"}},
        "spec": {"replicas": 2}, "status": {"availableReplicas": 2},
    }));
    world
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a verb: its exit code, and a piece that stdout or stderr has.
async fn check(api: &Api, words: &[&str], code: i32, part: &str) -> Output {
    let output = api.run(words).await;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let all = format!("{}{err}", out(&output));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {all}");
    assert!(all.contains(part), "{words:?}: {all}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_read_the_mesh_of_a_cluster() {
    let api = Api::start(world()).await;
    let status = check(
        &api,
        &["proxy-status", "-o", "json"],
        0,
        "no mesh runs on this machine; asking the cluster",
    )
    .await;
    let states: Value = serde_json::from_slice(&status.stdout).unwrap();
    let found: Vec<_> = states
        .as_array()
        .unwrap()
        .iter()
        .map(|state| (&state["name"], &state["istiod"]))
        .collect();
    let expected = [
        (&json!("caller-x.prod"), &json!("weft-pilot-a")),
        (&json!("callme-y.prod"), &json!("weft-pilot-b")),
    ];
    assert_eq!(found, expected, "every pilot is asked");

    check(&api, &["status"], 0, "weft-pilot    2/2      0.1.0").await;
    check(&api, &["status", "-k", "-o", "json"], 0, "\"connected\": 2").await;
    check(&api, &["version"], 0, "pilot: 0.1.0\nproxies: 0.1.0 (2)").await;
    check(&api, &["graph"], 0, "caller.prod    callme.prod").await;
    // The namespace is that of the kubeconfig's context, of the name or of the flag.
    let short = check(&api, &["pc", "cluster", "caller-x", "-o", "short"], 0, "SERVICE FQDN").await;
    let long = check(
        &api,
        &["pc", "cluster", "caller-x.prod"],
        0,
        "callme.default.svc.cluster.local",
    )
    .await;
    assert_eq!(out(&short), out(&long));
    check(
        &api,
        &["pc", "route", "caller-x", "-n", "prod", "-o", "yaml"],
        0,
        "virtual_hosts",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_is_explained() {
    let api = Api::start(world()).await;
    check(
        &api,
        &["pc", "route", "callme-y"],
        1,
        "no pod or workload callme-y with a proxy in namespace prod",
    )
    .await;
    check(
        &api,
        &["pc", "route", "bare"],
        1,
        "no pod or workload bare with a proxy",
    )
    .await;
    check(
        &api,
        &["pc", "route", "callme-y.other"],
        1,
        "connection refused to 15000",
    )
    .await;
    check(&api, &["pc", "endpoint", "caller-x"], 1, "404 Not Found no such page").await;
    check(
        &api,
        &["graph", "-i", "elsewhere"],
        1,
        "no telemetry runs in namespace elsewhere",
    )
    .await;
    check(&api, &["status", "-i", "elsewhere"], 1, "meshctl install").await;
    check(&api, &["status", "demo", "--kubernetes"], 64, "leave out one of them").await;
    check(&api, &["graph", "--context", "none"], 1, "none").await;
    // A mesh of this machine is not looked for where a cluster is asked for, and the other way round.
    check(&api, &["status", "demo"], 1, "meshctl up -f mesh.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_api_server() {
    let api = Api::start(world()).await;
    let control = check(&api, &["logs", "--tail", "5"], 0, "").await;
    let text = out(&control);
    let expected =
        "weft-pilot-a/discovery | weft-pilot-a container=discovery tailLines=5\nweft-pilot-a/discovery | last line\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
    let one = check(&api, &["logs", "caller-x", "-f"], 0, "").await;
    assert_eq!(out(&one), "caller-x container=istio-proxy follow=true\nlast line\n");
    check(&api, &["logs", "bare", "-c", "web"], 1, "no container web; it has app").await;
    check(&api, &["logs", "nobody"], 1, "there is no pod or workload nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_carries_connections_into_the_cluster() {
    let api = Api::start(world()).await;
    let mut command = api.command(&["dashboard", "--port", "0", "--no-browser"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let url = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    });
    let url = url.await.unwrap();
    let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .unwrap()
            .unwrap();
        assert!(answer.ends_with("the page"), "{answer}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
