//! What is refused costs only itself: resources of the store, good and bad ones mixed.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_base::shutdown::Shutdown;
use weft_proto::ads::Kind;
use weft_proto::descriptors;
use weft_proto::xds::google::protobuf::Any;

use super::super::config_store::{Applied, ConfigStore, Resource};
use crate::model::bootstrap::Bootstrap;
use crate::model::route::{PathMatch, RouteAction, RouteConfig, Target, VirtualHost};
use crate::secrets::SecretStore;

pub(super) fn resource(kind: Kind, value: &Value) -> Resource {
    let type_name = kind.type_url().rsplit('/').next().unwrap();
    let descriptor = descriptors::pool().get_message_by_name(type_name).unwrap();
    let message = prost_reflect::DynamicMessage::deserialize(descriptor, value).unwrap();
    Resource {
        name: value["name"].as_str().unwrap_or_default().into(),
        version: "1".to_owned(),
        body: Any {
            type_url: kind.type_url().to_owned(),
            value: prost::Message::encode_to_vec(&message),
        },
    }
}

pub(super) fn store() -> ConfigStore {
    ConfigStore::new(&Bootstrap::default(), SecretStore::new(&Shutdown::new()), false)
}

/// Gives the store one resource and returns what it says of it.
pub(super) fn give(store: &mut ConfigStore, kind: Kind, value: &Value) -> Applied {
    store.update(kind, &[resource(kind, value)], &[], false)
}

pub(super) fn route(path: &str, cluster: &str) -> Value {
    json!({"match": {"prefix": path}, "route": {"cluster": cluster}})
}

/// A route whose action is not carried.
pub(super) fn bad_action(path: &str) -> Value {
    json!({"match": {"prefix": path}, "route": {"cluster": "bad", "internal_redirect_policy": {}}})
}

/// A route that takes nobody knows which requests below `/x`.
pub(super) fn bad_match() -> Value {
    json!({"match": {"prefix": "/x", "headers": [{"name": "h", "string_match": {"safe_regex": {"regex": "("}}}]},
        "route": {"cluster": "bad"}})
}

pub(super) fn hosts(hosts: &[(&str, Vec<Value>, Value)]) -> Value {
    let host = |(name, routes, more): &(&str, Vec<Value>, Value)| {
        let mut host = json!({"name": name, "domains": [name], "routes": routes});
        host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host
    };
    json!({"name": "80", "virtual_hosts": hosts.iter().map(host).collect::<Vec<_>>()})
}

/// Every route as its path and where it leads.
pub(super) fn shape(host: &VirtualHost) -> Vec<String> {
    let routes = host.routes.iter().map(|route| {
        let PathMatch::Prefix { path, .. } = &route.matches.path else {
            panic!("{route:?} is for a prefix");
        };
        let to = match &route.action {
            RouteAction::Forward(forward) => {
                let Target::Cluster(name) = &forward.target else {
                    panic!("{route:?} leads to one cluster");
                };
                name
            }
            RouteAction::Refused(_) => "refused",
            RouteAction::Redirect(_) | RouteAction::Direct(_) => panic!("{route:?} leads to a cluster"),
        };
        format!("{path} {to}")
    });
    routes.collect()
}

fn shapes(config: &RouteConfig) -> Vec<(String, Vec<String>)> {
    let hosts = config.virtual_hosts.iter();
    hosts.map(|host| (host.name.to_string(), shape(host))).collect()
}

/// Gives route configurations one after the other; the last leads to these routes of a host, and is refused at these places.
#[track_caller]
pub(super) fn check_routes(given: &[Value], expected: &[(&str, &[&str])], refused: &[&str]) {
    let mut store = store();
    let mut last = Applied::default();
    for value in given {
        last = give(&mut store, Kind::Routes, value);
    }
    let resources = store.resources(Instant::now());
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(host, routes)| ((*host).to_owned(), routes.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(shapes(&resources.routes["80"]), expected);
    let reasons: Vec<&String> = last.rejected.iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons.len(), refused.len(), "{reasons:?}");
    for (reason, place) in reasons.iter().zip(refused) {
        assert!(reason.starts_with(place), "{reason} should begin with {place}");
    }
    assert_eq!(store.failures(Kind::Routes).len(), usize::from(!refused.is_empty()));
}

