//! Which AuthorizationPolicies are accepted, and what is said, where, of those that are refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use weft_api::authorization_policy::{
    AuthorizationPolicy, Condition, OneOf, PathPattern, RequestPrincipal, ServiceAccount, Wildcard,
};
use weft_api::diagnostic::Severity;
use weft_api::parse::{Parsed, parse};
use weft_api::resource::Resource;

fn read(spec: &str) -> Parsed {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n";
    parse("p.yaml", &format!("{head}spec: {spec}\n"))
}

#[track_caller]
fn accepted(spec: &str) -> AuthorizationPolicy {
    let parsed = read(spec);
    let [Resource::AuthorizationPolicy(object)] = parsed.resources.as_slice() else {
        panic!("{spec}: {:?}", parsed.diagnostics);
    };
    object.spec.clone()
}

#[test]
fn policies_are_accepted() {
    for spec in [
        "{}",
        "{rules: [{}]}",
        "{rules: []}",
        "{action: DENY, rules: [{}]}",
        "{action: AUDIT}",
        "{action: AUDIT, rules: [{}]}",
        "{action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/a]}}]}]}",
        "{selector: {matchLabels: {a: b}}, rules: [{from: [{source: {principals: ['*']}}]}]}",
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]}",
        "{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}}",
        "{rules: [{from: [{source: {principals: [], ipBlocks: [10.0.0.0/8, '::1']}}]}]}",
        "{rules: [{to: [{operation: {paths: ['/a/{*}', '/a/{**}', '/{*}/a/{**}', '/{**}/b']}}]}]}",
        "{rules: [{when: [{key: source.ip, notValues: [10.0.0.1]}]}]}",
    ] {
        accepted(spec);
    }
}

/// An error at the field that says what is wrong, and the policy is closed.
fn refused(spec: &str, field: &str, message: &str) {
    let parsed = read(spec);
    assert!(parsed.resources.is_empty(), "{spec}");
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error);
    let shown: Vec<String> = errors.map(ToString::to_string).collect();
    let expected = format!("spec.{field}");
    let fits = |line: &String| {
        line.contains(message) && (line.contains(&format!(" {expected}: ")) || line.contains(&format!(" {expected} ")))
    };
    assert!(shown.iter().any(fits), "{spec}: {shown:#?}");
}

#[test]
fn policies_are_refused_as_a_whole() {
    for (spec, field, message) in [
        ("{action: DENY}", "rules", "would never match"),
        ("{action: CUSTOM, provider: {name: x}}", "rules", "would never match"),
        ("{action: CUSTOM, rules: [{}]}", "provider", "has no name"),
        ("{action: CUSTOM, provider: {}, rules: [{}]}", "provider", "has no name"),
        (
            "{provider: {name: x}, rules: [{}]}",
            "provider",
            "is for action CUSTOM alone",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRef: {kind: Gateway, name: g}}",
            "targetRef",
            "excludes selector",
        ),
        (
            "{targetRefs: [{kind: Service, name: s}]}",
            "targetRefs[0].kind",
            "has no waypoints",
        ),
        (
            "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: s}]}",
            "targetRefs[0].kind",
            "has no waypoints",
        ),
        (
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: s}]}",
            "targetRefs[0].kind",
            "has no waypoints",
        ),
        (
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g, namespace: n}]}",
            "targetRefs[0].namespace",
            "is not possible",
        ),
        ("{rules: [{from: []}]}", "rules[0].from", "is empty"),
        ("{rules: [{to: []}]}", "rules[0].to", "is empty"),
        ("{rules: [{from: [{}]}]}", "rules[0].from[0].source", "is required"),
        ("{rules: [{to: [{}]}]}", "rules[0].to[0].operation", "is required"),
    ] {
        refused(spec, field, message);
    }
}

