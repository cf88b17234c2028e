//! Which RBAC filters AuthorizationPolicies turn into, and in which chains they are.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail with what they got"
)]

use std::sync::Arc;

use expect_test::{Expect, expect};
use prost::{Message, Name};
use weft_api::parse::parse;
use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::listener::v3::{Filter, Listener, filter};
use weft_proto::xds::envoy::config::rbac::v3::{self as pb, Rbac};
use weft_proto::xds::envoy::extensions::filters::http::rbac::v3 as http;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use weft_proto::xds::envoy::extensions::filters::network::rbac::v3 as network;
use weft_proto::xds::google::protobuf::Any;

use super::authorization_shown::{permission, principal};
use super::routes::{decoded, view};
use super::workload;

/// A policy of a namespace.
pub(super) fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// The same, which is only tried out.
fn tried(name: &str, spec: &str) -> String {
    policy(name, "default", spec).replace(
        "namespace: default}",
        "namespace: default, annotations: {istio.io/dry-run: 'true'}}",
    )
}

/// An RBAC filter: enforced and shadow rules, and the prefix of the latter.
pub(super) struct Guard {
    pub(super) http: bool,
    pub(super) rules: Option<Rbac>,
    shadow: Option<Rbac>,
    shadow_prefix: String,
}

/// The guards of a chain in their order, those of its connection manager after its own.
fn guards(filters: &[Filter]) -> Vec<Guard> {
    let mut found = Vec::new();
    for filter in filters {
        let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            continue;
        };
        if any.type_url == network::Rbac::type_url() {
            let config = network::Rbac::decode(&*any.value).unwrap();
            assert_eq!(config.stat_prefix, "tcp.");
            found.push(Guard {
                http: false,
                rules: config.rules,
                shadow: config.shadow_rules,
                shadow_prefix: config.shadow_rules_stat_prefix,
            });
        } else if any.type_url == HttpConnectionManager::type_url() {
            let manager = HttpConnectionManager::decode(&*any.value).unwrap();
            let configs = manager
                .http_filters
                .iter()
                .filter_map(|filter| match &filter.config_type {
                    Some(http_filter::ConfigType::TypedConfig(any)) => Some(any),
                    _ => None,
                });
            found.extend(configs.filter_map(of_requests));
            let router = manager.http_filters.last().map(|filter| filter.name.as_str());
            assert_eq!(router, Some("envoy.filters.http.router"));
        }
    }
    found
}

fn of_requests(any: &Any) -> Option<Guard> {
    (any.type_url == http::Rbac::type_url()).then(|| {
        let config = http::Rbac::decode(&*any.value).unwrap();
        Guard {
            http: true,
            rules: config.rules,
            shadow: config.shadow_rules,
            shadow_prefix: config.shadow_rules_stat_prefix,
        }
    })
}

/// The guards of each inbound or gateway chain of a proxy.
pub(super) fn chains(snapshot: &Arc<MeshSnapshot>, pod: &str) -> Vec<(String, Vec<Guard>)> {
    let listeners = decoded::<Listener>(&view(snapshot, "default", pod), Kind::Listener);
    let chains = listeners.iter().flat_map(|listener| {
        let named = |(i, chain)| (format!("{} {i}", listener.name), chain);
        listener.filter_chains.iter().enumerate().map(named)
    });
    chains
        .map(|(place, chain)| {
            let name = if chain.name.is_empty() {
                place
            } else {
                chain.name.clone()
            };
            (name, guards(&chain.filters))
        })
        .collect()
}

