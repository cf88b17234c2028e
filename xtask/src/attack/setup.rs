//! The listeners that attacks are sent to; both proxies have the same ones.

use std::path::Path;

use serde_json::{Value, json};

use super::certificates;
use crate::wire::rig::{self, Places};

/// Names of listeners, in the order of their ports.
pub(super) const LISTENERS: [&str; 17] = [
    "plain",
    "upgrades",
    "retries",
    "old",
    "hosts",
    "edge",
    "mutual",
    "deny-none",
    "deny-base",
    "deny-merge",
    "deny-decode",
    "deny-reject",
    "allow-none",
    "allow-base",
    "allow-merge",
    "allow-decode",
    "allow-reject",
];

/// Which one a name is.
pub(super) fn index(name: &str) -> Option<usize> {
    LISTENERS.iter().position(|listener| *listener == name)
}

/// Listeners and clusters of every lane: rows of different lanes run at the same time and share nothing but the process.
pub(super) fn config(places: &Places, certificates: &Path) -> (Vec<Value>, Vec<Value>) {
    let mut listeners = Vec::new();
    for (number, address) in places.listeners.iter().enumerate() {
        let (lane, name) = (number / LISTENERS.len(), LISTENERS[number % LISTENERS.len()]);
        let cluster = format!("a{lane}");
        let mut listener = rig::http_listener(&format!("{name}-{lane}"), *address, &manager(name, &cluster));
        if name == "mutual" {
            listener["filter_chains"][0]["transport_socket"] = certificates::transport_socket(certificates);
        }
        listeners.push(listener);
    }
    let clusters = places.upstreams.iter().enumerate();
    let clusters = clusters.map(|(lane, upstream)| rig::cluster(&format!("a{lane}"), *upstream, &json!({})));
    (listeners, clusters.collect())
}

fn manager(name: &str, cluster: &str) -> Value {
    let all = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
    let refused = json!({"status": 403});
    let hosts = |routes: Value| json!([{"name": "all", "domains": ["*"], "routes": routes}]);
    let (hosts, mut fields) = match name {
        "upgrades" => {
            let connect = json!({"match": {"connect_matcher": {}}, "route": {"cluster": cluster}});
            let fields = json!({
                "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
                "http2_protocol_options": {"allow_connect": true},
            });
            (hosts(json!([connect, all])), fields)
        }
        "retries" => {
            // All attempts are over when the attack's next part comes: how many there are is no matter of chance.
            let pause = json!({"base_interval": "0.001s", "max_interval": "0.001s"});
            let on = "5xx,reset,gateway-error,connect-failure";
            let policy = json!({"retry_on": on, "num_retries": 2, "retry_back_off": pause});
            let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "retry_policy": policy}});
            (hosts(json!([route])), json!({}))
        }
        "old" => {
            let options = json!({"accept_http_10": true, "default_host_for_http_10": "e"});
            (hosts(json!([all])), json!({"http_protocol_options": options}))
        }
        "hosts" => {
            let secret = json!({"name": "secret", "domains": ["secret.test", "secret.test:80"], "routes": [
                {"match": {"prefix": "/own"}, "route": {"cluster": cluster}},
                {"match": {"prefix": "/"}, "direct_response": refused},
            ]});
            (
                json!([secret, {"name": "all", "domains": ["*"], "routes": [all]}]),
                json!({}),
            )
        }
        "edge" => (hosts(json!([all])), json!({"use_remote_address": true})),
        "mutual" => {
            let details = json!({"uri": true, "subject": true});
            let fields =
                json!({"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": details});
            (hosts(json!([all])), fields)
        }
        _ => match name.split_once('-') {
            Some((policy, mode)) => (hosts(policy_routes(policy, cluster)), path_mode(mode)),
            None => (hosts(json!([all])), json!({})),
        },
    };
    // Silence is a row's own; the deadlines of a proxy at an edge are far beyond it.
    rig::merge(
        &mut fields,
        &json!({"route_config": {"name": name, "virtual_hosts": hosts}}),
    );
    fields
}

/// What is refused, by its path or by a header; the second client's way is open.
fn policy_routes(policy: &str, cluster: &str) -> Value {
    let refused = json!({"status": 403});
    let to = json!({"cluster": cluster});
    let role = json!([{"name": "x-role", "string_match": {"contains": "bad"}}]);
    if policy == "deny" {
        json!([
            {"match": {"prefix": "/admin"}, "direct_response": refused},
            {"match": {"prefix": "/", "headers": role}, "direct_response": refused},
            {"match": {"prefix": "/"}, "route": to},
        ])
    } else {
        json!([
            {"match": {"prefix": "/public"}, "route": to},
            {"match": {"prefix": "/own"}, "route": to},
            {"match": {"prefix": "/"}, "direct_response": refused},
        ])
    }
}

/// What Istio's `pathNormalization` makes of a listener.
fn path_mode(mode: &str) -> Value {
    match mode {
        "none" => json!({}),
        "base" => json!({"normalize_path": true}),
        "merge" => json!({"normalize_path": true, "merge_slashes": true}),
        "decode" => {
            json!({"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"})
        }
        _ => {
            json!({"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "REJECT_REQUEST"})
        }
    }
}
