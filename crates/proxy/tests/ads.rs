//! The proxy under a scripted discovery server, over real sockets, in both variants of the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use weft_base::shutdown::Shutdown;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use weft_proxy::app;
use weft_proxy::bootstrap;
use weft_proxy::config::Run;
use weft_proxy::dataplane::Proxy;
use weft_proxy::xds::client::Client;

use self::server::{Script, Server};

#[path = "ads/server.rs"]
mod server;

const LISTENER: &str = "envoy.config.listener.v3.Listener";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

fn listener(name: &str, routes: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "rds": {"config_source": {"ads": {}}, "route_config_name": routes},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        }}]}],
    })
}

fn routes(body: &str) -> serde_json::Value {
    serde_json::json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
        {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": body}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
    ]}]})
}

fn script(backend: SocketAddr, body: &str) -> Script {
    let endpoint = serde_json::json!({"endpoint": {"address": {"socket_address": {
        "address": backend.ip().to_string(), "port_value": backend.port()}}}});
    vec![
        (
            CLUSTER,
            "c",
            serde_json::json!({"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}),
        ),
        (
            ENDPOINTS,
            "c",
            serde_json::json!({"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}),
        ),
        (LISTENER, "good", listener("good", "r")),
        (ROUTES, "r", routes(body)),
    ]
}

/// Answers every connection's first request with its name, of seven letters, and closes.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\n{name}");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    addr
}

async fn get(addr: SocketAddr, path: &str) -> String {
    ask(TcpStream::connect(addr).await.unwrap(), path).await
}

async fn ask(mut socket: TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = socket.read_to_string(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    read.unwrap_or_else(|_| panic!("no answer for {path}")).unwrap();
    answer
}

/// Polls until `probe` gives a value; a test that waits in vain fails with what it waits for.
async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), polling).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A proxy that follows a scripted server.
struct Running {
    shutdown: Shutdown,
    proxy: Arc<Proxy>,
    publish: watch::Sender<(u64, Script)>,
    rejected: mpsc::Receiver<String>,
}

impl Running {
    async fn start(api_type: &str, script: Script) -> Self {
        let shutdown = Shutdown::new();
        let (publish, script_watch) = watch::channel((1, script));
        let (rejections, rejected) = mpsc::channel(64);
        let ads_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ads = ads_listener.local_addr().unwrap();
        let server = AggregatedDiscoveryServiceServer::new(Server {
            script: script_watch,
            rejections,
        });
        let incoming = TcpListenerStream::new(ads_listener);
        shutdown.spawn(
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(incoming),
        );

        let text = serde_json::json!({
            "node": {"id": "test", "cluster": "test"},
            "dynamic_resources": {"lds_config": {"ads": {}}, "cds_config": {"ads": {}}, "ads_config": {
                "api_type": api_type, "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]}},
            "static_resources": {"clusters": [{"name": "ads", "http2_protocol_options": {}, "load_assignment": {
                "cluster_name": "ads", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                    "address": ads.ip().to_string(), "port_value": ads.port()}}}}]}]}}]},
        });
        let loaded = bootstrap::parse("test.json".as_ref(), &text.to_string(), false).unwrap();
        let options = Run {
            config: "test.json".into(),
            tolerate_unsupported: false,
            concurrency: Some(1),
            drain_time: Duration::from_secs(1),
            minimum_drain_time: Duration::ZERO,
        };
        let (proxy, store) = app::start(&loaded, &options, shutdown.clone()).unwrap();
        let ads = loaded.bootstrap.ads.clone().unwrap();
        let store = Arc::new(parking_lot::Mutex::new(store));
        let client = Client::new(ads, &loaded.bootstrap, Arc::downgrade(&proxy), store);
        // Not ready from here on, though nothing was asked yet: a pod's application waits for it.
        assert_eq!(proxy.readiness().pending(), ["clusters", "listeners"]);
        let following = client.follow();
        let stop = shutdown.token();
        shutdown.spawn(async move { stop.run_until_cancelled(following).await });
        Self {
            shutdown,
            proxy,
            publish,
            rejected,
        }
    }

    async fn address(&self, listener: &str) -> SocketAddr {
        eventually(listener, async || {
            self.proxy.addresses().get(listener).map(|bound| bound[0])
        })
        .await
    }

    async fn stop(self) {
        self.shutdown.start();
        self.shutdown.drain(Duration::from_secs(5)).await;
        let proxy = eventually("the client to let go", async || {
            (Arc::strong_count(&self.proxy) == 1).then_some(())
        });
        proxy.await;
    }
}

