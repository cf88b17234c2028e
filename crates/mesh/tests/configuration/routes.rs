//! Which routes, hosts and clusters proxies get: wherever Istio makes one, there is one.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::{Expect, expect};
use prost::Message;
use weft_api::parse::parse;
use weft_mesh::generate::{Shared, compose, generate};
use weft_mesh::node::Dialect;
use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::cluster::v3::Cluster;
use weft_proto::xds::envoy::config::listener::v3::Listener;
use weft_proto::xds::envoy::config::route::v3 as route;

use super::{service, workload};

/// A mesh with the services `echo` and `lone` here and `cart` in `store`, a client here and there, and a gateway.
pub(super) fn mesh(text: &str) -> Arc<MeshSnapshot> {
    let client = |namespace: &str, port: u16| {
        let text = workload("client", "v1", namespace, port, true);
        text.replace(
            "  ready: true\n",
            &format!("  ready: true\n  outboundPort: {}\n", port + 2),
        )
    };
    let edge = "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                metadata: {name: ingress-0, labels: {istio: ingressgateway}}\n\
                spec: {role: gateway, workloadName: ingress, ready: true, \
                gatewayPorts: [{port: 80, localPort: 18080}, {port: 443, localPort: 18443}]}\n";
    let all = [
        service("echo", "default"),
        service("lone", "default"),
        service("cart", "store"),
        client("default", 41000),
        client("store", 41010),
        edge.to_owned(),
        text.to_owned(),
    ];
    let parsed = parse("mesh.yaml", &all.concat());
    assert!(
        parsed.broken.is_empty() && !parsed.broken_unnamed,
        "{:?}",
        parsed.diagnostics
    );
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    Arc::new(build(inputs, &Arc::new(MeshSettings::default()), 1, None))
}

#[track_caller]
pub(super) fn view(snapshot: &Arc<MeshSnapshot>, namespace: &str, pod: &str) -> ProxyView {
    let settings = ProxySettings {
        access_log_file: String::new(),
        collector: None,
        spans: None,
        sampling_ppm: 0,
    };
    ProxyView::new(Arc::clone(snapshot), namespace, pod, settings).unwrap()
}

pub(super) fn decoded<T: Message + Default>(view: &ProxyView, kind: Kind) -> Vec<T> {
    let generated = generate(view);
    let all = generated.of(kind).iter();
    all.map(|(_, resource)| T::decode(&*resource.bytes).unwrap()).collect()
}

/// The hosts of a proxy, each with its domains and routes, but for those whose name says nothing of `about`.
pub(super) fn hosts(view: &ProxyView, about: &str) -> String {
    let mut text = String::new();
    for config in decoded::<route::RouteConfiguration>(view, Kind::Routes) {
        for host in config.virtual_hosts.iter().filter(|host| host.name.contains(about)) {
            let redirect = if host.require_tls == 0 { "" } else { ", to TLS" };
            text.push_str(&format!("{} {}{redirect}\n", host.name, host.domains.join(" ")));
            for route in &host.routes {
                text.push_str(&format!("  {}\n", shown(route)));
            }
        }
    }
    text
}

fn shown(one: &route::Route) -> String {
    use route::route::Action;
    use route::route_match::PathSpecifier;
    let matched = one.r#match.as_ref().unwrap();
    let path = match &matched.path_specifier {
        Some(PathSpecifier::Prefix(path)) => path.clone(),
        Some(PathSpecifier::Path(path)) => format!("={path}"),
        other => format!("{other:?}"),
    };
    let to = match &one.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(route::route_action::ClusterSpecifier::Cluster(name)) => name.clone(),
            other => format!("{other:?}"),
        },
        Some(Action::DirectResponse(answer)) => answer.status.to_string(),
        Some(Action::Redirect(_)) => "https".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{path} -> {to}")
}

#[track_caller]
pub(super) fn check(view: &ProxyView, about: &str, expected: Expect) {
    expected.assert_eq(&hosts(view, about));
}

