//! What is refused of a listener: security changes all the same, and nothing opens.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use weft_proto::ads::Kind;

use super::super::config_store::Applied;
use super::tests::{bad_action, give, hosts, route, shape, store};
use crate::model::http::RouteSource;
use crate::model::listener::{ChainAction, Listener};

const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A listener of one chain, with what its connection manager and the chain say beside.
fn listener(manager: Value, chain: Value, more: Value) -> Value {
    let extend = |mut value: Value, more: Value| {
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let manager = extend(
        json!({"@type": HCM, "stat_prefix": "s", "route_config": hosts(&[("*", vec![route("/", "a")], json!({}))]),
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}),
        manager,
    );
    let chain = extend(
        json!({"name": "c", "filters": [{"name": "http", "typed_config": manager}]}),
        chain,
    );
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 9999}});
    extend(json!({"name": "l", "address": address, "filter_chains": [chain]}), more)
}

/// TLS that clients need a certificate for.
fn strict() -> Value {
    let sds = |name: &str| json!({"name": name, "sds_config": {"ads": {}}});
    json!({"transport_socket": {"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds("default")], "validation_context_sds_secret_config": sds("ROOTCA")}}}})
}

/// The listener after these versions of it; the last is refused at these places.
#[track_caller]
fn listener_after(given: &[Value], refused: &[&str]) -> Option<Arc<Listener>> {
    let mut store = store();
    let mut last = Applied::default();
    for value in given {
        last = give(&mut store, Kind::Listener, value);
    }
    let reasons: Vec<&String> = last.rejected.iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons.len(), refused.len(), "{reasons:?}");
    for (reason, place) in reasons.iter().zip(refused) {
        assert!(reason.starts_with(place), "{reason} should begin with {place}");
    }
    store.resources(Instant::now()).listeners.get("l").cloned()
}

/// Where the first chain leads requests for `/`, whether it wants client certificates, and how many logs it writes.
fn told(listener: &Listener) -> (String, bool, usize) {
    let chain = &listener.chains[0];
    let strict = chain.tls.as_ref().is_some_and(|tls| tls.require_client_certificate);
    match &chain.action {
        ChainAction::Http(manager) => {
            let RouteSource::Inline(routes) = &manager.routes else {
                panic!("routes are in the listener");
            };
            (
                shape(&routes.virtual_hosts[0]).join(","),
                strict,
                manager.access_logs.len(),
            )
        }
        ChainAction::Refused(_) => ("closed".to_owned(), strict, 0),
        ChainAction::Tcp(_) => panic!("no bytes are forwarded"),
    }
}

#[tokio::test]
async fn security_never_waits_for_what_else_is_refused() {
    #[track_caller]
    fn check(given: &[Value], expected: (&str, bool, usize), refused: &[&str]) {
        let listener = listener_after(given, refused).expect("the listener is in use");
        let (to, strict, logs) = told(&listener);
        assert_eq!((to.as_str(), strict, logs), expected);
    }
    let nothing = || json!({});
    let open = listener(nothing(), nothing(), nothing());
    let log = |format: &str| {
        json!({"name": "log", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": format}}}})
    };
    let manager = "filter_chains[0].filters[0].typed_config";
    let closed = hosts(&[("*", vec![route("/", "blocked")], json!({}))]);

    // Logs and spans are left out.
    let logs = json!({"access_log": [log("%UPSTREAM_HOST_NAME_X%\n"), log("%PROTOCOL%\n")], "route_config": closed});
    let place = format!("{manager}.access_log[0]");
    let logged = listener(logs, strict(), nothing());
    check(std::slice::from_ref(&logged), ("/ blocked", true, 1), &[&place]);
    check(&[open.clone(), logged], ("/ blocked", true, 1), &[&place]);
    let own_log = json!({"access_log": [log("%NO%")]});
    check(
        &[listener(nothing(), strict(), own_log)],
        ("/ a", true, 0),
        &["access_log[0]"],
    );
    let tracing = json!({"tracing": {"verbose": true}, "route_config": closed});
    let traced = listener(tracing, strict(), nothing());
    check(
        &[traced],
        ("/ blocked", true, 0),
        &[&format!("{manager}.tracing.verbose")],
    );

    // What else a connection manager says stays as it was, but TLS and routes change; without a version before it is closed.
    let setting = listener(
        json!({"append_x_forwarded_port": true, "route_config": closed}),
        strict(),
        nothing(),
    );
    let place = format!("{manager}.append_x_forwarded_port");
    check(&[open.clone(), setting.clone()], ("/ blocked", true, 0), &[&place]);
    check(&[setting], ("closed", true, 0), &[&place]);
    let both = hosts(&[("*", vec![bad_action("/"), route("/b", "b")], json!({}))]);
    let both = listener(
        json!({"append_x_forwarded_port": true, "route_config": both}),
        strict(),
        nothing(),
    );
    let places = [
        format!("{manager}.route_config.virtual_hosts[0].routes[0].route"),
        place,
    ];
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    check(&[open.clone(), both], ("/ a,/b b", true, 0), &places);

    // TLS itself: the chain stays as it was, other chains change.
    let mut tls = strict();
    tls["transport_socket"]["typed_config"]["ocsp_staple_policy"] = "MUST_STAPLE".into();
    let tls = listener(json!({"route_config": closed}), tls, nothing());
    let place = "filter_chains[0].transport_socket.typed_config.ocsp_staple_policy";
    check(&[open.clone(), tls.clone()], ("/ a", false, 0), &[place]);
    check(&[tls], ("closed", false, 0), &[place]);

    // The listener as a whole stays as it was.
    let whole = listener(json!({"route_config": closed}), strict(), json!({"freebind": true}));
    check(&[open, whole.clone()], ("/ a", false, 0), &["freebind"]);
    assert!(listener_after(&[whole], &["freebind"]).is_none());
}

#[tokio::test]
async fn a_captured_listener_that_is_refused_is_closed() {
    let captured = json!({"bind_to_port": false, "freebind": true, "traffic_direction": "OUTBOUND"});
    let listener = listener_after(&[listener(json!({}), json!({}), captured)], &["freebind"]).unwrap();
    assert_eq!(listener.addresses, ["127.0.0.1:9999".parse().unwrap()]);
    let only = listener.default_chain.as_ref().unwrap();
    assert!(listener.chains.is_empty() && matches!(only.action, ChainAction::Refused(_)));
}