#[tokio::test]
async fn a_refused_route_closes_what_it_would_take() {
    let none = || json!({});
    let good = hosts(&[(
        "h",
        vec![route("/a", "a"), route("/x", "x"), route("/", "rest")],
        none(),
    )]);
    // Its action is refused: what was done with the same requests goes on, and new ones are closed.
    let action = hosts(&[
        (
            "h",
            vec![bad_action("/a"), bad_action("/new"), route("/", "rest2")],
            none(),
        ),
        ("other", vec![route("/", "o")], none()),
    ]);
    let at_action = ["virtual_hosts[0].routes[0].route", "virtual_hosts[0].routes[1].route"];
    check_routes(
        &[good.clone(), action.clone()],
        &[("h", &["/a a", "/new refused", "/ rest2"]), ("other", &["/ o"])],
        &at_action,
    );
    check_routes(
        std::slice::from_ref(&action),
        &[("h", &["/a refused", "/new refused", "/ rest2"]), ("other", &["/ o"])],
        &at_action,
    );
    // It goes on over several refused versions, without growing.
    check_routes(
        &[good.clone(), action.clone(), action.clone(), action],
        &[("h", &["/a a", "/new refused", "/ rest2"]), ("other", &["/ o"])],
        &at_action,
    );

    // Its match is refused: what it might take goes as before, else it is closed.
    let matching = hosts(&[(
        "h",
        vec![route("/first", "f"), bad_match(), route("/", "rest2")],
        none(),
    )]);
    let at_match = ["virtual_hosts[0].routes[1].match.headers[0]"];
    let as_before: (&str, &[&str]) = ("h", &["/first f", "/x refused", "/ rest2", "/a a", "/x x", "/ rest"]);
    check_routes(
        std::slice::from_ref(&matching),
        &[("h", &["/first f", "/x refused", "/ rest2"])],
        &at_match,
    );
    check_routes(&[good.clone(), matching.clone()], &[as_before], &at_match);
    check_routes(
        &[good.clone(), matching.clone(), matching.clone()],
        &[as_before],
        &at_match,
    );
    check_routes(
        &[good.clone(), matching, good],
        &[("h", &["/a a", "/x x", "/ rest"])],
        &[],
    );
}

#[tokio::test]
async fn a_refused_virtual_host_never_leaves_its_requests_to_another() {
    let none = || json!({});
    let setting = || json!({"request_headers_to_remove": ["not a name"]});
    let good = hosts(&[(
        "h",
        vec![route("/", "a")],
        json!({"include_request_attempt_count": true}),
    )]);
    let refused = hosts(&[
        ("h", vec![route("/", "b")], setting()),
        ("*", vec![route("/", "any")], none()),
    ]);
    let place = ["virtual_hosts[0].request_headers_to_remove"];
    check_routes(
        std::slice::from_ref(&refused),
        &[("h", &[" refused"]), ("*", &["/ any"])],
        &place,
    );
    check_routes(
        &[good.clone(), refused.clone()],
        &[("h", &["/ b"]), ("*", &["/ any"])],
        &place,
    );
    // Its domains stay its own.
    let mut store = store();
    give(&mut store, Kind::Routes, &good);
    give(&mut store, Kind::Routes, &refused);
    let used = store.resources(Instant::now()).routes["80"].clone();
    let kept = &used.virtual_hosts[0];
    assert!(
        kept.include_request_attempt_count && kept.domains == [Arc::from("h")],
        "{kept:?}"
    );

    let fields = hosts(&[("h", vec![route("/", "b")], json!({"hedge_policy": {}, "cors": {}}))]);
    check_routes(
        &[fields],
        &[("h", &[" refused"])],
        &["virtual_hosts[0].cors", "virtual_hosts[0].hedge_policy"],
    );
    let twice = json!({"domains": ["*", "own", "a*b"]});
    let twice = hosts(&[
        ("*", vec![route("/", "any")], none()),
        ("h", vec![route("/", "b")], twice),
    ]);
    let places = ["virtual_hosts[1].domains[0]", "virtual_hosts[1].domains[2]"];
    check_routes(&[twice], &[("*", &["/ any"]), ("h", &["/ b"])], &places);

    // What a configuration says of all hosts is kept, or all of it is closed.
    let mut whole = hosts(&[("h", vec![route("/", "b")], none())]);
    whole["internal_only_headers"] = json!(["not a name"]);
    check_routes(
        std::slice::from_ref(&whole),
        &[("", &[" refused"])],
        &["internal_only_headers"],
    );
    let place = ["internal_only_headers"];
    check_routes(&[good.clone(), whole.clone()], &[("h", &["/ b"])], &place);
    check_routes(&[whole.clone(), whole.clone()], &[("", &[" refused"])], &place);
    check_routes(&[good, whole.clone(), whole], &[("h", &["/ b"])], &place);
}

