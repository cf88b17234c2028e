//! Policies, requests and connections that are made up.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test with what it got")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::authorization_model::Facts;

/// `NAME: [VALUES]` or `notNAME: [VALUES]` of some values.
fn field(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<String> {
    let not = format!("not{}{}", name[..1].to_uppercase(), &name[1..]);
    (prop::collection::vec(select(values), 1..3), any::<bool>())
        .prop_map(move |(values, negated)| {
            let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
            let name = if negated { not.as_str() } else { name };
            format!("{name}: [{}]", quoted.join(", "))
        })
        .boxed()
}

const IDS: &[&str] = &[
    "*",
    "cluster.local/ns/a/sa/x",
    "cluster.local/ns/a/*",
    "*/sa/x",
    "spiffe://td/ns/b/sa/y",
    "td/*",
];
const NETS: &[&str] = &["10.0.0.0/8", "10.0.0.1", "0.0.0.0/0", "::1", "2001:db8::/32"];
const TOKENS: &[&str] = &["*", "i/s", "i/*", "*/s", "https://i/s", "https://i/*", "i", "i*", "*s"];
const PORTS: &[&str] = &["8080", "9090", "17070", "1"];
const TEXTS: &[&str] = &["*", "a", "a*", "*b", "ab"];

fn source() -> BoxedStrategy<String> {
    let by_id = prop_oneof![
        field("principals", IDS),
        field("namespaces", &["a", "a*", "*", "b", "*b"]),
    ];
    let other = prop_oneof![
        field("requestPrincipals", TOKENS),
        field("ipBlocks", NETS),
        field("remoteIpBlocks", NETS),
        field("trustDomains", &["cluster.local", "td", "*", "t*", "*d", "*.local"]),
        field("serviceAccounts", &["x", "a/x", "b/y"]),
    ];
    prop_oneof![
        by_id.clone(),
        other,
        (by_id, field("ipBlocks", NETS)).prop_map(|(one, two)| format!("{one}, {two}")),
        (
            field("serviceAccounts", &["x", "a/x"]),
            field("requestPrincipals", TOKENS)
        )
            .prop_map(|(one, two)| format!("{one}, {two}")),
    ]
    .prop_map(|fields| format!("{{source: {{{fields}}}}}"))
    .boxed()
}

fn operation() -> BoxedStrategy<String> {
    const PATHS: &[&str] = &["*", "/a", "/a*", "*.js", "/a/{*}", "/{**}", "/a/{**}", "/{*}/b"];
    let one = prop_oneof![
        field("hosts", &["*", "a.com", "A.COM", "*.com", "a*"]),
        field("methods", &["GET", "P*", "*", "*T"]),
        field("paths", PATHS),
        field("ports", PORTS),
    ];
    prop_oneof![
        one,
        (field("methods", &["GET", "PUT"]), field("ports", PORTS)).prop_map(|(one, two)| format!("{one}, {two}")),
        (field("hosts", &["a.com", "b.com"]), field("paths", PATHS)).prop_map(|(one, two)| format!("{one}, {two}")),
    ]
    .prop_map(|fields| format!("{{operation: {{{fields}}}}}"))
    .boxed()
}

fn condition() -> BoxedStrategy<String> {
    let of = |key: &'static str, values| {
        field("values", values).prop_map(move |values| format!("{{key: '{key}', {values}}}"))
    };
    prop_oneof![
        of("request.headers[x-a]", TEXTS),
        of("source.ip", NETS),
        of("remote.ip", NETS),
        of("destination.ip", NETS),
        of("destination.port", PORTS),
        of("source.namespace", &["a", "*", "b*"]),
        of("source.principal", IDS),
        of("source.serviceAccount", &["x", "a/x"]),
        of("request.auth.principal", TOKENS),
        of("request.auth.audiences", TEXTS),
        of("request.auth.presenter", TEXTS),
        of("request.auth.claims[r][g]", TEXTS),
        of("connection.sni", &["*", "a.com", "*.com"]),
        of("experimental.envoy.filters.x[y]", &["[a]", "a"]),
    ]
    .boxed()
}

fn rule() -> BoxedStrategy<String> {
    let part = |name: &'static str, items: BoxedStrategy<String>, max: usize| {
        prop::collection::vec(items, 0..=max).prop_map(move |items| {
            let text = items.join(", ");
            if text.is_empty() {
                String::new()
            } else {
                format!("{name}: [{text}], ")
            }
        })
    };
    (
        part("from", source(), 2),
        part("to", operation(), 2),
        part("when", condition(), 2),
    )
        .prop_map(|(from, to, when)| format!("{{{from}{to}{when}}}"))
        .boxed()
}

pub(super) fn spec() -> BoxedStrategy<String> {
    let rules = prop::collection::vec(rule(), 1..3);
    let action = select(&["ALLOW", "ALLOW", "DENY", "AUDIT"][..]);
    prop_oneof![
        8 => (action, rules).prop_map(|(action, rules)| format!("{{action: {action}, rules: [{}]}}", rules.join(", "))),
        1 => operation().prop_map(|to| format!("{{action: CUSTOM, provider: {{name: x}}, rules: [{{to: [{to}]}}]}}")),
        1 => Just("{}".to_owned()),
    ]
    .boxed()
}

pub(super) fn facts() -> BoxedStrategy<Facts> {
    const ADDRESSES: &[&str] = &["10.0.0.1", "10.9.9.9", "192.0.2.1", "::1", "2001:db8::5"];
    const PEERS: &[Option<&str>] = &[
        None,
        Some("spiffe://cluster.local/ns/a/sa/x"),
        Some("spiffe://cluster.local/ns/ab/sa/x"),
        Some("spiffe://td/ns/b/sa/y"),
        Some("spiffe://td/ns/a/sa/x"),
    ];
    let address = || select(ADDRESSES).prop_map(|text| text.parse::<IpAddr>().unwrap());
    let http = prop::option::weighted(
        0.7,
        (
            select(&["GET", "PUT", "POST"][..]),
            select(&["a.com", "A.com", "b.com", "a.com:80"][..]),
            select(&["/", "/a", "/a?x=/b", "/a/b", "/a/b/c", "/x.js", "/x/b"][..]),
        ),
    );
    let values = || prop::collection::vec(select(&["a", "ab", "b", "c"][..]), 1..3);
    let header = prop::option::of(select(&["a", "ab", "c", ""][..]));
    let token = prop::option::of((
        select(&["i", "https://i"][..]),
        select(&["s", "as"][..]),
        values(),
        values(),
    ));
    (
        http,
        header,
        select(PEERS),
        (address(), address(), address()),
        select(&[18080, 19090, 17070][..]),
        select(&["", "a.com", "b.org"][..]),
        token,
    )
        .prop_map(
            |(http, header, peer, (source, remote, destination), port, sni, token)| Facts {
                headers: header.map(|value| ("x-a", value)).into_iter().collect(),
                claims: token.filter(|_| http.is_some()).map_or_else(
                    BTreeMap::new,
                    |(issuer, subject, audiences, groups)| {
                        BTreeMap::from([
                            (vec!["iss"], vec![issuer]),
                            (vec!["sub"], vec![subject]),
                            (vec!["aud"], audiences),
                            (vec!["azp"], vec!["ab"]),
                            (vec!["r", "g"], groups),
                        ])
                    },
                ),
                http,
                peer,
                source,
                remote,
                destination,
                port,
                sni,
            },
        )
        .boxed()
}
