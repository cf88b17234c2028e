//! What protects and what closes: taken as it is now, or closed, whatever else is refused.

use serde_json::{Value, json};
use tokio::time::Instant;
use weft_proto::ads::Kind;

use super::super::config_store::Applied;
use super::tests::{bad_match, check_routes, cluster, give, hosts, route, store};
use crate::model::route::RequireTls;

#[tokio::test]
async fn what_would_close_does_not_wait_for_what_is_refused() {
    let closing = |path: &str, more: Value| {
        let mut route = json!({"match": {"prefix": path}, "direct_response": {"status": 403}});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let good = hosts(&[("h", vec![route("/a", "a"), route("/", "rest")], json!({}))]);
    // Its own answer is refused: no answer of before stands in.
    let answer = closing("/a", json!({"response_headers_to_remove": ["not a name"]}));
    let answer = hosts(&[("h", vec![answer, route("/", "rest")], json!({}))]);
    let expected: (&str, &[&str]) = ("h", &["/a refused", "/ rest"]);
    check_routes(
        &[good.clone(), answer],
        &[expected],
        &["virtual_hosts[0].routes[0].response_headers_to_remove"],
    );
    let mut matches = bad_match()["match"].clone();
    matches["prefix"] = "/a".into();
    let matching = hosts(&[(
        "h",
        vec![closing("/", json!({"match": matches})), route("/", "rest")],
        json!({}),
    )]);
    check_routes(
        &[good.clone(), matching],
        &[expected],
        &["virtual_hosts[0].routes[0].match.headers[0]"],
    );

    // TLS is required of a virtual host at once, whatever else of it is refused, and where it cannot be read.
    for (more, expected) in [
        (json!({"require_tls": "ALL", "hedge_policy": {}}), RequireTls::All),
        (
            json!({"require_tls": "EXTERNAL_ONLY", "hedge_policy": {}}),
            RequireTls::ExternalOnly,
        ),
        (json!({"require_tls": 7}), RequireTls::All),
    ] {
        let mut store = store();
        give(&mut store, Kind::Routes, &good);
        give(&mut store, Kind::Routes, &hosts(&[("h", vec![route("/", "b")], more)]));
        let used = store.resources(Instant::now()).routes["80"].clone();
        assert_eq!(used.virtual_hosts[0].require_tls, expected);
    }
}

/// The cluster `c` after these versions of it: whether it speaks TLS and its limit of connections.
#[track_caller]
fn cluster_after(given: &[Value], refused: usize) -> Option<(bool, u32)> {
    let mut store = store();
    let mut last = Applied::default();
    for value in given {
        last = give(&mut store, Kind::Cluster, value);
    }
    assert_eq!(last.rejected.len(), refused, "{:?}", last.rejected);
    let resources = store.resources(Instant::now());
    let cluster = resources.clusters.get("c")?;
    Some((cluster.transport.default.is_some(), cluster.limits.connections_max))
}

#[tokio::test]
async fn what_protects_a_cluster_does_not_wait_for_what_is_refused() {
    let with = |more: Value| {
        let mut cluster = cluster("c", true);
        cluster
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        cluster
    };
    let tls = |common: Value| {
        json!({"name": "tls", "typed_config": {"common_tls_context": common,
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}})
    };
    let limits = json!({"thresholds": [{"max_connections": 7}]});
    let plain = with(json!({"circuit_breakers": limits}));
    let secured = with(json!({"lb_policy": "MAGLEV", "transport_socket": tls(json!({}))}));
    assert_eq!(cluster_after(&[plain.clone(), secured.clone()], 1), Some((true, 7)));
    assert_eq!(cluster_after(std::slice::from_ref(&secured), 1), None);
    // TLS itself is refused: nothing is sent in plaintext in the meantime.
    let broken =
        with(json!({"transport_socket": tls(json!({"tls_params": {"tls_maximum_protocol_version": "TLSv1_1"}}))}));
    let unknown = with(json!({"transport_socket": tls(json!({"tls_params": {"cipher_suites": ["x"]}}))}));
    for refused in [broken, unknown] {
        assert_eq!(cluster_after(&[plain.clone(), refused.clone()], 1), None);
        assert_eq!(
            cluster_after(&[plain.clone(), refused, plain.clone()], 0),
            Some((false, 7))
        );
    }
}