pub(super) fn cluster(name: &str, good: bool) -> Value {
    let mut cluster = json!({"name": name, "load_assignment": {"cluster_name": name}});
    if !good {
        cluster["lb_policy"] = "MAGLEV".into();
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of any clusters the good ones are live and the bad ones are named, whether or not the answer is the whole state.
    #[test]
    fn good_clusters_are_live_and_bad_ones_named(goods in prop::collection::vec(any::<bool>(), 0..12), whole in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut store = store();
        let named = |index: usize| format!("c{index}");
        let all = goods.iter().enumerate();
        let given: Vec<Resource> = all.clone().map(|(index, good)| {
            let given = resource(Kind::Cluster, &cluster(&named(index), *good));
            // The state of the world has names only inside.
            Resource { name: if whole { "".into() } else { given.name }, ..given }
        }).collect();
        let applied = store.update(Kind::Cluster, &given, &[], whole);
        let of = |wanted: bool| all.clone().filter(move |(_, good)| **good == wanted).map(|(index, _)| named(index)).collect::<Vec<_>>();
        let mut live: Vec<String> = store.resources(Instant::now()).clusters.keys().map(ToString::to_string).collect();
        let (mut good, bad) = (of(true), of(false));
        live.sort();
        good.sort();
        prop_assert_eq!(live, good);
        let rejected: Vec<String> = applied.rejected.iter().map(|(name, _)| name.to_string()).collect();
        prop_assert_eq!(rejected, bad);
    }

    /// Of any routes the good ones are in their places, the bad ones are closed and named.
    #[test]
    fn good_routes_are_live_and_bad_ones_named(
        given in prop::collection::vec((prop::collection::vec(0..4_u8, 1..6), any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut places = Vec::new();
        let mut expected = Vec::new();
        let mut hosts_given = Vec::new();
        for (host, (routes, good)) in given.iter().enumerate() {
            let mut shapes = Vec::new();
            let mut list = Vec::new();
            for (index, kind) in routes.iter().enumerate() {
                let path = format!("/{index}");
                let (value, shape, place) = match kind {
                    0 | 1 => (route(&path, "good"), format!("{path} good"), None),
                    2 => (bad_action(&path), format!("{path} refused"), Some("route")),
                    _ => (bad_match(), "/x refused".to_owned(), Some("match")),
                };
                list.push(value);
                shapes.push(shape);
                places.extend(place.map(|place| format!("virtual_hosts[{host}].routes[{index}].{place}")));
            }
            let mut value = json!({"name": format!("h{host}"), "domains": [format!("h{host}")], "routes": list});
            if !good {
                value["hedge_policy"] = json!({});
                shapes = vec![" refused".to_owned()];
                places.push(format!("virtual_hosts[{host}].hedge_policy"));
            }
            hosts_given.push(value);
            expected.push((format!("h{host}"), shapes));
        }
        let mut store = store();
        let applied = give(&mut store, Kind::Routes, &json!({"name": "80", "virtual_hosts": hosts_given}));
        prop_assert_eq!(shapes(&store.resources(Instant::now()).routes["80"]), expected);
        prop_assert_eq!(applied.rejected.len(), places.len(), "{:?}", applied.rejected);
        for ((_, reason), place) in applied.rejected.iter().zip(&places) {
            prop_assert!(reason.starts_with(place.as_str()), "{} should begin with {}", reason, place);
        }
    }
}