#[test]
fn parts_that_say_nothing_are_refused() {
    for (spec, field, message) in [
        (
            "{rules: [{from: [{source: {}}]}]}",
            "rules[0].from[0].source",
            "says nothing",
        ),
        (
            "{rules: [{to: [{operation: {}}]}]}",
            "rules[0].to[0].operation",
            "says nothing",
        ),
        (
            "{rules: [{to: [{operation: {paths: []}}]}]}",
            "rules[0].to[0].operation",
            "says nothing",
        ),
        (
            "{rules: [{from: [{source: {principals: ['']}}]}]}",
            "rules[0].from[0].source.principals[0]",
            "is empty",
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}",
            "rules[0].from[0].source.ipBlocks[0]",
            "neither an IP address nor a CIDR prefix",
        ),
        (
            "{rules: [{from: [{source: {notRemoteIpBlocks: [a]}}]}]}",
            "rules[0].from[0].source.notRemoteIpBlocks[0]",
            "neither an IP address nor a CIDR prefix",
        ),
        (
            "{rules: [{from: [{source: {namespaces: [a.b]}}]}]}",
            "rules[0].from[0].source.namespaces[0]",
            "is not a namespace",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: ['a*']}}]}]}",
            "rules[0].from[0].source.serviceAccounts[0]",
            "is not a service account",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]}",
            "rules[0].from[0].source.serviceAccounts[0]",
            "is not a service account",
        ),
        (
            "{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]}",
            "rules[0].from[0].source.namespaces",
            "excludes serviceAccounts",
        ),
        (
            "{rules: [{to: [{operation: {ports: ['0']}}]}]}",
            "rules[0].to[0].operation.ports[0]",
            "is not a port",
        ),
        (
            "{rules: [{to: [{operation: {ports: [80]}}]}]}",
            "rules[0].to[0].operation.ports[0]",
            "text",
        ),
        (
            "{rules: [{to: [{operation: {notPorts: [http]}}]}]}",
            "rules[0].to[0].operation.notPorts[0]",
            "is not a port",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['a/{*}']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "does not start with /",
        ),
    ] {
        refused(spec, field, message);
    }
}

#[test]
fn values_are_refused() {
    for (spec, field, message) in [
        (
            "{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "is not the last wildcard",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/a{*}']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "is not a whole segment",
        ),
        (
            "{rules: [{to: [{operation: {paths: ['/{*}/*']}}]}]}",
            "rules[0].to[0].operation.paths[0]",
            "is not a whole segment",
        ),
        (
            "{rules: [{when: [{key: source.ip}]}]}",
            "rules[0].when[0].values",
            "is required",
        ),
        (
            "{rules: [{when: [{key: source.ip, values: []}]}]}",
            "rules[0].when[0].values",
            "is required",
        ),
        (
            "{rules: [{when: [{key: source.ip, values: [a]}]}]}",
            "rules[0].when[0].values[0]",
            "neither an IP address",
        ),
        (
            "{rules: [{when: [{key: destination.port, values: ['0']}]}]}",
            "rules[0].when[0].values[0]",
            "is not a port",
        ),
        (
            "{rules: [{when: [{key: sourc.ip, values: [a]}]}]}",
            "rules[0].when[0].key",
            "did you mean source.ip?",
        ),
        (
            "{rules: [{when: [{key: 'request.headers[]', values: [a]}]}]}",
            "rules[0].when[0].key",
            "is not an attribute",
        ),
        (
            "{rules: [{when: [{key: request.headers, values: [a]}]}]}",
            "rules[0].when[0].key",
            "is not an attribute",
        ),
        (
            "{rules: [{when: [{key: 'request.headers[a b]', values: [a]}]}]}",
            "rules[0].when[0].key",
            "is not an attribute",
        ),
        (
            "{rules: [{when: [{key: 'request.auth.claims[a][', values: [a]}]}]}",
            "rules[0].when[0].key",
            "is not an attribute",
        ),
        (
            "{action: CUSTOM, provider: {name: x}, rules: [{}, {from: [{source: {namespaces: [a]}}]}]}",
            "rules",
            "[1].from names identities",
        ),
        (
            "{action: CUSTOM, provider: {name: x}, rules: [{when: [{key: request.auth.audiences, values: [a]}]}]}",
            "rules",
            "[0].when names identities",
        ),
    ] {
        refused(spec, field, message);
    }
}

