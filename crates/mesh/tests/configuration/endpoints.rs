//! Which endpoints services have where EndpointSlices, pods and workload entries do not say the same.

use std::sync::Arc;

use weft_api::parse::parse;
use weft_mesh::generate::generate;
use weft_mesh::snapshot::{Change, Health, Inputs, MeshSettings, MeshSnapshot, build};
use weft_mesh::view::{ProxySettings, ProxyView};

use super::snapshot;

const SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\n\
                       spec: {clusterIP: 10.96.0.7, selector: {app: db}, ports: [{name: tcp, port: 80, targetPort: \
                       3306}]}\n";

const FIRST: (&str, &str) = ("db-x", "tcp, port: 3306");

/// A pod of `db` with a proxy; `more` goes into its spec.
fn pod(name: &str, ips: &[&str], more: &str) -> String {
    let ips: Vec<String> = ips.iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: db}}}}\nspec:\n  \
         serviceAccountName: db\n{more}  containers:\n  - {{name: app, image: x}}\n  \
         - {{name: istio-proxy, image: y, args: [sidecar]}}\nstatus:\n  phase: Running\n  podIPs: [{}]\n  \
         conditions: [{{type: Ready, status: \"True\"}}]\n",
        ips.join(", ")
    )
}

/// A slice with a name and a port. Each endpoint: address, pod, conditions.
fn slice((name, port): (&str, &str), endpoints: &[(&str, Option<&str>, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(ip, pod, conditions)| {
            let target = pod.map(|pod| format!(", targetRef: {{kind: Pod, name: {pod}}}"));
            let target = target.unwrap_or_default();
            format!("- {{addresses: [\"{ip}\"], conditions: {{{conditions}}}{target}}}\n")
        })
        .collect();
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: db}}}}\nports: [{{name: {port}}}]\n\
         endpoints:\n{}",
        endpoints.concat()
    )
}

/// A workload entry of `db`; `more` goes into its spec.
fn entry(address: &str, more: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: vm}}\n\
         spec: {{address: {address}, labels: {{app: db, security.istio.io/tlsMode: istio}}, serviceAccount: \
         vm{more}}}\n"
    )
}

/// What is served for port 80, one word each: address and port, who answers, and what is special.
fn served(snapshot: &MeshSnapshot) -> String {
    let all = snapshot.endpoints.iter().flat_map(|(_, found)| found.port(80));
    let words: Vec<String> = all
        .map(|endpoint| {
            let who = endpoint.spiffe_id("t").filter(|_| endpoint.mtls);
            let who = who.map_or_else(|| "plain".to_owned(), |id| id.replace("spiffe://t/ns/default/sa/", ""));
            let drains = if endpoint.health == Health::Draining {
                "/drains"
            } else {
                ""
            };
            format!("{}-{}={who}{drains}", endpoint.address, endpoint.port)
        })
        .collect();
    words.join(" ")
}

#[track_caller]
fn check(objects: &[String], expected: &str) {
    let text = objects.concat();
    assert_eq!(served(&snapshot(&format!("{SERVICE}{text}"))), expected, "{text}");
}

#[test]
fn an_endpoint_without_a_name_is_the_pod_that_has_its_address() {
    let one = pod("a", &["10.0.0.5"], "");
    let nameless = slice(FIRST, &[("10.0.0.5", None, "ready: true")]);
    check(&[one.clone(), nameless.clone()], "10.0.0.5-3306=db");
    // A second address is one as well.
    let dual = pod("a", &["10.0.0.4", "10.0.0.5"], "");
    check(&[dual, nameless.clone()], "10.0.0.5-3306=db");
    // In another namespace it is somebody else.
    let elsewhere = one.replace("name: a,", "name: a, namespace: other,");
    check(&[elsewhere, nameless.clone()], "10.0.0.5-3306=plain");
    // Addresses of nodes, and of several, are nobody's.
    let host = pod("a", &["10.0.0.5"], "  hostNetwork: true\n");
    check(&[host, nameless.clone()], "10.0.0.5-3306=plain");
    let other = pod("b", &["10.0.0.5"], "");
    check(&[one.clone(), other.clone(), nameless.clone()], "10.0.0.5-3306=plain");
    let ended = other.replace("Running", "Succeeded");
    check(&[one, ended, nameless.clone()], "10.0.0.5-3306=db");
    check(&[nameless], "10.0.0.5-3306=plain");
}

