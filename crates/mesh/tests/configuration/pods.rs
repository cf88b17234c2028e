//! Pods and EndpointSlices: the same model as local workloads, filled from what Kubernetes knows.

use std::net::IpAddr;
use std::sync::Arc;

use weft_mesh::generate::generate;
use weft_mesh::node::Dialect;
use weft_mesh::snapshot::{Capture, EndpointAddress, Health, MeshSnapshot, Protocol};
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::Kind;

use super::snapshot;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: callme}\nspec:\n  clusterIP: 10.96.0.7\n  \
                       selector: {app: callme}\n  ports:\n  - {name: http, port: 80, targetPort: web}\n  \
                       - {name: db, port: 9000, targetPort: 3306, appProtocol: tcp}\n";

const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/region: eu, \
                    topology.kubernetes.io/zone: eu-1, topology.istio.io/subzone: r7}}\nspec: {podCIDR: 10.0.0.0/24}\n\
                    status: {capacity: {cpu: \"2\"}}\n";

/// A pod of `callme` with a proxy; `more` goes into its metadata.
fn pod(name: &str, ip: &str, ready: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  \
         labels: {{app: callme, version: v1, pod-template-hash: 5d9}}\n  \
         ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: callme-v1-5d9, uid: x, controller: true}}]\n\
         {more}spec:\n  nodeName: n1\n  serviceAccountName: callme\n  containers:\n  \
         - {{name: app, image: x, ports: [{{name: web, containerPort: 8080}}, {{name: u, containerPort: 53, protocol: \
         UDP}}]}}\n  - {{name: istio-proxy, image: y, args: [sidecar], ports: [{{name: http-envoy-prom, \
         containerPort: 15090}}]}}\nstatus:\n  phase: Running\n  podIP: {ip}\n  \
         podIPs: [{{ip: {ip}}}, {{ip: \"fd00::{name}\"}}]\n  \
         conditions: [{{type: PodScheduled, status: \"True\"}}, {{type: Ready, status: \"{ready}\"}}]\n",
        name = name,
    )
}

fn slice(endpoints: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: callme-x, labels: {{kubernetes.io/service-name: callme}}}}\naddressType: IPv4\nports:\n\
         - {{name: http, port: 8080, protocol: TCP}}\n- {{name: db, port: 3306, protocol: TCP}}\nendpoints:\n\
         {endpoints}"
    )
}

fn endpoint(pod: &str, ip: &str, conditions: &str) -> String {
    format!(
        "- {{addresses: [\"{ip}\"], conditions: {{{conditions}}}, targetRef: {{kind: Pod, name: {pod}, namespace: default}}}}\n"
    )
}

/// Addresses and health of what is served for port 80.
fn served(snapshot: &MeshSnapshot) -> Vec<(String, Health)> {
    let all = snapshot.endpoints.iter().flat_map(|(_, found)| found.port(80));
    all.map(|endpoint| (endpoint.address.to_string(), endpoint.health))
        .collect()
}

#[test]
fn a_pod_is_a_workload_and_its_slices_are_its_endpoints() {
    let snapshot = snapshot(&format!(
        "{SERVICE}{NODE}{}{}",
        pod("a1", "10.0.0.5", "True", ""),
        slice(&endpoint("a1", "10.0.0.5", "ready: true"))
    ));
    let workload = snapshot.workloads.get("default", "a1").unwrap();
    assert_eq!(&*workload.workload_name, "callme-v1");
    assert_eq!(&*workload.service_account, "callme");
    assert_eq!(workload.locality.to_string(), "eu/eu-1/r7");
    assert_eq!(workload.capture, Capture::Redirect);
    let addresses: Vec<String> = workload.addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5", "fd00::a1"]);
    let ports: Vec<(&str, u16)> = workload
        .ports
        .iter()
        .map(|port| (port.name.as_str(), port.app_port))
        .collect();
    assert_eq!(ports, [("web", 8080), ("http-envoy-prom", 15090)]);

    let inbound: Vec<(u16, u16, Protocol)> = snapshot
        .inbound
        .of(&workload.key)
        .iter()
        .map(|port| (port.app_port, port.mesh_port, port.protocol))
        .collect();
    assert_eq!(inbound, [(8080, 8080, Protocol::Http), (3306, 3306, Protocol::Tcp)]);

    let service = snapshot.services.iter().next().unwrap();
    assert_eq!(service.addresses, ["10.96.0.7"]);
    let all = snapshot.endpoints.of(&service.key).unwrap();
    let endpoint = &all.port(80)[0];
    assert_eq!(endpoint.address, EndpointAddress::parse("10.0.0.5"));
    assert_eq!((endpoint.port, all.port(9000)[0].port), (8080, 3306));
    assert!(endpoint.mtls);
    assert_eq!(
        endpoint.workload_metadata(),
        "callme-v1;default;callme;v1;Kubernetes;callme;v1"
    );
    assert_eq!(endpoint.locality, workload.locality);
    let identities = snapshot.backends.identities(&service.key, 80, "cluster.local");
    assert_eq!(identities.len(), 1);
}