#[test]
fn too_much_is_refused() {
    let rules = vec!["{}"; 513].join(", ");
    let values = vec!["a"; 1025].join(", ");
    for (spec, message) in [
        (format!("{{rules: [{rules}]}}"), "has 513 items"),
        (
            format!("{{rules: [{{from: [{{source: {{namespaces: [{values}]}}}}]}}]}}"),
            "has 1025 items",
        ),
        (
            format!(
                "{{rules: [{{to: [{{operation: {{paths: ['/{}']}}}}]}}]}}",
                "a".repeat(4096)
            ),
            "has 4097 characters",
        ),
    ] {
        let found: Vec<String> = read(&spec).diagnostics.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|found| found.contains(message)), "{found:?}");
    }
}

#[test]
fn values_are_read() {
    let exact = |text: &str| Wildcard::Exact(text.to_owned());
    for (text, expected) in [
        ("*", Wildcard::Present),
        ("a", exact("a")),
        ("a*", Wildcard::Prefix("a".to_owned())),
        ("*a", Wildcard::Suffix("a".to_owned())),
        ("*a*", Wildcard::Suffix("a*".to_owned())),
        ("a*b", exact("a*b")),
    ] {
        assert_eq!(Wildcard::parse(text), expected, "{text}");
    }
    let source = |field: &str, value: &str| {
        let policy = accepted(&format!(
            "{{rules: [{{from: [{{source: {{{field}: ['{value}']}}}}]}}]}}"
        ));
        policy.rules[0].from[0].clone()
    };
    let of = |issuer, subject| RequestPrincipal { issuer, subject };
    for (text, expected) in [
        ("*", of(Wildcard::Present, Wildcard::Present)),
        ("i/s", of(exact("i"), exact("s"))),
        ("https://i/a/s", of(exact("https://i/a"), exact("s"))),
        ("i/*", of(exact("i"), Wildcard::Present)),
        ("i/s*", of(exact("i"), Wildcard::Prefix("s".to_owned()))),
        ("*/s", of(Wildcard::Present, exact("s"))),
        ("*i/s", of(Wildcard::Suffix("i".to_owned()), exact("s"))),
        ("*s", of(Wildcard::Present, Wildcard::Suffix("s".to_owned()))),
        ("i*", of(Wildcard::Prefix("i".to_owned()), Wildcard::Present)),
        ("i", of(exact("i"), exact(""))),
    ] {
        let found = source("requestPrincipals", text).request_principals.values;
        assert_eq!(found, [expected], "{text}");
    }
    for (text, expected) in [
        ("spiffe://td/ns/a/sa/b", exact("td/ns/a/sa/b")),
        ("td/ns/a/sa/b", exact("td/ns/a/sa/b")),
    ] {
        assert_eq!(source("principals", text).principals.values, [expected], "{text}");
    }
    let account = |namespace: Option<&str>| ServiceAccount {
        namespace: namespace.map(str::to_owned),
        name: "b".to_owned(),
    };
    assert_eq!(source("serviceAccounts", "b").service_accounts.values, [account(None)]);
    assert_eq!(
        source("serviceAccounts", "a/b").service_accounts.values,
        [account(Some("a"))]
    );
    let policy = accepted("{rules: [{to: [{operation: {paths: ['/a/{*}'], notPaths: ['/a*']}}]}]}");
    let paths = &policy.rules[0].to[0].paths;
    assert_eq!(paths.values, [PathPattern::Template("/a/{*}".to_owned())]);
    assert_eq!(paths.not_values, [PathPattern::Text(Wildcard::Prefix("/a".to_owned()))]);
    let policy = accepted("{rules: [{when: [{key: 'request.auth.claims[a][b.c]', values: [x]}]}]}");
    let expected = OneOf {
        values: vec![exact("x")],
        not_values: Vec::new(),
    };
    assert_eq!(
        policy.rules[0].when,
        [Condition::Claim(vec!["a".to_owned(), "b.c".to_owned()], expected)]
    );
}

/// A `*` that is no wildcard is told, since it is seldom meant.
#[test]
fn wildcards_inside_are_told() {
    let parsed = read("{rules: [{to: [{operation: {paths: ['/a/*/b']}}]}]}");
    let [found] = parsed.diagnostics.as_slice() else {
        panic!("{:?}", parsed.diagnostics);
    };
    assert_eq!(found.severity, Severity::Warning);
    assert_eq!(found.field, "spec.rules[0].to[0].operation.paths[0]");
}