pub(super) fn shown(guard: &Guard) -> String {
    let mut text = String::new();
    let mut add = |what: &str, rules: &Option<Rbac>| {
        let Some(rules) = rules else { return };
        let kind = if guard.http { "requests" } else { "connections" };
        text.push_str(&format!(
            "{kind} {what}{}\n",
            pb::rbac::Action::try_from(rules.action).unwrap().as_str_name()
        ));
        let mut names: Vec<_> = rules.policies.keys().collect();
        names.sort();
        for name in names {
            let policy = &rules.policies[name];
            let to: Vec<String> = policy.permissions.iter().map(permission).collect();
            let from: Vec<String> = policy.principals.iter().map(principal).collect();
            text.push_str(&format!("  {name} to {} from {}\n", to.join(" or "), from.join(" or ")));
        }
    };
    add("", &guard.rules);
    add(&guard.shadow_prefix, &guard.shadow);
    text
}

/// A sidecar with ports for HTTP, for bytes, and for whatever comes.
pub(super) fn sidecar(policies: &str) -> Arc<MeshSnapshot> {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec:\n  selector: {app: app}\n  \
                ports: [{name: http, port: 80}, {name: tcp-b, port: 90}, {name: any, port: 100}]\n---\n\
                apiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                metadata: {name: app-0, labels: {app: app}}\nspec:\n  workloadName: app\n  ready: true\n  \
                ports: [{name: http, appPort: 8080, meshPort: 18080}, {name: tcp-b, appPort: 9090, meshPort: 19090}, \
                {name: any, appPort: 7070, meshPort: 17070}]\n";
    Arc::new(read(&format!("{text}{policies}")))
}

/// A snapshot of objects with whatever findings; what stands in for broken ones is in it.
fn read(text: &str) -> MeshSnapshot {
    let parsed = parse("mesh.yaml", text);
    let mut inputs = Inputs::default();
    for resource in parsed.resources.iter().chain(&parsed.stand_ins) {
        inputs.apply(resource);
    }
    let config = inputs.mesh_configs.values().next();
    let settings = config.map_or_else(MeshSettings::default, |config| {
        MeshSettings::default().with(&config.spec)
    });
    build(inputs, &Arc::new(settings), 1, None)
}

/// Holds the guards of requests, then those of connections, of the sidecar to what is expected. All its chains have them.
pub(super) fn check(policies: &str, expected: Expect) {
    let mut found: [Option<String>; 2] = [None, None];
    for (name, guards) in chains(&sidecar(policies), "app-0") {
        let text: String = guards.iter().map(shown).collect();
        let http = name.ends_with("http");
        assert!(guards.iter().all(|guard| guard.http == http), "{name}");
        let known = found[usize::from(!http)].get_or_insert_with(|| text.clone());
        assert_eq!(*known, text, "{name}");
    }
    expected.assert_eq(&found.map(Option::unwrap_or_default).concat());
}