#[test]
fn endpoints_drain_while_they_serve_and_are_left_out_when_not_ready() {
    let ending = "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n";
    for (conditions, ready, more, expected) in [
        ("ready: true", "True", "", Some(Health::Ready)),
        ("", "True", "", Some(Health::Ready)),
        ("ready: false", "False", "", None),
        (
            "ready: false, serving: true, terminating: true",
            "True",
            ending,
            Some(Health::Draining),
        ),
        ("ready: false, serving: false, terminating: true", "False", ending, None),
        ("ready: false", "False", ending, None),
        // Published although it is not ready.
        ("ready: true", "False", "", Some(Health::Ready)),
    ] {
        let snapshot = snapshot(&format!(
            "{SERVICE}{NODE}{}{}",
            pod("a1", "10.0.0.5", ready, more),
            slice(&endpoint("a1", "10.0.0.5", conditions))
        ));
        let expected: Vec<_> = expected
            .map(|health| ("10.0.0.5".to_owned(), health))
            .into_iter()
            .collect();
        assert_eq!(served(&snapshot), expected, "{conditions} {ready} {more}");
        let (_, all) = snapshot.endpoints.iter().next().unwrap();
        assert_eq!(
            snapshot
                .backends
                .of(&snapshot.services.iter().next().unwrap().key)
                .unwrap()
                .port(80)
                .len(),
            1
        );
        assert!(all.port(9000).len() == expected.len());
    }
}

#[test]
fn a_dual_stack_pod_is_one_endpoint() {
    let second = slice(&endpoint("a1", "fd00::a1", "ready: true"))
        .replace("callme-x", "callme-y")
        .replace("IPv4", "IPv6");
    let first = slice(&endpoint("a1", "10.0.0.5", "ready: true"));
    let pod = pod("a1", "10.0.0.5", "True", "");
    let both = snapshot(&format!("{SERVICE}{NODE}{pod}{first}{second}"));
    assert_eq!(served(&both), [("10.0.0.5".to_owned(), Health::Ready)]);
    let only = snapshot(&format!("{SERVICE}{NODE}{pod}{second}"));
    assert_eq!(served(&only), [("fd00::a1".to_owned(), Health::Ready)]);
}

#[test]
fn pods_outside_the_mesh_are_peers_in_plaintext() {
    let plain = pod("a1", "10.0.0.5", "True", "").replace("istio-proxy", "other");
    let text = format!(
        "{SERVICE}{NODE}{plain}{}",
        slice(&endpoint("a1", "10.0.0.5", "ready: true"))
    );
    let snapshot = snapshot(&text);
    let (_, found) = snapshot.endpoints.iter().next().unwrap();
    assert!(!found.port(80)[0].mtls);
    assert_eq!(&*found.port(80)[0].workload_name, "callme-v1");
    let workload = snapshot.workloads.get("default", "a1").unwrap();
    assert_eq!((workload.proxied, workload.capture), (false, Capture::None));
    assert!(snapshot.inbound.of(&workload.key).is_empty());
}