#[test]
fn an_endpoint_whose_pod_is_not_known_yet_is_left_out() {
    let named = slice(FIRST, &[("10.0.0.5", Some("a"), "ready: true")]);
    check(std::slice::from_ref(&named), "");
    let other = pod("b", &["10.0.0.5"], "");
    check(&[other, named.clone()], "");
    // The name counts, whatever addresses the pod says that it has.
    check(&[pod("a", &["10.0.0.6"], ""), named], "10.0.0.5-3306=db");
}

#[test]
fn endpoints_follow_when_their_pod_appears_and_goes() {
    let settings = Arc::new(MeshSettings::default());
    for named in [Some("a"), None] {
        let without = if named.is_some() { "" } else { "10.0.0.5-3306=plain" };
        let (one, host) = (
            pod("a", &["10.0.0.5"], ""),
            pod("a", &["10.0.0.5"], "  hostNetwork: true\n"),
        );
        let as_host = if named.is_some() { "10.0.0.5-3306=db" } else { without };
        let slice = slice(FIRST, &[("10.0.0.5", named, "ready: true")]);
        let mut inputs = Inputs::default();
        let mut last: Option<MeshSnapshot> = None;
        let steps = [
            (format!("{SERVICE}{slice}"), without),
            (one.clone(), "10.0.0.5-3306=db"),
            (host, as_host),
            (one, "10.0.0.5-3306=db"),
        ];
        for (generation, (text, expected)) in (1..).zip(steps) {
            for resource in parse("mesh.yaml", &text).resources {
                inputs.apply(&resource);
            }
            let next = build(inputs.clone(), &settings, generation, last.as_ref());
            assert_eq!(served(&next), expected, "{named:?} {generation}");
            assert_eq!(next.change, Change::Config);
            let scratch = build(inputs.clone(), &settings, generation, None);
            assert_eq!(next.backends, scratch.backends);
            assert_eq!(next.endpoints, scratch.endpoints);
            last = Some(next);
        }
        for resource in parse("mesh.yaml", &pod("a", &["10.0.0.5"], "")).resources {
            inputs.remove(&resource.key());
        }
        let gone = build(inputs, &settings, 9, last.as_ref());
        assert_eq!(served(&gone), without, "{named:?}");
    }
}

#[test]
fn workload_entries_stand_beside_the_pods_of_a_service() {
    let one = pod("a", &["10.0.0.5"], "");
    let ready = slice(FIRST, &[("10.0.0.5", Some("a"), "ready: true")]);
    let unready = slice(FIRST, &[("10.0.0.5", Some("a"), "ready: false")]);
    let vm = entry("10.9.0.1", "");
    check(&[one.clone(), ready, vm.clone()], "10.9.0.1-3306=vm 10.0.0.5-3306=db");
    check(&[one.clone(), unready.clone(), vm.clone()], "10.9.0.1-3306=vm");
    check(&[vm.clone(), slice(FIRST, &[])], "10.9.0.1-3306=vm");
    check(&[vm.replace("app: db", "app: other")], "");
    // An address that a slice calls unready as the pod's is the entry's as well.
    check(&[one, unready, entry("10.0.0.5", "")], "10.0.0.5-3306=vm");
    check(&[entry("10.9.0.1", ", ports: {tcp: 9}")], "10.9.0.1-9=vm");
    // EDS does not resolve names.
    check(&[entry("vm.example.com", "")], "");
    let named = |ports: &str| {
        let text = format!("{SERVICE}{}", entry("10.9.0.1", ports)).replace("targetPort: 3306", "targetPort: sql");
        served(&snapshot(&text))
    };
    assert_eq!(named(", ports: {sql: 9}"), "10.9.0.1-9=vm");
    assert_eq!(named(""), "");
}

