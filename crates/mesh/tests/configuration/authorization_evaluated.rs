//! What one set of RBAC rules decides, read off the message as Envoy's pages have it, with no care for speed.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use std::net::IpAddr;

use prost::Message;
use weft_proto::xds::envoy::config::core::v3::CidrRange;
use weft_proto::xds::envoy::config::rbac::v3::{self as pb, permission::Rule, principal::Identifier};
use weft_proto::xds::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use weft_proto::xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weft_proto::xds::envoy::r#type::matcher::v3::{
    StringMatcher, ValueMatcher, list_matcher, metadata_matcher::path_segment, path_matcher,
    string_matcher::MatchPattern, value_matcher,
};

use super::authorization_model::{Facts, segments};

/// Whether a filter lets something through.
pub(super) fn decides(rules: &pb::Rbac, facts: &Facts) -> bool {
    let matched = rules.policies.values().any(|policy| {
        policy.permissions.iter().any(|one| permission(one, facts))
            && policy.principals.iter().any(|one| principal(one, facts))
    });
    match pb::rbac::Action::try_from(rules.action).unwrap() {
        pb::rbac::Action::Allow => matched,
        pb::rbac::Action::Deny => !matched,
        pb::rbac::Action::Log => true,
    }
}

fn permission(of: &pb::Permission, facts: &Facts) -> bool {
    match of.rule.as_ref().unwrap() {
        Rule::Any(any) => *any,
        Rule::AndRules(set) => set.rules.iter().all(|one| permission(one, facts)),
        Rule::OrRules(set) => set.rules.iter().any(|one| permission(one, facts)),
        Rule::NotRule(inner) => !permission(inner, facts),
        Rule::Header(of) => header(of, facts),
        Rule::UrlPath(of) => match of.rule.as_ref().unwrap() {
            path_matcher::Rule::Path(of) => path(facts).is_some_and(|path| string(of, path)),
        },
        Rule::DestinationIp(of) => block(of, facts.destination),
        Rule::DestinationPort(port) => *port == u32::from(facts.port),
        Rule::RequestedServerName(of) => string(of, facts.sni),
        Rule::SourcedMetadata(of) => metadata(of, facts),
        Rule::UriTemplate(of) => {
            let config = UriTemplateMatchConfig::decode(&*of.typed_config.as_ref().unwrap().value).unwrap();
            let pattern: Vec<String> = config
                .path_template
                .split('/')
                .map(|part| match part {
                    "*" => "{*}".to_owned(),
                    "**" => "{**}".to_owned(),
                    other => other.to_owned(),
                })
                .collect();
            let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
            path(facts).is_some_and(|path| segments(&pattern, &path.split('/').collect::<Vec<_>>()))
        }
        other => panic!("{other:?}"),
    }
}

fn path(facts: &Facts) -> Option<&'static str> {
    facts.http.and_then(|(_, _, path)| path.split('?').next())
}

fn principal(of: &pb::Principal, facts: &Facts) -> bool {
    match of.identifier.as_ref().unwrap() {
        Identifier::Any(any) => *any,
        Identifier::AndIds(set) => set.ids.iter().all(|one| principal(one, facts)),
        Identifier::OrIds(set) => set.ids.iter().any(|one| principal(one, facts)),
        Identifier::NotId(inner) => !principal(inner, facts),
        Identifier::Authenticated(of) => facts
            .peer
            .is_some_and(|peer| string(of.principal_name.as_ref().unwrap(), peer)),
        Identifier::DirectRemoteIp(of) => block(of, facts.source),
        Identifier::RemoteIp(of) => block(of, facts.remote),
        Identifier::Header(of) => header(of, facts),
        Identifier::SourcedMetadata(of) => metadata(of, facts),
        other => panic!("{other:?}"),
    }
}

fn header(of: &HeaderMatcher, facts: &Facts) -> bool {
    let value = match (of.name.as_str(), facts.http) {
        (_, None) => None,
        (":method", Some((method, _, _))) => Some(method),
        (":authority", Some((_, host, _))) => Some(host),
        (name, Some(_)) => facts.headers.get(name).copied(),
    };
    match of.header_match_specifier.as_ref().unwrap() {
        HeaderMatchSpecifier::PresentMatch(present) => value.is_some() == *present,
        HeaderMatchSpecifier::StringMatch(of) => value.is_some_and(|value| string(of, value)),
        other => panic!("{other:?}"),
    }
}

fn string(of: &StringMatcher, text: &str) -> bool {
    let fold = |text: &str| {
        if of.ignore_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let text = fold(text);
    match of.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(wanted) => text == fold(wanted),
        MatchPattern::Prefix(wanted) => text.starts_with(&fold(wanted)),
        MatchPattern::Suffix(wanted) => text.ends_with(&fold(wanted)),
        MatchPattern::SafeRegex(of) => regex::Regex::new(&format!("^(?:{})$", of.regex))
            .unwrap()
            .is_match(&text),
        other => panic!("{other:?}"),
    }
}

fn block(of: &CidrRange, address: IpAddr) -> bool {
    let text = format!("{}/{}", of.address_prefix, of.prefix_len.unwrap().value);
    text.parse::<ipnet::IpNet>().unwrap().contains(&address)
}

fn metadata(of: &pb::SourcedMetadata, facts: &Facts) -> bool {
    let matcher = of.metadata_matcher.as_ref().unwrap();
    let path: Vec<&str> = matcher
        .path
        .iter()
        .map(|segment| match segment.segment.as_ref().unwrap() {
            path_segment::Segment::Key(key) => key.as_str(),
        })
        .collect();
    let ["payload", claim @ ..] = path.as_slice() else {
        return false;
    };
    let found = facts.claims.iter().find(|(known, _)| known.as_slice() == claim);
    found.is_some_and(|(_, values)| value(matcher.value.as_ref().unwrap(), values))
}

/// One value is a text, several are a list.
fn value(of: &ValueMatcher, values: &[&str]) -> bool {
    match (of.match_pattern.as_ref().unwrap(), values) {
        (value_matcher::MatchPattern::StringMatch(of), [only]) => string(of, only),
        (value_matcher::MatchPattern::StringMatch(_), _) => false,
        (value_matcher::MatchPattern::ListMatch(of), [_, _, ..]) => match of.match_pattern.as_ref().unwrap() {
            list_matcher::MatchPattern::OneOf(of) => values.iter().any(|one| value(of, &[one])),
        },
        (value_matcher::MatchPattern::ListMatch(_), _) => false,
        (value_matcher::MatchPattern::OrMatch(of), _) => of.value_matchers.iter().any(|one| value(one, values)),
        (other, _) => panic!("{other:?}"),
    }
}