async fn check(api_type: &str) {
    let backend = backend("backend").await;
    let mut running = Running::start(api_type, script(backend, "first")).await;
    let addr = running.address("good").await;
    assert!(get(addr, "/direct").await.ends_with("first"));
    assert!(get(addr, "/").await.ends_with("backend"));

    // A listener that the proxy does not carry is refused by name; the good one and a new route go on.
    let mut next = script(backend, "second");
    let mut bad = listener("bad", "r");
    bad["freebind"] = serde_json::json!(true);
    next.push((LISTENER, "bad", bad));
    running.publish.send_replace((2, next));
    let reason = running.rejected.recv().await.unwrap();
    assert!(reason.contains("bad: freebind: is not supported"), "{reason}");
    eventually("the new route", async || {
        get(addr, "/direct").await.ends_with("second").then_some(())
    })
    .await;

    // So are routes: what they would take is closed, and no route after them takes it.
    let mut next = script(backend, "third");
    let routes = next.iter_mut().find(|(kind, ..)| *kind == ROUTES).unwrap();
    let refused =
        serde_json::json!({"match": {"prefix": "/new"}, "route": {"cluster": "c", "internal_redirect_policy": {}}});
    let list = routes.2["virtual_hosts"][0]["routes"].as_array_mut().unwrap();
    list.insert(0, refused);
    list.insert(
        1,
        serde_json::json!({"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 204}}),
    );
    running.publish.send_replace((3, next));
    let reason = eventually("the refusal", async || {
        let reason = running.rejected.recv().await.unwrap();
        reason.contains("routes[0]").then_some(reason)
    })
    .await;
    assert!(
        reason.contains("virtual_hosts[0].routes[1].match.safe_regex"),
        "{reason}"
    );
    let answer = get(addr, "/new/x").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // Where it is not known which requests are meant, all are routed as before.
    assert!(get(addr, "/direct").await.ends_with("second"));
    assert!(get(addr, "/").await.ends_with("backend"));
    let addresses = running.proxy.addresses();
    assert_eq!(addresses.keys().map(|name| &**name).collect::<Vec<_>>(), ["good"]);
    assert_eq!(addresses["good"], [addr], "the socket was kept");
    running.stop().await;
}

/// The socket to which a pod's connections would be redirected; what it knows no listener for passes.
fn capture() -> serde_json::Value {
    serde_json::json!({
        "name": "capture",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "use_original_dst": true,
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "pass", "cluster": "pass"}}]}],
    })
}

/// A control plane that takes its time: a thousand clusters, then listeners, then endpoints, and one by one the routes of the listeners.
async fn check_start(api_type: &str) {
    let backend = backend("backend").await;
    let endpoint = serde_json::json!({"endpoint": {"address": {"socket_address": {
        "address": backend.ip().to_string(), "port_value": backend.port()}}}});
    let name = |index: usize| -> &'static str { format!("s{index}").leak() };
    let mut script = Script::new();
    let pass = serde_json::json!({"cluster_name": "pass", "endpoints": [{"lb_endpoints": [endpoint]}]});
    script.push((
        CLUSTER,
        "pass",
        serde_json::json!({"name": "pass", "load_assignment": pass}),
    ));
    for index in 0..1000 {
        let cluster =
            serde_json::json!({"name": name(index), "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}});
        script.push((CLUSTER, name(index), cluster));
    }
    let running = Running::start(api_type, script.clone()).await;
    let ready = || running.proxy.readiness().is_ready();
    let step = async |version: u64, script: &Script| {
        let before = running.proxy.runtime().load().generation;
        running.publish.send_replace((version, script.clone()));
        eventually("the step", async || {
            (running.proxy.runtime().load().generation > before).then_some(())
        })
        .await;
        assert!(
            !ready() && !running.proxy.addresses().contains_key("capture"),
            "step {version}"
        );
    };
    script.push((LISTENER, "capture", capture()));
    for index in 0..4 {
        script.push((LISTENER, name(index), listener(name(index), name(index))));
    }
    step(2, &script).await;
    let endpoints = |index: usize| {
        let value = serde_json::json!({"cluster_name": name(index), "endpoints": [{"lb_endpoints": [endpoint]}]});
        (ENDPOINTS, name(index), value)
    };
    script.extend((0..500).map(endpoints));
    step(3, &script).await;
    script.extend((500..1000).map(endpoints));
    step(4, &script).await;
    for index in 0..4 {
        let mut routes = routes("routed");
        routes["name"] = name(index).into();
        script.push((ROUTES, name(index), routes));
        if index < 3 {
            step(5 + index as u64, &script).await;
        }
    }
    running.publish.send_replace((8, script));
    let addr = running.address("capture").await;
    eventually("readiness", async || ready().then_some(())).await;
    assert!(get(addr, "/").await.ends_with("backend"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_before_all_is_live() {
    check_start("DELTA_GRPC").await;
    check_start("GRPC").await;
}

/// A listener that reads the first bytes before it forwards them.
fn inspected() -> serde_json::Value {
    serde_json::json!({
        "name": "bytes",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
        "listener_filters_timeout": "0s",
        "filter_chains": [{"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "bytes", "cluster": "c"}}]}],
    })
}

/// Clients open connections ahead of their requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_waited_gets_the_newest_configuration() {
    let of = |backend, body| {
        let mut script = script(backend, body);
        script.push((LISTENER, "bytes", inspected()));
        script
    };
    let (before, after) = (backend("earlier").await, backend("updated").await);
    let running = Running::start("DELTA_GRPC", of(before, "first")).await;
    let (http, bytes) = (running.address("good").await, running.address("bytes").await);
    let early = [
        TcpStream::connect(http).await.unwrap(),
        TcpStream::connect(bytes).await.unwrap(),
    ];
    // One thread takes connections in order, so it has those by now.
    assert!(get(http, "/direct").await.ends_with("first"));
    assert!(get(bytes, "/").await.ends_with("earlier"));

    let mut next = of(after, "second");
    let cluster = next.iter_mut().find(|(kind, ..)| *kind == CLUSTER).unwrap();
    cluster.2["connect_timeout"] = "1s".into();
    running.publish.send_replace((2, next));
    eventually("the change", async || {
        let both = get(http, "/direct").await.ends_with("second") && get(bytes, "/").await.ends_with("updated");
        both.then_some(())
    })
    .await;
    let [http, bytes] = early;
    let answer = ask(http, "/direct").await;
    assert!(answer.ends_with("second"), "{answer}");
    let answer = ask(bytes, "/").await;
    assert!(answer.ends_with("updated"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_configures_and_rejects() {
    check("DELTA_GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_the_world_configures_and_rejects() {
    check("GRPC").await;
}