pub(super) fn rules(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

pub(super) fn gateway(servers: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web}}\n\
         spec: {{selector: {{istio: ingressgateway}}, servers: [{servers}]}}\n"
    )
}

pub(super) const HTTP: &str = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}";

/// Rules of which none is for this workload are as no rules; where one is, requests that none fits are not found.
#[test]
fn rules_for_others_leave_the_default_route() {
    for matches in [
        "sourceLabels: {tier: back}",
        "sourceNamespace: store",
        "port: 8080",
        "gateways: [web]",
        "headers: {'@request.auth.claims.group': {exact: a}}",
    ] {
        let spec = format!(
            "{{hosts: [echo], gateways: [mesh, web], http: [{{match: [{{{matches}, uri: {{prefix: /api}}}}], \
             route: [{{destination: {{host: lone}}}}]}}]}}"
        );
        let snapshot = mesh(&rules("echo", "default", &spec));
        let found = hosts(&view(&snapshot, "default", "client-v1-0"), "echo.default");
        assert!(
            found.ends_with("\n  / -> outbound|80||echo.default.svc.cluster.local\n"),
            "{matches}: {found}"
        );
    }
    let some = "{hosts: [echo], http: [{match: [{sourceNamespace: store, uri: {prefix: /api}}], \
                route: [{destination: {host: lone}}]}, {match: [{uri: {exact: /own}}], route: [{destination: {host: echo}}]}]}";
    let snapshot = mesh(&rules("echo", "default", some));
    check(
        &view(&snapshot, "default", "client-v1-0"),
        "echo.default",
        expect![[r#"
            echo.default.svc.cluster.local:80 echo.default.svc.cluster.local echo.default.svc.cluster.local:80 echo.default.svc.cluster.local. echo.default.svc.cluster.local.:80 echo echo:80 echo.default echo.default:80 echo.default.svc echo.default.svc:80
              =/own -> outbound|80||echo.default.svc.cluster.local
        "#]],
    );
}

/// Of several objects for one host in the mesh the first that says anything to this workload counts.
#[test]
fn the_first_rules_that_hold_count() {
    let only = |name: &str, namespace: &str, to: &str| {
        let spec = format!(
            "{{hosts: [echo.default.svc.cluster.local], http: [{{match: [{{sourceNamespace: {namespace}}}], \
             route: [{{destination: {{host: {to}}}}}]}}]}}"
        );
        rules(name, "default", &spec)
    };
    let snapshot = mesh(
        &[
            only("a", "store", "lone"),
            only("b", "default", "echo"),
            only("c", "store", "echo"),
        ]
        .concat(),
    );
    for (namespace, to) in [("default", "echo"), ("store", "lone")] {
        let found = hosts(&view(&snapshot, namespace, "client-v1-0"), "echo.default");
        assert!(
            found.ends_with(&format!("/ -> outbound|80||{to}.default.svc.cluster.local\n")),
            "{found}"
        );
    }
}

#[test]
fn names_are_absolute_as_well() {
    let entry = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n\
                 spec: {hosts: [api.example.com, '*.example.org', 10.1.1.1], ports: [{number: 80, name: http}]}\n";
    let snapshot = mesh(entry);
    let client = view(&snapshot, "store", "client-v1-0");
    check(
        &client,
        "example",
        expect![[r#"
            *.example.org:80 *.example.org *.example.org:80 *.example.org. *.example.org.:80
              / -> outbound|80||*.example.org
            api.example.com:80 api.example.com api.example.com:80 api.example.com. api.example.com.:80
              / -> outbound|80||api.example.com
        "#]],
    );
    assert!(!hosts(&client, "10.1.1.1").contains("10.1.1.1."));
    let grpc = ProxyView {
        dialect: Dialect::Grpc,
        ..client
    };
    let listeners = decoded::<Listener>(&grpc, Kind::Listener);
    let names: BTreeSet<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert!(names.contains("echo.default.svc.cluster.local.:80"), "{names:?}");
}

pub(super) const SIDECAR: &str = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n\
                       spec: {egress: [{hosts: ['./*']}]}\n";

pub(super) fn clusters(view: &ProxyView) -> Vec<String> {
    let clusters = decoded::<Cluster>(view, Kind::Cluster);
    let names = clusters.into_iter().map(|cluster| cluster.name);
    names.filter(|name| name.contains("cart")).collect()
}

/// A Sidecar that lets rules in lets in where they lead, too: clusters and endpoints, and no host of its own.
#[test]
fn destinations_of_imported_rules_are_there() {
    const CART: &str = "outbound|80||cart.store.svc.cluster.local";
    let to = "route: [{destination: {host: cart.store.svc.cluster.local}}]";
    for (namespace, spec, expected) in [
        (
            "default",
            format!("{{hosts: [echo], http: [{{match: [{{uri: {{prefix: /cart}}}}], {to}}}]}}"),
            true,
        ),
        ("default", format!("{{hosts: [echo], tcp: [{{{to}}}]}}"), true),
        (
            "default",
            format!("{{hosts: [echo], tls: [{{match: [{{sniHosts: [a.b]}}], {to}}}]}}"),
            true,
        ),
        (
            "default",
            format!("{{hosts: [echo], gateways: [web], http: [{{{to}}}]}}"),
            false,
        ),
        // The rules themselves are not let in.
        (
            "store",
            format!("{{hosts: [echo.default.svc.cluster.local], http: [{{{to}}}]}}"),
            false,
        ),
    ] {
        let snapshot = mesh(&[SIDECAR, &rules("echo", namespace, &spec)].concat());
        let client = view(&snapshot, "default", "client-v1-0");
        let wanted: &[&str] = if expected { &[CART] } else { &[] };
        assert_eq!(clusters(&client), wanted, "{spec}");
        assert_eq!(hosts(&client, "cart"), "", "{spec}");
        let endpoints = generate(&client).endpoints;
        assert_eq!(endpoints.get(CART).is_some(), expected, "{spec}");
        if namespace == "store" {
            assert!(hosts(&client, "echo.default").ends_with("  / -> outbound|80||echo.default.svc.cluster.local\n"));
        }
        let grpc = ProxyView {
            dialect: Dialect::Grpc,
            ..client
        };
        assert_eq!(clusters(&grpc), wanted, "{spec}");
    }
}

/// What proxies share follows rules that come later.
#[test]
fn destinations_join_when_rules_do() {
    let before = mesh(SIDECAR);
    let spec = "{hosts: [echo], http: [{route: [{destination: {host: cart.store.svc.cluster.local}}]}]}";
    let text = rules("echo", "default", spec);
    let mut inputs = before.inputs.clone();
    parse("later.yaml", &text).resources.iter().for_each(|resource| {
        inputs.apply(resource);
    });
    let after = Arc::new(build(inputs, &Arc::new(MeshSettings::default()), 2, Some(&before)));
    let (old, new) = (
        view(&before, "default", "client-v1-0"),
        view(&after, "default", "client-v1-0"),
    );
    let shared = Shared::build(&old, None);
    let later = compose(&new, &Shared::build(&new, Some(&shared)), None);
    let whole = generate(&new);
    for kind in Kind::ALL {
        let names = |resources: &weft_mesh::resource::layer::Resources| -> Vec<Arc<str>> {
            resources.iter().map(|(name, _)| Arc::clone(name)).collect()
        };
        assert_eq!(names(later.of(kind)), names(whole.of(kind)), "{kind:?}");
    }
}

#[test]
fn service_entries_of_one_host_are_one_service() {
    let entry = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [api.example.com], {spec}}}\n"
        )
    };
    let at = |address: &str| format!("endpoints: [{{address: {address}}}]");
    let text = [
        entry(
            "a",
            &format!(
                "resolution: STATIC, ports: [{{number: 80, name: http}}], {}",
                at("10.0.0.1")
            ),
        ),
        entry(
            "b",
            &format!(
                "resolution: STATIC, ports: [{{number: 80, name: http}}, {{number: 443, name: tls}}], {}",
                at("10.0.0.2")
            ),
        ),
        entry(
            "c",
            &format!(
                "resolution: STATIC, ports: [{{number: 443, name: http-c}}], {}",
                at("10.0.0.3")
            ),
        ),
        entry("d", "resolution: DNS, ports: [{number: 9000, name: http}]"),
        entry(
            "e",
            "resolution: STATIC, exportTo: ['.'], workloadSelector: {labels: {a: b}}, ports: [{number: 9001, name: http}]",
        ),
    ];
    let snapshot = mesh(&text.concat());
    let found = snapshot.services.exact("api.example.com", "default").unwrap();
    let ports: Vec<_> = found
        .ports
        .iter()
        .map(|port| (port.port, port.protocol.as_str()))
        .collect();
    assert_eq!(ports, [(80, "http"), (443, "tls")]);
    let endpoints = snapshot.endpoints.of(&found.key).unwrap();
    let of = |port: u16| -> Vec<String> { endpoints.port(port).iter().map(|one| one.address.to_string()).collect() };
    assert_eq!(of(80), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(of(443), ["10.0.0.2", "10.0.0.3"]);
    let about: Vec<String> = (snapshot.diagnostics.iter())
        .filter(|found| found.object.starts_with("ServiceEntry"))
        .map(|found| format!("{} {} {}", found.severity, found.object, found.message))
        .collect();
    expect![[r#"
        warning ServiceEntry/default/c port 443 of api.example.com has another protocol in ServiceEntry/default/a in mesh.yaml:48, which is used
        error ServiceEntry/default/d the host api.example.com belongs to ServiceEntry/default/a in mesh.yaml:48 already, which is used
        error ServiceEntry/default/e the host api.example.com belongs to ServiceEntry/default/a in mesh.yaml:48 already, which is used
    "#]]
    .assert_eq(&(about.join("\n") + "\n"));
}

/// What a policy cannot do costs its effect, or the connections that it would protect, and never the subsets beside it.
#[test]
fn unsupported_policies_leave_the_subsets() {
    let policy = |policy: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: echo}}\nspec: {{host: echo, \
             trafficPolicy: {{{policy}}}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: open, labels: {{version: v2}}, \
             trafficPolicy: {{tls: {{mode: DISABLE}}}}}}]}}\n"
        )
    };
    for (text, closed) in [
        (
            "loadBalancer: {consistentHash: {httpHeaderName: x-user}}",
            [false, false, false],
        ),
        (
            "loadBalancer: {localityLbSetting: {enabled: true}, warmup: {duration: 10s}}",
            [false, false, false],
        ),
        ("loadBalancer: {simple: PASSTHROUGH}", [false, false, false]),
        ("tls: {mode: SIMPLE, credentialName: x}", [true, true, false]),
        ("tls: {mode: SIMPLE, caCrl: x}", [true, true, false]),
        ("proxyProtocol: {version: V2}", [true, true, true]),
        ("tunnel: {targetHost: a.b, targetPort: 80}", [true, true, true]),
    ] {
        let snapshot = mesh(&policy(text));
        let all = decoded::<Cluster>(&view(&snapshot, "default", "client-v1-0"), Kind::Cluster);
        let of = |subset: &str| {
            let name = format!("outbound|80|{subset}|echo.default.svc.cluster.local");
            let cluster = all.iter().find(|cluster| cluster.name == name).unwrap();
            let load = cluster.load_assignment.as_ref();
            cluster.eds_cluster_config.is_none() && load.is_some_and(|load| load.endpoints.is_empty())
        };
        assert_eq!(["", "v1", "open"].map(of), closed, "{text}");
    }
}