#[test]
fn each_action_has_its_filter_in_the_order_of_istio() {
    let text = [
        policy(
            "allow",
            "default",
            "{rules: [{to: [{operation: {methods: [GET, 'P*']}}]}, {to: [{operation: {ports: ['8080', '9090']}}]}]}",
        ),
        policy(
            "deny",
            "default",
            r"{action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/a/sa/b]}}], to: [{operation: {paths: [/admin*]}}]}]}",
        ),
        policy("audit", "default", "{action: AUDIT, rules: [{}]}"),
        policy(
            "custom",
            "istio-system",
            "{action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {hosts: ['*.example.com']}}]}]}",
        ),
    ];
    check(
        &text.concat(),
        expect![[r#"
        requests DENY
          ns[istio-system]-policy[custom]-rule[0] to :authority=....example.com(any case) from any
        requests LOG
          ns[default]-policy[audit]-rule[0] to any from any
        requests DENY
          ns[default]-policy[deny]-rule[0] to path=/admin... from !peer=spiffe://cluster.local/ns/a/sa/b
        requests ALLOW
          ns[default]-policy[allow]-rule[0] to (:method=GET | :method=P...) from any
          ns[default]-policy[allow]-rule[1] to (port 18080 | port 19090) from any
        connections DENY
          ns[istio-system]-policy[custom]-rule[0] to any from any
        connections LOG
          ns[default]-policy[audit]-rule[0] to any from any
        connections DENY
          ns[default]-policy[deny]-rule[0] to any from !peer=spiffe://cluster.local/ns/a/sa/b
        connections ALLOW
          ns[default]-policy[allow]-rule[1] to (port 18080 | port 19090) from any
    "#]],
    );
}

#[test]
fn every_field_and_condition_has_its_matcher() {
    let source = "{principals: ['*', 'spiffe://td/ns/a/sa/b', 'x/*', '*/sa/c'], requestPrincipals: ['*', iss/sub, '*/sub', 'https://i/*'], \
                  namespaces: [a, 'b-*'], notIpBlocks: [10.0.0.0/8], remoteIpBlocks: ['2001:db8::1'], trustDomains: [td, '*x']}";
    let accounts = "{serviceAccounts: [a, b/c], notServiceAccounts: [d]}";
    let operation =
        "{hosts: [a.example.com, '*'], notPorts: ['9090'], notMethods: [GET], paths: ['/a/{*}/b/{**}', '*.js', '*']}";
    let when = [
        "{key: 'request.headers[x-id]', values: ['*', a], notValues: [b]}",
        "{key: source.ip, values: [10.0.0.1]}",
        "{key: remote.ip, notValues: [10.0.0.2]}",
        "{key: source.namespace, values: [n]}",
        "{key: source.principal, values: [cluster.local/ns/a/sa/b]}",
        "{key: source.serviceAccount, values: [s]}",
        "{key: request.auth.principal, values: [i/s]}",
        "{key: request.auth.audiences, values: [a, b]}",
        "{key: request.auth.presenter, notValues: [p]}",
        "{key: 'request.auth.claims[realm][roles]', values: ['r*']}",
        "{key: destination.ip, values: [10.1.0.0/16]}",
        "{key: destination.port, values: ['8080']}",
        "{key: connection.sni, values: [a.b]}",
        "{key: 'experimental.envoy.filters.network.mysql_proxy[db.t]', values: ['[x]', y]}",
    ];
    let allow = format!(
        "{{action: DENY, rules: [{{from: [{{source: {source}}}, {{source: {accounts}}}], to: [{{operation: {operation}}}], when: [{}]}}]}}",
        when.join(", ")
    );
    check(
        &policy("p", "default", &allow),
        expect![[r#"
        requests DENY
          ns[default]-policy[p]-rule[0] to ((:authority=a.example.com(any case) | :authority is there) & !:method=GET & (path~/a/*/b/** | path=....js | path~.+) & !port 19090 & destination 10.1.0.0/16 & port 18080 & sni=a.b & envoy.filters.network.mysql_proxy[db.t]( has =x | =y)) from ((peer~.+ | peer=spiffe://td/ns/a/sa/b | peer=spiffe://x/... | peer=.../sa/c) & ((envoy.filters.http.jwt_authn[payload][iss]~.+ & envoy.filters.http.jwt_authn[payload][sub]~.+) | (envoy.filters.http.jwt_authn[payload][iss]=iss & envoy.filters.http.jwt_authn[payload][sub]=sub) | (envoy.filters.http.jwt_authn[payload][iss]~.+ & envoy.filters.http.jwt_authn[payload][sub]=sub) | (envoy.filters.http.jwt_authn[payload][iss]=https://i & envoy.filters.http.jwt_authn[payload][sub]~.+)) & (peer~.*/ns/a/.* | peer~.*/ns/b\-.*/.*) & (peer=spiffe://td/... | peer~spiffe://[^/]*x/.*) & remote 2001:db8::1/128 & !source 10.0.0.0/8 & (x-id is there | x-id=a) & !x-id=b & source 10.0.0.1/32 & !remote 10.0.0.2/32 & peer~.*/ns/n/.* & peer=spiffe://cluster.local/ns/a/sa/b & peer~spiffe://.+/ns/default/(.+/|)sa/s(/.+)? & (envoy.filters.http.jwt_authn[payload][iss]=i & envoy.filters.http.jwt_authn[payload][sub]=s) & envoy.filters.http.jwt_authn[payload][aud]( has (=a | =b) | (=a | =b)) & !envoy.filters.http.jwt_authn[payload][azp]( has =p | =p) & envoy.filters.http.jwt_authn[payload][realm][roles]( has =r... | =r...)) or ((peer~spiffe://.+/ns/default/(.+/|)sa/a(/.+)? | peer~spiffe://.+/ns/b/(.+/|)sa/c(/.+)?) & !peer~spiffe://.+/ns/default/(.+/|)sa/d(/.+)? & (x-id is there | x-id=a) & !x-id=b & source 10.0.0.1/32 & !remote 10.0.0.2/32 & peer~.*/ns/n/.* & peer=spiffe://cluster.local/ns/a/sa/b & peer~spiffe://.+/ns/default/(.+/|)sa/s(/.+)? & (envoy.filters.http.jwt_authn[payload][iss]=i & envoy.filters.http.jwt_authn[payload][sub]=s) & envoy.filters.http.jwt_authn[payload][aud]( has (=a | =b) | (=a | =b)) & !envoy.filters.http.jwt_authn[payload][azp]( has =p | =p) & envoy.filters.http.jwt_authn[payload][realm][roles]( has =r... | =r...))
        connections DENY
          ns[default]-policy[p]-rule[0] to (!port 19090 & destination 10.1.0.0/16 & port 18080 & sni=a.b & envoy.filters.network.mysql_proxy[db.t]( has =x | =y)) from ((peer~.+ | peer=spiffe://td/ns/a/sa/b | peer=spiffe://x/... | peer=.../sa/c) & (peer~.*/ns/a/.* | peer~.*/ns/b\-.*/.*) & (peer=spiffe://td/... | peer~spiffe://[^/]*x/.*) & remote 2001:db8::1/128 & !source 10.0.0.0/8 & source 10.0.0.1/32 & !remote 10.0.0.2/32 & peer~.*/ns/n/.* & peer=spiffe://cluster.local/ns/a/sa/b & peer~spiffe://.+/ns/default/(.+/|)sa/s(/.+)?) or ((peer~spiffe://.+/ns/default/(.+/|)sa/a(/.+)? | peer~spiffe://.+/ns/b/(.+/|)sa/c(/.+)?) & !peer~spiffe://.+/ns/default/(.+/|)sa/d(/.+)? & source 10.0.0.1/32 & !remote 10.0.0.2/32 & peer~.*/ns/n/.* & peer=spiffe://cluster.local/ns/a/sa/b & peer~spiffe://.+/ns/default/(.+/|)sa/s(/.+)?)
    "#]],
    );
}

/// Nothing of HTTP is known of a connection: less is allowed, never more.
#[test]
fn of_connections_less_is_allowed() {
    let of_http = "{from: [{source: {namespaces: [a]}}], to: [{operation: {methods: [GET], ports: ['9090']}}]}";
    let text = [
        policy("allow", "default", &format!("{{rules: [{of_http}]}}")),
        policy(
            "deny",
            "default",
            &format!("{{action: DENY, rules: [{of_http}, {{when: [{{key: 'request.headers[a]', notValues: [b]}}]}}]}}"),
        ),
    ];
    check(
        &text.concat(),
        expect![[r#"
        requests DENY
          ns[default]-policy[deny]-rule[0] to (:method=GET & port 19090) from peer~.*/ns/a/.*
          ns[default]-policy[deny]-rule[1] to any from !a=b
        requests ALLOW
          ns[default]-policy[allow]-rule[0] to (:method=GET & port 19090) from peer~.*/ns/a/.*
        connections DENY
          ns[default]-policy[deny]-rule[0] to port 19090 from peer~.*/ns/a/.*
          ns[default]-policy[deny]-rule[1] to any from any
        connections ALLOW
    "#]],
    );
}

#[test]
fn policies_without_rules_and_those_that_are_tried_out() {
    check(
        &policy("none", "default", "{}"),
        expect![[r#"
        requests ALLOW
          ns[default]-policy[none]-rule[0] to !any from !any
        connections ALLOW
          ns[default]-policy[none]-rule[0] to !any from !any
    "#]],
    );
    check(
        &tried("none", "{}"),
        expect![[r#"
        requests istio_dry_run_allow_ALLOW
          ns[default]-policy[none]-rule[0] to !any from !any
        connections istio_dry_run_allow_ALLOW
          ns[default]-policy[none]-rule[0] to !any from !any
    "#]],
    );
    let text = [
        tried("a", "{rules: [{from: [{source: {namespaces: [a]}}]}]}"),
        tried("d", "{action: DENY, rules: [{}]}"),
        policy(
            "e",
            "default",
            "{action: DENY, rules: [{from: [{source: {namespaces: [e]}}]}]}",
        ),
        tried("c", "{action: CUSTOM, provider: {name: x}, rules: [{}]}"),
        tried("n", "{action: AUDIT, rules: [{}]}"),
    ];
    check(
        &text.concat(),
        expect![[r#"
        requests DENY
          ns[default]-policy[e]-rule[0] to any from peer~.*/ns/e/.*
        requests istio_dry_run_deny_DENY
          ns[default]-policy[d]-rule[0] to any from any
        requests istio_dry_run_allow_ALLOW
          ns[default]-policy[a]-rule[0] to any from peer~.*/ns/a/.*
        connections DENY
          ns[default]-policy[e]-rule[0] to any from peer~.*/ns/e/.*
        connections istio_dry_run_deny_DENY
          ns[default]-policy[d]-rule[0] to any from any
        connections istio_dry_run_allow_ALLOW
          ns[default]-policy[a]-rule[0] to any from peer~.*/ns/a/.*
    "#]],
    );
}

/// What a policy does not do although it looks as if it did is told.
#[test]
fn findings_about_policies() {
    let check = |policies: &str, expected: &str| {
        let text = format!("{}{policies}", workload("echo", "v1", "default", 41000, true));
        let found: Vec<String> = read(&text).diagnostics.iter().map(ToString::to_string).collect();
        let about: Vec<&String> = found
            .iter()
            .filter(|found| found.contains("AuthorizationPolicy"))
            .collect();
        match expected {
            "" => assert!(about.is_empty(), "{about:?}"),
            expected => assert!(about.iter().any(|found| found.contains(expected)), "{about:?}"),
        }
    };
    let rules = "rules: [{from: [{source: {namespaces: [a]}}]}]";
    check(&policy("p", "default", &format!("{{{rules}}}")), "");
    check(&policy("p", "default", &format!("{{action: DENY, {rules}}}")), "");
    check(&policy("p", "default", "{}"), "");
    check(
        &policy("p", "default", "{action: CUSTOM, provider: {name: opa}, rules: [{}]}"),
        "the mesh configuration has no provider \"opa\" that decides about requests, so what the rules select is refused",
    );
    check(
        &policy("p", "default", &format!("{{action: AUDIT, {rules}}}")),
        "info [",
    );
    check(&tried("p", &format!("{{{rules}}}")), "it is only tried out");
    check(
        &policy("p", "default", "{rules: [{}]}"),
        "one of its rules allows everything",
    );
    let missing = "{selector: {matchLabels: {app: none}}}";
    check(&policy("p", "default", missing), "no workload in namespace default");
    check(
        &policy("p", "istio-system", missing),
        "no workload of the mesh has these labels",
    );
    let ours = "{selector: {matchLabels: {app: echo}}}";
    check(&policy("p", "istio-system", ours), "");
    let odd = tried("p", &format!("{{{rules}}}")).replace("'true'", "'yes'");
    check(&odd, "istio.io/dry-run is \"yes\", so the policy is enforced");
}
