//! For whom policies are: selectors, references, the doors of gateways, captured ports and trust domains.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use std::sync::Arc;

use expect_test::{Expect, expect};
use prost::{Message, Name};
use weft_mesh::snapshot::MeshSnapshot;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::listener::v3::{Listener, filter};
use weft_proto::xds::envoy::extensions::filters::http::rbac::v3 as http;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};

use super::authorization::{chains, check, policy, shown, sidecar};
use super::authorization_shown::principal;
use super::routes::{decoded, gateway, mesh, rules as virtual_service, view};
use super::{service, snapshot};

/// Names of the filters of requests that decide, of the first chain that has any; enforced rules are marked.
fn deciding(snapshot: &Arc<MeshSnapshot>) -> Vec<String> {
    let listeners = decoded::<Listener>(&view(snapshot, "default", "app-0"), Kind::Listener);
    let chains = listeners.iter().flat_map(|listener| &listener.filter_chains);
    let managers = chains
        .flat_map(|chain| &chain.filters)
        .filter_map(|filter| match &filter.config_type {
            Some(filter::ConfigType::TypedConfig(any)) if any.type_url == HttpConnectionManager::type_url() => {
                HttpConnectionManager::decode(&*any.value).ok()
            }
            _ => None,
        });
    let of = |filter: HttpFilter| {
        let short = filter.name.strip_prefix("envoy.filters.http.")?.to_owned();
        let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        match short.as_str() {
            "ext_authz" => Some(short),
            "rbac" if http::Rbac::decode(&*any.value).unwrap().rules.is_some() => Some("rbac enforced".to_owned()),
            "rbac" => Some(short),
            _ => None,
        }
    };
    let names = managers.map(|manager| manager.http_filters.into_iter().filter_map(of).collect::<Vec<_>>());
    names.into_iter().find(|names| !names.is_empty()).unwrap_or_default()
}

/// Of requests a provider is asked about what the rules choose; of connections that is refused.
#[test]
fn a_provider_is_asked_about_requests() {
    let mesh = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    \
                extensionProviders: [{name: gate, envoyExtAuthzGrpc: {service: gate.default.svc.cluster.local, port: 9000}}]\n";
    let asks = |name: &str, provider: &str| {
        policy(
            name,
            "default",
            &format!("{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}"),
        )
    };
    for (policies, kinds) in [
        (asks("a", "gate"), &["rbac", "ext_authz"][..]),
        (asks("a", "gate") + &asks("b", "gate"), &["rbac", "ext_authz"]),
        // Nobody knows whom to ask: refused.
        (asks("a", "other"), &["rbac enforced"]),
        (asks("a", "gate") + &asks("b", "other"), &["rbac enforced"]),
    ] {
        let found = sidecar(&format!("{mesh}{policies}"));
        assert_eq!(deciding(&found), kinds, "{policies}");
    }
}