#[test]
fn gateways_bind_the_target_ports_of_their_services() {
    let gateway = pod("g1", "10.0.0.9", "True", "")
        .replace("args: [sidecar]", "args: [gateway]")
        .replace("{app: callme, ", "{app: callme, istio: ingressgateway, ");
    let snapshot = snapshot(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: gw}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         ports: [{{name: http2, port: 80, targetPort: web}}, {{name: https, port: 443, targetPort: 8443}}]\n\
         {NODE}{gateway}"
    ));
    let workload = snapshot.workloads.get("default", "g1").unwrap();
    for (port, local) in [(80, 8080), (443, 8443), (15021, 15021)] {
        assert_eq!(workload.gateway_port(port), Some(local), "{port}");
    }
    assert_eq!(workload.bind_address().to_string(), "0.0.0.0");
}

/// A pod's containers, their state, and whether the proxy of the pod is told that the application has ended.
#[test]
fn a_proxy_is_told_when_the_containers_beside_it_have_ended_for_good() {
    let done = |name: &str, code: u8| format!("  - {{name: {name}, state: {{terminated: {{exitCode: {code}}}}}}}\n");
    let runs = |name: &str| format!("  - {{name: {name}, state: {{running: {{startedAt: x}}}}}}\n");
    let crashed =
        "  - {name: a, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1}}}\n";
    let again = "  - {name: a, state: {running: {}}, lastState: {terminated: {exitCode: 0}}}\n";
    let waits = "  - {name: a, state: {waiting: {reason: PodInitializing}}}\n";
    let proxy = runs("istio-proxy");
    let one = "  containers: [{name: istio-proxy}, {name: a}]\n";
    let two = "  containers: [{name: istio-proxy}, {name: a}, {name: b}]\n";
    let native = "  initContainers: [{name: istio-proxy, restartPolicy: Always}]\n  containers: [{name: a}]\n";
    let settings = ProxySettings {
        access_log_file: String::new(),
        collector: None,
        spans: None,
        sampling_ppm: 0,
    };
    let rules = "  containers: [{name: istio-proxy}, {name: a, restartPolicy: Always}]\n";
    let with_init = "  initContainers: [{name: i}]\n  containers: [{name: istio-proxy}, {name: a}]\n";
    for (policy, containers, statuses, expected) in [
        ("Never", one, format!("{proxy}{}", done("a", 0)), true),
        ("Never", one, format!("{proxy}{}", done("a", 1)), true),
        ("Never", one, format!("{proxy}{}", runs("a")), false),
        ("Never", one, proxy.clone(), false),
        ("OnFailure", one, format!("{proxy}{}", done("a", 0)), true),
        ("OnFailure", one, format!("{proxy}{}", done("a", 1)), false),
        ("OnFailure", one, format!("{proxy}{crashed}"), false),
        ("OnFailure", one, format!("{proxy}{again}"), false),
        ("Never", two, format!("{proxy}{}{}", done("a", 0), runs("b")), false),
        ("Never", two, format!("{proxy}{}{}", done("a", 0), done("b", 2)), true),
        ("Never", with_init, format!("{proxy}{waits}"), false),
        ("Never", with_init, format!("{proxy}{}", done("a", 0)), true),
        // A Deployment's containers are always started again.
        ("Always", one, format!("{proxy}{}", done("a", 0)), false),
        // The kubelet itself ends a native sidecar.
        ("Never", native, done("a", 0), false),
        ("Never", rules, format!("{proxy}{}", done("a", 0)), false),
    ] {
        let snapshot = Arc::new(snapshot(&format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: j, uid: u1}}\nspec:\n  restartPolicy: {policy}\n\
             {containers}status:\n  phase: Running\n  podIP: 10.0.0.5\n  containerStatuses:\n{statuses}"
        )));
        let at = format!("{policy}\n{containers}{statuses}");
        assert_eq!(snapshot.ended.len(), usize::from(expected), "{at}");
        for (dialect, told) in [(Dialect::Weft, expected), (Dialect::Envoy, false)] {
            let mut view = ProxyView::new(snapshot.clone(), "default", "j", settings.clone()).unwrap();
            view.dialect = dialect;
            let generated = generate(&view);
            let names: Vec<&str> = generated
                .of(Kind::ApplicationEnded)
                .iter()
                .map(|(name, _)| &**name)
                .collect();
            assert_eq!(names, if told { vec!["u1"] } else { vec![] }, "{dialect:?} {at}");
        }
    }
}
