//! The evaluator against a slow reading of the same rules.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::model::listener::Direction;
use crate::model::matcher::{HeaderKey, HeaderMatcher, HeaderValueMatcher};
use crate::model::path_template::PathTemplate;
use crate::model::rbac::Policy;
use crate::model::tls::TlsVersion;
use crate::stream_info::connection::{ConnectionInfo, PeerCertificate, TlsInfo};
use crate::stream_info::request::Scheme;

/// What is known of one request, in the simplest form.
#[derive(Clone, Debug)]
struct Facts {
    path: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    peer: Option<Option<&'static str>>,
    source: u8,
    remote: u8,
    port: u16,
    claim: Option<&'static str>,
}

const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/a/b/c"];
const TEXTS: [&str; 4] = ["a", "b", "ab", ""];
const PEERS: [&str; 3] = ["spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/y", ""];

fn exact(text: &str) -> StringMatcher {
    StringMatcher::Exact {
        value: text.into(),
        ignore_case: false,
    }
}

fn block(low: u8) -> ipnet::IpNet {
    format!("10.0.0.{low}/31").parse().unwrap()
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        Just(Condition::Any),
        prop::sample::select(&PATHS[..]).prop_map(|path| Condition::Path(exact(path))),
        prop::sample::select(&["/a", "/*/*", "/a/**"][..])
            .prop_map(|form| Condition::PathTemplate(PathTemplate::parse(form).unwrap())),
        (
            prop::sample::select(&["x-a", "x-b"][..]),
            prop::sample::select(&TEXTS[..]),
            any::<bool>()
        )
            .prop_map(|(name, text, invert)| Condition::Header(HeaderMatcher {
                name: HeaderKey::Name(HeaderName::from_static(name)),
                value: HeaderValueMatcher::String(exact(text)),
                invert,
                treat_missing_as_empty: false,
            })),
        prop::option::of(prop::sample::select(&PEERS[..])).prop_map(|name| Condition::Authenticated(name.map(exact))),
        (0u8..4).prop_map(|low| Condition::SourceIp(block(low * 2))),
        (0u8..4).prop_map(|low| Condition::RemoteIp(block(low * 2))),
        (0u32..4).prop_map(|start| Condition::DestinationPort { start, end: start + 2 }),
        (prop::sample::select(&TEXTS[..]), any::<bool>()).prop_map(|(text, invert)| {
            Condition::Metadata(MetadataMatcher {
                namespace: "n".into(),
                path: vec!["k".into()],
                value: ValueMatcher::Text(exact(text)),
                invert,
            })
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::One),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let some = || prop::collection::vec(condition(), 1..4);
    let policies = prop::collection::vec((some(), some()), 0..4);
    let action = prop::sample::select(&[Action::Allow, Action::Deny, Action::Log][..]);
    (action, policies).prop_map(|(action, policies)| Rules {
        action,
        policies: policies
            .into_iter()
            .enumerate()
            .map(|(index, (permissions, principals))| Policy {
                name: format!("p{index}").into(),
                permissions,
                principals,
            })
            .collect(),
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let header = (
        prop::sample::select(&["x-a", "x-b"][..]),
        prop::sample::select(&TEXTS[..]),
    );
    let peer = prop::option::of(prop::option::of(prop::sample::select(&PEERS[..2])));
    (
        prop::option::of(prop::sample::select(&PATHS[..])),
        prop::collection::vec(header, 0..3),
        peer,
        0u8..8,
        0u8..8,
        0u16..6,
        prop::option::of(prop::sample::select(&TEXTS[..])),
    )
        .prop_map(|(path, headers, peer, source, remote, port, claim)| Facts {
            headers: if path.is_some() { headers } else { Vec::new() },
            path,
            peer,
            source,
            remote,
            port,
            claim,
        })
}

/// The rules read word for word.
fn slow(rules: &Rules, facts: &Facts) -> (bool, Option<String>) {
    let mut first = None;
    for policy in &rules.policies {
        let permitted = policy.permissions.iter().filter(|one| holds(one, facts)).count() > 0;
        let known = policy.principals.iter().filter(|one| holds(one, facts)).count() > 0;
        if permitted && known && first.is_none() {
            first = Some(policy.name.to_string());
        }
    }
    let allowed = match rules.action {
        Action::Allow => first.is_some(),
        Action::Deny => first.is_none(),
        Action::Log => true,
    };
    (allowed, first)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other conditions are not generated")]
fn holds(condition: &Condition, facts: &Facts) -> bool {
    let in_block = |block: &ipnet::IpNet, low: u8| block.contains(&IpAddr::from([10, 0, 0, low]));
    match condition {
        Condition::Any => true,
        Condition::All(all) => all.iter().filter(|one| !holds(one, facts)).count() == 0,
        Condition::One(all) => all.iter().filter(|one| holds(one, facts)).count() > 0,
        Condition::Not(one) => !holds(one, facts),
        Condition::Path(wanted) => facts.path.is_some_and(|path| wanted.matches(path)),
        Condition::PathTemplate(form) => match (form.to_string().as_str(), facts.path) {
            (_, None) => false,
            ("/a", Some(path)) => path == "/a",
            ("/*/*", Some(path)) => path == "/a/b",
            (_, Some(path)) => path == "/a/b" || path == "/a/b/c",
        },
        Condition::Header(matcher) => {
            let HeaderKey::Name(name) = &matcher.name else {
                return false;
            };
            let HeaderValueMatcher::String(wanted) = &matcher.value else {
                return false;
            };
            let lines: Vec<_> = facts.headers.iter().filter(|(known, _)| name == known).collect();
            !lines.is_empty() && (lines.iter().any(|(_, text)| wanted.matches(text)) != matcher.invert)
        }
        Condition::Authenticated(name) => match (&facts.peer, name) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(peer), Some(name)) => {
                // The subject of these certificates is empty.
                name.matches("") || peer.is_some_and(|peer| name.matches(peer))
            }
        },
        Condition::SourceIp(block) => in_block(block, facts.source),
        Condition::RemoteIp(block) => in_block(block, facts.remote),
        Condition::DestinationPort { start, end } => (*start..*end).contains(&u32::from(facts.port)),
        Condition::Metadata(matcher) => {
            let ValueMatcher::Text(wanted) = &matcher.value else {
                return false;
            };
            facts.claim.is_some_and(|claim| wanted.matches(claim)) != matcher.invert
        }
        other => unreachable!("{other:?} is not generated"),
    }
}

fn info(facts: &Facts) -> StreamInfo {
    let tls = facts.peer.map(|peer| TlsInfo {
        version: TlsVersion::V1_3,
        cipher: "",
        alpn: None,
        local_uri_san: None,
        peer: peer.map(|peer| PeerCertificate {
            uri_sans: vec![peer.into()],
            ..PeerCertificate::default()
        }),
    });
    let address = |low: u8| ([10, 0, 0, low], 1000).into();
    let connection = ConnectionInfo {
        id: 1,
        listener: "l".into(),
        direction: Direction::Inbound,
        filter_chain: "".into(),
        local_addr: ([10, 1, 0, 1], facts.port).into(),
        remote_addr: address(facts.source),
        direct_remote_addr: address(facts.source),
        original_dst: None,
        accepted_at: Instant::now(),
        server_name: None,
        tls,
        identity: None,
        told: Default::default(),
        journal: Default::default(),
    };
    let mut info = StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::UNIX_EPOCH);
    info.remote_addr = address(facts.remote);
    if let Some(claim) = facts.claim {
        let left = Map::from_iter([("k".to_owned(), Value::from(claim))]);
        info.notes().merge("n", &left);
    }
    info
}

fn head(facts: &Facts) -> Option<RequestHead> {
    let mut headers = HeaderMap::new();
    for (name, text) in &facts.headers {
        headers.append(*name, HeaderValue::from_static(text));
    }
    Some(RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: HeaderValue::from_static("e"),
        path: facts.path?.parse().unwrap(),
        headers,
        version: Version::HTTP_11,
        grpc: false,
        grpc_upstream: false,
        upgrade: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn it_decides_as_the_rules_read(rules in rules(), facts in facts()) {
        let (info, head) = (info(&facts), head(&facts));
        let verdict = rules.decide(Subject { head: head.as_ref(), info: &info });
        let (allowed, first) = slow(&rules, &facts);
        prop_assert_eq!(verdict.allowed, allowed);
        prop_assert_eq!(verdict.policy.map(ToString::to_string), first);
    }
}

#[test]
fn details_are_one_word() {
    for (policy, expected) in [
        (None, "rbac_access_denied_matched_policy[none]"),
        (
            Some("ns[a]-policy[b]-rule[0]"),
            "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]",
        ),
        (Some("the first"), "rbac_access_denied_matched_policy[the_first]"),
    ] {
        let policy: Option<Arc<str>> = policy.map(Arc::from);
        assert_eq!(details(policy.as_ref()), expected);
    }
}