/// A policy that cannot be read refuses everything, whatever others allow.
#[test]
fn broken_policies_close_what_they_select() {
    let open = policy("open", "default", "{rules: [{}]}");
    let broken = policy(
        "broken",
        "default",
        "{selector: {matchLabels: {app: app}}, rules: [{to: [{}]}]}",
    );
    check(
        &format!("{open}{broken}"),
        expect![[r#"
        requests DENY
          ns[default]-policy[broken]-rule[0] to any from any
        requests ALLOW
          ns[default]-policy[open]-rule[0] to any from any
        connections DENY
          ns[default]-policy[broken]-rule[0] to any from any
        connections ALLOW
          ns[default]-policy[open]-rule[0] to any from any
    "#]],
    );
    let other = policy(
        "broken",
        "default",
        "{selector: {matchLabels: {app: other}}, rules: [{to: [{}]}]}",
    );
    check(
        &format!("{open}{other}"),
        expect![[r#"
        requests ALLOW
          ns[default]-policy[open]-rule[0] to any from any
        connections ALLOW
          ns[default]-policy[open]-rule[0] to any from any
    "#]],
    );
}

#[test]
fn policies_are_for_whom_they_select() {
    let all = "rules: [{}]";
    let ours = "selector: {matchLabels: {app: app}}";
    let theirs = "selector: {matchLabels: {app: other}}";
    for (namespace, spec, applies) in [
        ("default", format!("{{{all}}}"), true),
        ("default", format!("{{{ours}, {all}}}"), true),
        ("default", format!("{{{theirs}, {all}}}"), false),
        ("istio-system", format!("{{{all}}}"), true),
        ("istio-system", format!("{{{ours}, {all}}}"), true),
        ("istio-system", format!("{{{theirs}, {all}}}"), false),
        ("store", format!("{{{all}}}"), false),
        (
            "default",
            format!("{{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: web}}], {all}}}"),
            false,
        ),
    ] {
        let found = chains(&sidecar(&policy("p", namespace, &spec)), "app-0");
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|(_, guards)| guards.len() == usize::from(applies)),
            "{namespace} {spec}"
        );
    }
}

/// A workload that is a gateway of the Gateway API, by its label, is one that `targetRefs` can name.
#[test]
fn references_are_to_gateways_of_their_namespace() {
    let edge = "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                metadata: {name: web-0, labels: {istio: ingressgateway, gateway.networking.k8s.io/gateway-name: web}}\n\
                spec: {role: gateway, workloadName: web, ready: true, gatewayPorts: [{port: 80, localPort: 28080}]}\n";
    let refers = |name: &str| {
        format!("{{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}], rules: [{{}}]}}")
    };
    for (namespace, name, applies) in [
        ("default", "web", 1),
        ("default", "other", 0),
        ("istio-system", "web", 0),
    ] {
        let servers = gateway("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}");
        let snapshot = mesh(&format!("{edge}{servers}{}", policy("p", namespace, &refers(name))));
        let found = chains(&snapshot, "web-0");
        let [(_, guards)] = found.as_slice() else {
            panic!("{}", found.len())
        };
        assert_eq!(guards.len(), applies, "{namespace} {name}");
    }
}

/// Every door of a gateway is kept: HTTP, HTTPS, TLS that is ended or passed through, bytes.
#[test]
fn gateways_keep_every_door() {
    let servers = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}, \
                   {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['a.example.com'], \
                    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}, \
                   {port: {number: 443, name: tls, protocol: TLS}, hosts: ['b.example.com'], tls: {mode: PASSTHROUGH}}, \
                   {port: {number: 443, name: bytes, protocol: TLS}, hosts: ['c.example.com'], \
                    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}";
    let to = "route: [{destination: {host: echo}}]";
    let text = [
        gateway(servers),
        virtual_service(
            "web",
            "default",
            &format!("{{hosts: [a.example.com], gateways: [web], http: [{{{to}}}]}}"),
        ),
        virtual_service(
            "tls",
            "default",
            &format!(
                "{{hosts: [b.example.com], gateways: [web], tls: [{{match: [{{sniHosts: [b.example.com]}}], {to}}}]}}"
            ),
        ),
        virtual_service(
            "tcp",
            "default",
            &format!("{{hosts: [c.example.com], gateways: [web], tcp: [{{{to}}}]}}"),
        ),
        policy(
            "edge",
            "default",
            "{selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}], \
             to: [{operation: {ports: ['443']}}]}]}",
        ),
    ];
    let mut found = String::new();
    for (name, guards) in chains(&mesh(&text.concat()), "ingress-0") {
        found.push_str(&format!("{name}\n"));
        guards.iter().for_each(|guard| found.push_str(&shown(guard)));
    }
    expect![[r#"
        127.0.0.1_18080 0
        requests DENY
          ns[default]-policy[edge]-rule[0] to port 18443 from remote 10.0.0.0/8
        127.0.0.1_18443 0
        requests DENY
          ns[default]-policy[edge]-rule[0] to port 18443 from remote 10.0.0.0/8
        127.0.0.1_18443 1
        connections DENY
          ns[default]-policy[edge]-rule[0] to port 18443 from remote 10.0.0.0/8
        127.0.0.1_18443 2
        connections DENY
          ns[default]-policy[edge]-rule[0] to port 18443 from remote 10.0.0.0/8
    "#]]
    .assert_eq(&found);
}

/// Where traffic is captured one listener serves every port, those that no service names as well.
#[test]
fn captured_ports_are_kept_as_well() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: own-0, labels: {app: own}}\nspec:\n  \
               serviceAccountName: own\n  containers:\n  - {name: app, image: x}\n  \
               - {name: istio-proxy, image: y, args: [sidecar]}\n\
               status: {phase: Running, podIP: 10.0.0.5, podIPs: [{ip: 10.0.0.5}]}\n";
    let deny = policy(
        "p",
        "default",
        "{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}",
    );
    let snapshot = Arc::new(snapshot(&format!(
        "{pod}{}{deny}",
        service("own", "default").replace("http", "tcp")
    )));
    let mut found = String::new();
    for (name, guards) in chains(&snapshot, "own-0") {
        let guards: Vec<String> = guards.iter().map(shown).collect();
        found.push_str(&format!("{name}: {}\n", guards.concat().replace('\n', "")).replace(": \n", "\n"));
    }
    expect![[r#"
        0.0.0.0_80 0
        virtualInbound-blackhole
        virtualInbound-catchall-mtls-http: requests DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        virtualInbound-catchall-mtls-tcp: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        virtualInbound-catchall-plain-http: requests DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        virtualInbound-catchall-plain-tcp: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        virtualInbound-catchall-foreign-tls: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        0.0.0.0_80-mtls-tcp: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        0.0.0.0_80-plain-tcp: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        0.0.0.0_80-foreign-tls: connections DENY  ns[default]-policy[p]-rule[0] to port 80 from any
        virtualOutbound-blackhole
        virtualOutbound-catchall-tcp
    "#]]
    .assert_eq(&found);
}

#[test]
fn names_of_the_trust_domain_are_one() {
    let config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
                  data:\n  mesh: |\n    trustDomainAliases: [old, older-td]\n";
    let text = |principals: &str| {
        format!(
            "{config}{}",
            policy(
                "p",
                "default",
                &format!("{{rules: [{{from: [{{source: {principals}}}]}}]}}")
            )
        )
    };
    check_principals(
        &text("{principals: [cluster.local/ns/a/sa/b]}"),
        expect![[
            r"(peer=spiffe://cluster.local/ns/a/sa/b | peer=spiffe://old/ns/a/sa/b | peer=spiffe://older-td/ns/a/sa/b)"
        ]],
    );
    check_principals(
        &text("{notPrincipals: ['old/ns/a/sa/*', other/ns/a/sa/b]}"),
        expect![[
            r"!(peer=spiffe://cluster.local/ns/a/sa/... | peer=spiffe://old/ns/a/sa/... | peer=spiffe://older-td/ns/a/sa/... | peer=spiffe://other/ns/a/sa/b)"
        ]],
    );
    check_principals(
        &text("{principals: ['*-td/ns/a/sa/b', '*/ns/a/sa/b', sa/b]}"),
        expect![[
            r"(peer=...-td/ns/a/sa/b | peer=spiffe://cluster.local/ns/a/sa/b | peer=spiffe://old/ns/a/sa/b | peer=.../ns/a/sa/b | peer=spiffe://sa/b)"
        ]],
    );
    check_principals(
        &text("{trustDomains: [old, other]}"),
        expect![[
            r"(peer=spiffe://cluster.local/... | peer=spiffe://old/... | peer=spiffe://older-td/... | peer=spiffe://other/...)"
        ]],
    );
}

fn check_principals(text: &str, expected: Expect) {
    let found = chains(&sidecar(text), "app-0");
    let rules = found[0].1[0].rules.as_ref().unwrap();
    let policy = rules.policies.values().next().unwrap();
    expected.assert_eq(&policy.principals.iter().map(principal).collect::<String>());
}

/// Resources that are the same have the same bytes, so that nothing is pushed again.
#[test]
fn many_policies_are_in_one_order() {
    let of = |i: usize| {
        policy(
            &format!("p{i}"),
            "default",
            "{rules: [{from: [{source: {namespaces: [a]}}]}]}",
        )
    };
    let text: String = (0..50).map(of).collect();
    let bytes = || {
        let found = sidecar(&text);
        let generated = weft_mesh::generate::generate(&view(&found, "default", "app-0"));
        let listeners = generated.of(Kind::Listener);
        listeners
            .iter()
            .map(|(_, resource)| resource.bytes.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(bytes(), bytes());
}
