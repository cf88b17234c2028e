//! Permissions and principals of RBAC as one line each, for goldens.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests fails the test with what it got"
)]

use prost::Message;
use weft_proto::xds::envoy::config::core::v3::CidrRange;
use weft_proto::xds::envoy::config::rbac::v3::{self as pb, permission::Rule, principal::Identifier};
use weft_proto::xds::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use weft_proto::xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weft_proto::xds::envoy::r#type::matcher::v3::{
    StringMatcher, ValueMatcher, list_matcher, metadata_matcher::path_segment, path_matcher,
    string_matcher::MatchPattern, value_matcher,
};

pub(super) fn permission(of: &pb::Permission) -> String {
    let join = |set: &pb::permission::Set, by: &str| {
        let parts: Vec<String> = set.rules.iter().map(permission).collect();
        format!("({})", parts.join(by))
    };
    match of.rule.as_ref().unwrap() {
        Rule::Any(true) => "any".to_owned(),
        Rule::AndRules(set) => join(set, " & "),
        Rule::OrRules(set) => join(set, " | "),
        Rule::NotRule(inner) => format!("!{}", permission(inner)),
        Rule::Header(of) => header(of),
        Rule::UrlPath(of) => match of.rule.as_ref().unwrap() {
            path_matcher::Rule::Path(of) => format!("path{}", string(of)),
        },
        Rule::DestinationIp(of) => format!("destination {}", block(of)),
        Rule::DestinationPort(port) => format!("port {port}"),
        Rule::RequestedServerName(of) => format!("sni{}", string(of)),
        Rule::SourcedMetadata(of) => metadata(of),
        Rule::UriTemplate(of) => {
            let config = UriTemplateMatchConfig::decode(&*of.typed_config.as_ref().unwrap().value).unwrap();
            format!("path~{}", config.path_template)
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn principal(of: &pb::Principal) -> String {
    let join = |set: &pb::principal::Set, by: &str| {
        let parts: Vec<String> = set.ids.iter().map(principal).collect();
        format!("({})", parts.join(by))
    };
    match of.identifier.as_ref().unwrap() {
        Identifier::Any(true) => "any".to_owned(),
        Identifier::AndIds(set) => join(set, " & "),
        Identifier::OrIds(set) => join(set, " | "),
        Identifier::NotId(inner) => format!("!{}", principal(inner)),
        Identifier::Authenticated(of) => format!("peer{}", string(of.principal_name.as_ref().unwrap())),
        Identifier::DirectRemoteIp(of) => format!("source {}", block(of)),
        Identifier::RemoteIp(of) => format!("remote {}", block(of)),
        Identifier::Header(of) => header(of),
        Identifier::SourcedMetadata(of) => metadata(of),
        other => panic!("{other:?}"),
    }
}

fn header(of: &HeaderMatcher) -> String {
    match of.header_match_specifier.as_ref().unwrap() {
        HeaderMatchSpecifier::PresentMatch(true) => format!("{} is there", of.name),
        HeaderMatchSpecifier::StringMatch(value) => format!("{}{}", of.name, string(value)),
        other => panic!("{other:?}"),
    }
}

fn string(of: &StringMatcher) -> String {
    let case = if of.ignore_case { "(any case)" } else { "" };
    let text = match of.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(text) => format!("={text}"),
        MatchPattern::Prefix(text) => format!("={text}..."),
        MatchPattern::Suffix(text) => format!("=...{text}"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    };
    format!("{text}{case}")
}

fn block(of: &CidrRange) -> String {
    format!("{}/{}", of.address_prefix, of.prefix_len.unwrap().value)
}

fn metadata(of: &pb::SourcedMetadata) -> String {
    let matcher = of.metadata_matcher.as_ref().unwrap();
    let keys: Vec<&str> = matcher
        .path
        .iter()
        .map(|segment| match segment.segment.as_ref().unwrap() {
            path_segment::Segment::Key(key) => key.as_str(),
        })
        .collect();
    format!(
        "{}[{}]{}",
        matcher.filter,
        keys.join("]["),
        value(matcher.value.as_ref().unwrap())
    )
}

fn value(of: &ValueMatcher) -> String {
    match of.match_pattern.as_ref().unwrap() {
        value_matcher::MatchPattern::StringMatch(of) => string(of),
        value_matcher::MatchPattern::ListMatch(of) => match of.match_pattern.as_ref().unwrap() {
            list_matcher::MatchPattern::OneOf(of) => format!(" has {}", value(of)),
        },
        value_matcher::MatchPattern::OrMatch(of) => {
            let parts: Vec<String> = of.value_matchers.iter().map(value).collect();
            format!("({})", parts.join(" | "))
        }
        other => panic!("{other:?}"),
    }
}
