//! Which routes, hosts and chains gateways get.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use expect_test::expect;
use prost::{Message, Name};
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::listener::v3::{self as listener, Listener};
use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};

use super::routes::{HTTP, SIDECAR, check, clusters, decoded, gateway, hosts, mesh, rules, view};

/// A Sidecar is for workloads of a namespace, not for its gateways.
#[test]
fn gateways_see_what_sidecars_do_not() {
    let snapshot = mesh(SIDECAR);
    assert_eq!(
        clusters(&view(&snapshot, "default", "client-v1-0")),
        Vec::<String>::new()
    );
    assert_eq!(clusters(&view(&snapshot, "default", "ingress-0")).len(), 1);
}

#[test]
fn rules_of_one_host_of_a_gateway_are_joined() {
    let front = |name: &str, namespace: &str, host: &str, matches: &str, to: &str| {
        let spec = format!(
            "{{hosts: [{host}], gateways: [default/web], http: [{{{matches}route: [{{destination: {{host: {to}}}}}]}}]}}"
        );
        rules(name, namespace, &spec)
    };
    let text = [
        gateway(HTTP),
        front("a", "store", "shop.example.com", "", "cart"),
        front(
            "b",
            "default",
            "shop.example.com",
            "match: [{uri: {prefix: /echo}}], ",
            "echo",
        ),
        front(
            "c",
            "default",
            "SHOP.example.com",
            "match: [{uri: {prefix: /}, method: {exact: PUT}}], ",
            "lone",
        ),
        front("d", "default", "'*.example.com'", "", "lone"),
        front(
            "e",
            "default",
            "shop.example.com",
            "match: [{uri: {prefix: /never}, sourceLabels: {a: b}}], ",
            "lone",
        ),
    ];
    let snapshot = mesh(&text.concat());
    check(
        &view(&snapshot, "default", "ingress-0"),
        "",
        expect![[r#"
            *.example.com:80 *.example.com
              / -> outbound|80||lone.default.svc.cluster.local
            shop.example.com:80 shop.example.com
              /echo -> outbound|80||echo.default.svc.cluster.local
              / -> outbound|80||lone.default.svc.cluster.local
              / -> outbound|80||cart.store.svc.cluster.local
        "#]],
    );
    let conflicts: Vec<_> = snapshot
        .diagnostics
        .iter()
        .filter(|found| *found.code == *"IST0109")
        .collect();
    assert_eq!(conflicts, Vec::<&weft_api::diagnostic::Diagnostic>::new());
}

/// Hosts of a server that sends to TLS do so whether rules name them or not.
#[test]
fn servers_send_to_tls_without_rules() {
    let redirecting = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, './b.example.com'], \
                       tls: {httpsRedirect: true}}";
    let plain = "{port: {number: 80, name: http2, protocol: HTTP}, hosts: [c.example.com]}";
    let spec = |host: &str| {
        format!("{{hosts: [{host}], gateways: [web], http: [{{route: [{{destination: {{host: echo}}}}]}}]}}")
    };
    let text = [
        gateway(&format!("{redirecting}, {plain}")),
        rules("b", "default", &spec("b.example.com")),
        rules("c", "default", &spec("c.example.com")),
    ];
    check(
        &view(&mesh(&text.concat()), "default", "ingress-0"),
        "",
        expect![[r#"
            a.example.com:80 a.example.com, to TLS
              / -> https
            b.example.com:80 b.example.com, to TLS
              / -> outbound|80||echo.default.svc.cluster.local
            c.example.com:80 c.example.com
              / -> outbound|80||echo.default.svc.cluster.local
        "#]],
    );
}

#[test]
fn gateways_are_known_by_name_and_namespace() {
    for (reference, bound) in [
        ("web", true),
        ("default/web", true),
        ("./web", true),
        ("web.default", true),
        ("web.default.svc.cluster.local", true),
        ("web.store", false),
        ("default", false),
    ] {
        let spec = format!(
            "{{hosts: [a.example.com], gateways: [{reference}], http: [{{route: [{{destination: {{host: echo}}}}]}}]}}"
        );
        let snapshot = mesh(&[gateway(HTTP), rules("a", "default", &spec)].concat());
        let found = hosts(&view(&snapshot, "default", "ingress-0"), "a.example.com");
        assert_eq!(!found.is_empty(), bound, "{reference}");
        let missing = snapshot.diagnostics.iter().any(|found| *found.code == *"IST0101");
        assert_eq!(missing, !bound, "{reference}");
    }
}

/// A listener whose chains take the same is refused whole, so each name is taken once.
#[test]
fn chains_of_a_gateway_are_distinct() {
    let server = |name: &str, tls: &str| {
        format!("{{port: {{number: 443, name: {name}, protocol: TLS}}, hosts: ['*'], tls: {{{tls}}}}}")
    };
    let spec = |names: &str| {
        format!(
            "{{hosts: ['*.example.com'], gateways: [web], \
             tls: [{{match: [{{sniHosts: [{names}]}}], route: [{{destination: {{host: echo}}}}]}}]}}"
        )
    };
    let text = [
        gateway(&server("a", "mode: PASSTHROUGH")),
        rules("a", "default", &spec("a.example.com, b.example.com")),
        rules("b", "default", &spec("b.example.com, c.example.com")),
        rules("c", "default", &spec("a.example.com")),
    ];
    let snapshot = mesh(&text.concat());
    let listeners = decoded::<Listener>(&view(&snapshot, "default", "ingress-0"), Kind::Listener);
    let chains = listeners.iter().flat_map(|listener| &listener.filter_chains);
    let names: Vec<_> = chains
        .map(|chain| chain.filter_chain_match.clone().unwrap().server_names)
        .collect();
    assert_eq!(names, [vec!["a.example.com", "b.example.com"], vec!["c.example.com"]]);
}

/// Where a gateway lets requests and connections in: hosts with their routes, and the clusters of bytes.
fn entries(policies: &str) -> String {
    let servers = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}, \
                   {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['a.example.com'], \
                    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}, \
                   {port: {number: 443, name: tls, protocol: TLS}, hosts: ['b.example.com'], tls: {mode: PASSTHROUGH}}, \
                   {port: {number: 443, name: bytes, protocol: TLS}, hosts: ['c.example.com'], \
                    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}";
    let to = "route: [{destination: {host: echo}}]";
    let text = [
        gateway(servers),
        rules(
            "web",
            "default",
            &format!("{{hosts: [a.example.com], gateways: [web], http: [{{{to}}}]}}"),
        ),
        rules(
            "tls",
            "default",
            &format!(
                "{{hosts: [b.example.com], gateways: [web], tls: [{{match: [{{sniHosts: [b.example.com]}}], {to}}}]}}"
            ),
        ),
        rules(
            "tcp",
            "default",
            &format!("{{hosts: [c.example.com], gateways: [web], tcp: [{{{to}}}]}}"),
        ),
        policies.to_owned(),
    ];
    let snapshot = mesh(&text.concat());
    let view = view(&snapshot, "default", "ingress-0");
    let listeners = decoded::<Listener>(&view, Kind::Listener);
    let filters = listeners
        .iter()
        .flat_map(|listener| &listener.filter_chains)
        .flat_map(|chain| &chain.filters);
    let bytes = filters.filter_map(|filter| match &filter.config_type {
        Some(listener::filter::ConfigType::TypedConfig(any)) if any.type_url == TcpProxy::type_url() => {
            TcpProxy::decode(&*any.value).ok()?.cluster_specifier
        }
        _ => None,
    });
    let bytes: Vec<String> = bytes
        .map(|to| match to {
            tcp_proxy::ClusterSpecifier::Cluster(name) => format!("bytes -> {name}\n"),
            other => panic!("{other:?}"),
        })
        .collect();
    hosts(&view, "") + &bytes.concat()
}

/// What selects a gateway refuses tokens there. (What policies say of callers are filters: `authorization.rs`.)
#[test]
fn unchecked_tokens_are_refused_by_gateways() {
    let tokens = "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
                  metadata: {name: r}\nspec: {jwtRules: [{issuer: i}]}\n";
    let found = entries(tokens);
    assert!(
        found.contains("a.example.com\n  / -> 401\n  / -> 401\n  / -> outbound"),
        "{found}"
    );
}
