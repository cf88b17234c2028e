//! What AuthorizationPolicies say, read slowly, against what the RBAC filters that they turn into decide.
//!
//! Two readings that know nothing of each other: `says` follows Istio's pages ("Authorization Policy", "Authorization Policy Conditions"),
//! object by object; `decides` follows Envoy's ("RBAC"), message by message.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use weft_api::authorization_policy::{
    Action, AuthorizationPolicy, Condition, MetadataValue, OneOf, Operation, PathPattern, Rule, Source, Wildcard,
};
use weft_api::parse::parse;
use weft_api::resource::Resource;

use super::authorization::{chains, policy, sidecar};
use super::authorization_evaluated::decides;
use super::authorization_made_up::{facts, spec};

/// A request, or a connection where there is no method.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Method, host and path with its query.
    pub(super) http: Option<(&'static str, &'static str, &'static str)>,
    pub(super) headers: BTreeMap<&'static str, &'static str>,
    /// URI of the peer's certificate.
    pub(super) peer: Option<&'static str>,
    pub(super) source: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    pub(super) sni: &'static str,
    /// Claims of a verified token, by their path; several values are a list.
    pub(super) claims: BTreeMap<Vec<&'static str>, Vec<&'static str>>,
}

/// Whether policies let something through.
fn says(policies: &[AuthorizationPolicy], facts: &Facts) -> bool {
    let matching = |policy: &AuthorizationPolicy| policy.rules.iter().any(|rule| fits(&policy.action, rule, facts));
    let refused = policies.iter().any(|policy| {
        let refuses = matches!(policy.action, Action::Deny | Action::Custom { .. });
        refuses && matching(policy)
    });
    let allowing: Vec<_> = policies
        .iter()
        .filter(|policy| policy.action == Action::Allow)
        .collect();
    !refused && (allowing.is_empty() || allowing.into_iter().any(matching))
}

/// Whether a rule fits. Of a connection nobody knows what is asked for in HTTP: then no rule that allows fits, and others go without.
fn fits(action: &Action, rule: &Rule, facts: &Facts) -> bool {
    let mut unknown = false;
    let mut known = |answer: Option<bool>| {
        unknown |= answer.is_none();
        answer.unwrap_or(true)
    };
    // Every part is asked, so that what cannot be known is noticed whatever the others say.
    let from: Vec<bool> = rule
        .from
        .iter()
        .map(|source| of_source(source, facts).map(&mut known).iter().all(|fits| *fits))
        .collect();
    let to: Vec<bool> = rule
        .to
        .iter()
        .map(|to| of_operation(to, facts).map(&mut known).iter().all(|fits| *fits))
        .collect();
    let when: Vec<bool> = rule
        .when
        .iter()
        .map(|condition| known(of_condition(condition, facts)))
        .collect();
    let one = |of: &[bool]| of.is_empty() || of.contains(&true);
    one(&from) && one(&to) && !when.contains(&false) && !(unknown && *action == Action::Allow)
}

/// One of the values, none of the others.
fn one_of<T>(values: &OneOf<T>, fits: impl Fn(&T) -> bool) -> bool {
    (values.values.is_empty() || values.values.iter().any(&fits)) && !values.not_values.iter().any(&fits)
}

/// The same of what only requests have.
fn of_http<T>(values: &OneOf<T>, facts: &Facts, fits: impl Fn(&T) -> bool) -> Option<bool> {
    match (values.is_empty(), &facts.http) {
        (true, _) => Some(true),
        (false, None) => None,
        (false, Some(_)) => Some(one_of(values, fits)),
    }
}

fn text(pattern: &Wildcard, text: &str) -> bool {
    match pattern {
        Wildcard::Present => !text.is_empty(),
        Wildcard::Exact(wanted) => text == wanted,
        Wildcard::Prefix(wanted) => text.starts_with(wanted),
        Wildcard::Suffix(wanted) => text.ends_with(wanted),
    }
}

/// `td/ns/NAMESPACE/sa/ACCOUNT` of a peer.
fn identity(facts: &Facts) -> Option<[&'static str; 3]> {
    let mut parts = facts.peer?.strip_prefix("spiffe://")?.split('/');
    let domain = parts.next()?;
    let (_, namespace, _, account) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some([domain, namespace, account])
}

fn principal(pattern: &Wildcard, facts: &Facts) -> bool {
    let id = facts.peer.and_then(|peer| peer.strip_prefix("spiffe://"));
    id.is_some_and(|id| text(pattern, id))
}

fn namespace(pattern: &str, facts: &Facts) -> bool {
    fn glob(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((start, rest)) => text
                .strip_prefix(start)
                .is_some_and(|left| (0..=left.len()).any(|cut| glob(rest, &left[cut..]))),
        }
    }
    identity(facts).is_some_and(|[_, namespace, _]| glob(pattern, namespace))
}

fn account(wanted: &weft_api::authorization_policy::ServiceAccount, facts: &Facts) -> bool {
    let namespace = wanted.namespace.as_deref().unwrap_or("default");
    identity(facts).is_some_and(|[_, own, name]| own == namespace && name == wanted.name)
}

fn claim(path: &[String], pattern: &Wildcard, facts: &Facts) -> bool {
    let found = facts.claims.iter().find(|(known, _)| *known == path);
    found.is_some_and(|(_, values)| values.iter().any(|value| text(pattern, value)))
}

