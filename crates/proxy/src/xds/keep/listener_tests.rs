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

    // TLS itself: what was before may be less than what is asked for now.
    let mut tls = strict();
    tls["transport_socket"]["typed_config"]["ocsp_staple_policy"] = "MUST_STAPLE".into();
    let tls = listener(json!({"route_config": closed}), tls, nothing());
    let place = "filter_chains[0].transport_socket.typed_config.ocsp_staple_policy";
    check(&[open.clone(), tls.clone()], ("closed", false, 0), &[place]);
    check(&[open.clone(), tls.clone(), open.clone()], ("/ a", false, 0), &[]);
    check(&[tls], ("closed", false, 0), &[place]);

    // What a chain says beside: it goes on with the new TLS and routes.
    let mut chain = strict();
    chain["metadata"] = json!({"filter_metadata": {"x": {}}});
    chain["transport_socket_connect_timeout"] = "-1s".into();
    let chain = listener(json!({"route_config": closed}), chain, nothing());
    let place = "filter_chains[0].transport_socket_connect_timeout";
    check(&[open.clone(), chain], ("/ blocked", true, 0), &[place]);

    // What the listener says beside its chains stays as it was.
    for (more, place) in [
        (json!({"freebind": true}), "freebind"),
        (json!({"address": {"pipe": {"path": "/x"}}}), "address"),
        (
            json!({"listener_filters": [{"name": "f", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}),
            "listener_filters[0].typed_config",
        ),
    ] {
        let whole = listener(json!({"route_config": closed}), strict(), more);
        check(&[open.clone(), whole.clone()], ("/ blocked", true, 0), &[place]);
        check(
            &[open.clone(), whole.clone(), whole.clone()],
            ("/ blocked", true, 0),
            &[place],
        );
        assert!(listener_after(&[whole], &[place]).is_none());
    }
}

/// A listener of several chains, each with its match.
fn chains(matches: &[Value]) -> Value {
    let mut all = listener(json!({}), json!({}), json!({}));
    let chain = all["filter_chains"][0].clone();
    let with = |matches: &Value| {
        let mut chain = chain.clone();
        chain.as_object_mut().unwrap().remove("name");
        chain["filter_chain_match"] = matches.clone();
        chain
    };
    all["filter_chains"] = matches.iter().map(with).collect();
    all
}

#[tokio::test]
async fn what_a_chain_with_a_refused_match_may_be_for_is_closed() {
    #[track_caller]
    fn check(matches: &[Value], chains_left: usize, closed_to: &[&[&str]], place: &str) {
        let open = chains(&[json!({})]);
        let used = listener_after(&[open, chains(matches)], &[place]).unwrap();
        assert_eq!(used.chains.len(), chains_left);
        let closed = used.refused.matches.iter();
        let names: Vec<Vec<&str>> = closed
            .map(|matches| matches.server_names.iter().map(|name| &**name).collect())
            .collect();
        assert_eq!(names, closed_to);
    }
    let named = |names: &[&str]| json!({"server_names": names});
    let place = "filter_chains[1].filter_chain_match.server_names[1]";
    let bad = named(&["a.b", "x*.b.c"]);
    check(&[json!({}), bad], 1, &[&["a.b", "*.b.c"]], place);
    check(&[json!({}), named(&["a.b", "x*"])], 1, &[&[]], place);
    let unknown = json!({"server_names": ["a.b"], "address_suffix": "1.2.3.4"});
    check(
        &[json!({}), unknown],
        1,
        &[&["a.b"]],
        "filter_chains[1].filter_chain_match.address_suffix",
    );
    // Nobody knows which of two is meant.
    let both = [named(&["a.b", "c.d"]), json!({}), named(&["c.d"])];
    check(&both, 1, &[&["c.d"], &["a.b", "c.d"]], "filter_chains");
}

#[tokio::test]
async fn a_policy_that_is_refused_closes_its_chain() {
    let policy = |name: &str, kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.{kind}");
        json!({"name": name, "typed_config": {"@type": kind}})
    };
    let open = listener(json!({}), json!({}), json!({}));
    let router = json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    for (kind, expected) in [("http.basic_auth.v3.BasicAuth", "closed"), ("http.lua.v3.Lua", "/ a")] {
        let filters = json!({"http_filters": [policy("f", kind), router]});
        let used = listener_after(
            &[open.clone(), listener(filters, json!({}), json!({}))],
            &["filter_chains[0].filters[0].typed_config.http_filters[0].typed_config"],
        );
        assert_eq!(told(&used.unwrap()).0, expected, "{kind}");
    }
    let mut network = listener(json!({}), json!({}), json!({}));
    let own = network["filter_chains"][0]["filters"][0].clone();
    network["filter_chains"][0]["filters"] = json!([policy("f", "network.rbac.v3.RBAC"), own]);
    let used = listener_after(&[open, network], &["filter_chains[0].filters[0].typed_config"]);
    assert_eq!(told(&used.unwrap()).0, "closed");
}

#[tokio::test]
async fn a_captured_listener_that_is_refused_is_closed() {
    let captured = json!({"bind_to_port": false, "freebind": true, "traffic_direction": "OUTBOUND"});
    let listener = listener_after(&[listener(json!({}), json!({}), captured)], &["freebind"]).unwrap();
    assert_eq!(listener.addresses, ["127.0.0.1:9999".parse().unwrap()]);
    let only = listener.default_chain.as_ref().unwrap();
    assert!(listener.chains.is_empty() && matches!(only.action, ChainAction::Refused(_)));
}
