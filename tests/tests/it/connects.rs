//! Connections to upstreams that take longer than the requests that ask for them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::bootstrap::{bootstrap, http_listener, http2_cluster};
use crate::support::client::{Http1, RawRequest};
use crate::support::{ports, weft};

const LIMIT: Duration = Duration::from_secs(20);

/// One route over HTTP/2 and TLS, whose requests may take a fifth of a second.
fn slow(listen: SocketAddr, upstream: SocketAddr) -> String {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "slow", "timeout": "0.2s"}}]);
    let mut slow = http2_cluster("slow", upstream);
    slow["connect_timeout"] = "60s".into();
    slow["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {}}});
    bootstrap(&[http_listener("front", listen, &routes)], &[slow])
}

/// A connect goes on when the request that asked for it is over, and serves those that come after: where every request takes its connect
/// along, an upstream that is slower than the requests once is never reached again.
#[tokio::test]
async fn a_connect_outlives_the_request_that_asked_for_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let upstream = TcpListener::bind("127.0.0.1:0").await?;
    let listen = ports::free()?;
    let file = dir.path().join("bootstrap.json");
    std::fs::write(&file, slow(listen, upstream.local_addr()?))?;
    let mut proxy = weft::start(&file, dir.path())?;
    let answers = || async { Http1::connect(listen).await.is_ok() };
    proxy.wait_until("its listener", LIMIT, answers).await?;
    let mut client = Http1::connect(listen).await?;
    let request = RawRequest {
        bytes: b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        then: &[],
        pause: Duration::ZERO,
        until: "",
        limit: LIMIT,
    };
    for _ in 0..3 {
        client.send(request.bytes).await?;
        let answer = client.receive(request).await?.response.context("no answer")?;
        ensure!(answer.status() == 504, "the request got {}", answer.start);
    }
    let mut open = Vec::new();
    while let Ok(accepted) = tokio::time::timeout(Duration::from_millis(100), upstream.accept()).await {
        open.push(accepted?);
    }
    ensure!(open.len() == 1, "three requests made {} connects", open.len());
    proxy.stop(LIMIT).await
}