fn token(wanted: &weft_api::authorization_policy::RequestPrincipal, facts: &Facts) -> bool {
    claim(&["iss".to_owned()], &wanted.issuer, facts) && claim(&["sub".to_owned()], &wanted.subject, facts)
}

fn of_source(source: &Source, facts: &Facts) -> [Option<bool>; 7] {
    [
        Some(one_of(&source.principals, |one| principal(one, facts))),
        of_http(&source.request_principals, facts, |one| token(one, facts)),
        Some(one_of(&source.namespaces, |one| namespace(one, facts))),
        Some(one_of(&source.service_accounts, |one| account(one, facts))),
        Some(one_of(&source.trust_domains, |one| {
            identity(facts).is_some_and(|[domain, ..]| text(one, domain))
        })),
        Some(one_of(&source.ip_blocks, |block| block.contains(&facts.source))),
        Some(one_of(&source.remote_ip_blocks, |block| block.contains(&facts.remote))),
    ]
}

fn of_operation(to: &Operation, facts: &Facts) -> [Option<bool>; 4] {
    let (method, host, path) = facts.http.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let lower = |pattern: &Wildcard| match pattern {
        Wildcard::Present => Wildcard::Present,
        Wildcard::Exact(text) => Wildcard::Exact(text.to_lowercase()),
        Wildcard::Prefix(text) => Wildcard::Prefix(text.to_lowercase()),
        Wildcard::Suffix(text) => Wildcard::Suffix(text.to_lowercase()),
    };
    [
        of_http(&to.hosts, facts, |one| text(&lower(one), &host.to_lowercase())),
        of_http(&to.methods, facts, |one| text(one, method)),
        of_http(&to.paths, facts, |one| match one {
            PathPattern::Text(one) => text(one, path),
            PathPattern::Template(template) => {
                let pattern: Vec<&str> = template.split('/').collect();
                segments(&pattern, &path.split('/').collect::<Vec<_>>())
            }
        }),
        Some(one_of(&to.ports, |port| listening(*port) == facts.port)),
    ]
}

/// `{*}` is one segment, `{**}` any number of characters.
pub(super) fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"{**}", rest)), Some((_, left))) => segments(rest, left) || segments(pattern, left),
        (Some((&"{*}", rest)), Some((segment, left))) => !segment.is_empty() && segments(rest, left),
        (Some((wanted, rest)), Some((segment, left))) => wanted == segment && segments(rest, left),
        _ => false,
    }
}

/// Where the proxy listens for a port of the application.
fn listening(port: u16) -> u16 {
    match port {
        8080 => 18080,
        9090 => 19090,
        other => other,
    }
}

fn of_condition(condition: &Condition, facts: &Facts) -> Option<bool> {
    match condition {
        Condition::Header(name, values) => of_http(values, facts, |one| {
            facts.headers.get(name.as_str()).is_some_and(|value| match one {
                Wildcard::Present => true,
                one => text(one, value),
            })
        }),
        Condition::RequestPrincipal(values) => of_http(values, facts, |one| token(one, facts)),
        Condition::Claim(path, values) => of_http(values, facts, |one| claim(path, one, facts)),
        Condition::SourceIp(values) => Some(one_of(values, |block| block.contains(&facts.source))),
        Condition::RemoteIp(values) => Some(one_of(values, |block| block.contains(&facts.remote))),
        Condition::DestinationIp(values) => Some(one_of(values, |block| block.contains(&facts.destination))),
        Condition::SourceNamespace(values) => Some(one_of(values, |one| namespace(one, facts))),
        Condition::SourcePrincipal(values) => Some(one_of(values, |one| principal(one, facts))),
        Condition::SourceServiceAccount(values) => Some(one_of(values, |one| account(one, facts))),
        Condition::DestinationPort(values) => Some(one_of(values, |port| listening(*port) == facts.port)),
        Condition::Sni(values) => Some(one_of(values, |one| text(one, facts.sni))),
        Condition::Metadata { values, .. } => Some(one_of(values, |_: &MetadataValue| false)),
    }
}

/// Requests for each set.
const REQUESTS: usize = 50;

/// Sets: `WEFT_PROPERTY_CASES=20000` makes a million decisions.
fn cases() -> u32 {
    let wanted = std::env::var("WEFT_PROPERTY_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn filters_decide_as_policies_say(
        specs in prop::collection::vec(spec(), 1..4),
        asked in prop::collection::vec(facts(), REQUESTS),
    ) {
        let text: String = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), "default", spec)).collect();
        let parsed = parse("p.yaml", text.trim_start_matches("---\n"));
        let policies: Vec<AuthorizationPolicy> = parsed.resources.iter().map(|resource| match resource {
            Resource::AuthorizationPolicy(object) => object.spec.clone(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(policies.len(), specs.len(), "{:?}", parsed.diagnostics);
        let chains = chains(&sidecar(&text), "app-0");
        let of = |http: bool| chains.iter().find(|(name, _)| name.ends_with("http") == http).map(|(_, guards)| guards).unwrap();
        let (requests, connections) = (of(true), of(false));
        for facts in &asked {
            let guards = if facts.http.is_some() { requests } else { connections };
            let decided = guards.iter().filter_map(|guard| guard.rules.as_ref()).all(|rules| decides(rules, facts));
            prop_assert_eq!(decided, says(&policies, facts), "{:?}\n{}", facts, text);
        }
    }
}