#[test]
fn what_several_slices_list_is_one_endpoint() {
    let one = pod("a", &["10.0.0.5"], "");
    let other = ("db-y", "tcp, port: 3306");
    let listed = |first: &str, second: &str| {
        [
            one.clone(),
            slice(FIRST, &[("10.0.0.5", Some("a"), first)]),
            slice(other, &[("10.0.0.5", Some("a"), second)]),
        ]
    };
    let (ready, unready) = ("ready: true", "ready: false");
    let drains = "ready: false, serving: true, terminating: true";
    for (first, second, expected) in [
        (ready, ready, "10.0.0.5-3306=db"),
        (ready, unready, "10.0.0.5-3306=db"),
        (unready, ready, "10.0.0.5-3306=db"),
        (drains, ready, "10.0.0.5-3306=db"),
        (drains, unready, "10.0.0.5-3306=db/drains"),
        (unready, drains, "10.0.0.5-3306=db/drains"),
        (unready, unready, ""),
    ] {
        check(&listed(first, second), expected);
    }
    // Of two pods that one address is said to be of, the one that takes requests.
    let plain = pod("b", &["10.0.0.5"], "").replace("istio-proxy", "other");
    let both = |first: &str, second: &str| {
        [
            one.clone(),
            plain.clone(),
            slice(FIRST, &[("10.0.0.5", Some("a"), first)]),
            slice(other, &[("10.0.0.5", Some("b"), second)]),
        ]
    };
    check(&both(unready, ready), "10.0.0.5-3306=plain");
    check(&both(ready, unready), "10.0.0.5-3306=db");
    // A pod that is gone says nothing of the one that has its address now.
    let stale = slice(other, &[("10.0.0.5", Some("gone"), ready)]);
    let fresh = slice(FIRST, &[("10.0.0.5", Some("a"), unready)]);
    check(&[one.clone(), fresh, stale], "");
    // Another port of the same address is another endpoint, with conditions of its own.
    let far = ("db-y", "tcp, port: 3307");
    let ports = |second: &str| {
        [
            one.clone(),
            slice(FIRST, &[("10.0.0.5", Some("a"), ready)]),
            slice(far, &[("10.0.0.5", Some("a"), second)]),
        ]
    };
    check(&ports(ready), "10.0.0.5-3306=db 10.0.0.5-3307=db");
    check(&ports(unready), "10.0.0.5-3306=db");
}

#[test]
fn labels_say_where_a_pod_or_an_entry_is() {
    let old = "istio-locality: a.b.c";
    let new = "topology.istio.io/locality: d.e";
    for (labels, expected) in [
        (String::new(), "r/z"),
        (format!(", {old}"), "a/b/c"),
        (format!(", {new}"), "d/e"),
        (format!(", {old}, {new}"), "d/e"),
        // The newer one counts even if it says nothing.
        (format!(", {old}, topology.istio.io/locality: \"\""), "r/z"),
    ] {
        let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/region: r, \
                    topology.kubernetes.io/zone: z}}\n";
        let labelled = format!("{{app: db{labels}");
        let pod = pod("a", &["10.0.0.5"], "  nodeName: n\n").replace("{app: db", &labelled);
        let found = snapshot(&format!("{node}{pod}"));
        let workload = found.workloads.get("default", "a").unwrap();
        assert_eq!(workload.locality.to_string(), expected, "{labels}");

        for (said, told) in [("", expected), (", locality: r/z", "r/z")] {
            let vm = entry("10.9.0.1", said).replace("{app: db", &labelled);
            let found = snapshot(&format!("{SERVICE}{vm}"));
            let (_, all) = found.endpoints.iter().next().unwrap();
            let told = if labels.is_empty() || labels.ends_with('"') {
                said.trim_start_matches(", locality: ")
            } else {
                told
            };
            assert_eq!(all.port(80)[0].locality.to_string(), told, "{labels} {said}");
        }
    }
}

#[test]
fn a_headless_service_is_dialled_at_the_addresses_of_both_families() {
    let own = pod("own", &["10.0.0.9"], "").replace("app: db", "app: own");
    let headless = SERVICE.replace("10.96.0.7", "None");
    let two = pod("a", &["10.0.0.5", "fd00::5"], "");
    let first = slice(FIRST, &[("10.0.0.5", Some("a"), "ready: true")]);
    let second = slice(("db-y", "tcp, port: 3306"), &[("fd00::5", Some("a"), "ready: true")]);
    let settings = ProxySettings {
        access_log_file: String::new(),
        collector: None,
        spans: None,
        sampling_ppm: 0,
    };
    for (service, slices, expected) in [
        (&headless, format!("{first}{second}"), vec!["10.0.0.5_80", "fd00::5_80"]),
        (&headless, second.clone(), vec!["fd00::5_80"]),
        (&headless, first.clone(), vec!["10.0.0.5_80"]),
        (&SERVICE.to_owned(), format!("{first}{second}"), vec!["10.96.0.7_80"]),
    ] {
        let snapshot = Arc::new(snapshot(&format!("{service}{own}{two}{slices}")));
        let (_, all) = snapshot.endpoints.iter().next().unwrap();
        assert_eq!(all.port(80).len(), 1, "{slices}");
        let view = ProxyView::new(snapshot.clone(), "default", "own", settings.clone()).unwrap();
        let generated = generate(&view);
        let names = generated.listeners.iter().map(|(name, _)| name.to_string());
        let mut names: Vec<String> = names.filter(|name| name.ends_with("_80")).collect();
        names.sort();
        assert_eq!(names, expected, "{slices}");
    }
}
