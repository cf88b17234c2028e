//! Texts, addresses and metadata of policies as Envoy's matchers (Istio: `pilot/pkg/security/authz/matcher`).

use ipnet::IpNet;
use weft_api::authorization_policy::{MetadataValue, Wildcard};
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::rbac::v3 as pb;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use super::super::wire::{exact, regex, uint32};

/// Filter that leaves the verified token, as its configuration names it.
const JWT: &str = "envoy.filters.http.jwt_authn";
/// Where it leaves the claims.
const PAYLOAD: &str = "payload";
/// Start of every SPIFFE id.
const SPIFFE: &str = "spiffe://";

/// A text with a wildcard at one end.
pub(super) fn string(value: &Wildcard) -> matcher::StringMatcher {
    match value {
        Wildcard::Present => pattern(".+"),
        Wildcard::Exact(text) => exact(text),
        Wildcard::Prefix(text) => of(matcher::string_matcher::MatchPattern::Prefix(text.clone())),
        Wildcard::Suffix(text) => of(matcher::string_matcher::MatchPattern::Suffix(text.clone())),
    }
}

fn of(match_pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(match_pattern),
        ..matcher::StringMatcher::default()
    }
}

/// A text that a regular expression covers whole.
fn pattern(source: &str) -> matcher::StringMatcher {
    of(matcher::string_matcher::MatchPattern::SafeRegex(regex(source)))
}

/// A SPIFFE id that is written without its scheme.
pub(super) fn identity(value: &Wildcard) -> matcher::StringMatcher {
    string(&match value {
        Wildcard::Exact(text) => Wildcard::Exact(format!("{SPIFFE}{text}")),
        Wildcard::Prefix(text) => Wildcard::Prefix(format!("{SPIFFE}{text}")),
        other @ (Wildcard::Present | Wildcard::Suffix(_)) => other.clone(),
    })
}

/// Any SPIFFE id of a namespace, in which `*` is any text.
pub(super) fn namespace(name: &str) -> matcher::StringMatcher {
    let parts: Vec<String> = name.split('*').map(regex::escape).collect();
    pattern(&format!(".*/ns/{}/.*", parts.join(".*")))
}

/// A SPIFFE id of a service account, in which other keys may stand as well.
pub(super) fn service_account(namespace: &str, name: &str) -> matcher::StringMatcher {
    let (namespace, name) = (regex::escape(namespace), regex::escape(name));
    pattern(&format!("{SPIFFE}.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"))
}

/// Any SPIFFE id of a trust domain.
pub(super) fn trust_domain(value: &Wildcard) -> matcher::StringMatcher {
    match value {
        Wildcard::Present => pattern(&format!("{SPIFFE}.+")),
        Wildcard::Exact(text) => string(&Wildcard::Prefix(format!("{SPIFFE}{text}/"))),
        Wildcard::Prefix(text) => string(&Wildcard::Prefix(format!("{SPIFFE}{text}"))),
        Wildcard::Suffix(text) => pattern(&format!("{SPIFFE}[^/]*{}/.*", regex::escape(text))),
    }
}

/// A header; hosts are the same in capitals.
pub(super) fn header(name: &str, value: &Wildcard, ignore_case: bool) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    let specifier = match value {
        Wildcard::Present => HeaderMatchSpecifier::PresentMatch(true),
        text @ (Wildcard::Exact(_) | Wildcard::Prefix(_) | Wildcard::Suffix(_)) => {
            HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
                ignore_case,
                ..string(text)
            })
        }
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..route::HeaderMatcher::default()
    }
}

/// A path without its query.
pub(super) fn path(value: &Wildcard) -> matcher::PathMatcher {
    matcher::PathMatcher {
        rule: Some(matcher::path_matcher::Rule::Path(string(value))),
    }
}

pub(super) fn block(value: &IpNet) -> core::CidrRange {
    core::CidrRange {
        address_prefix: value.addr().to_string(),
        prefix_len: Some(uint32(u32::from(value.prefix_len()))),
    }
}

/// A text among the claims of a token.
pub(super) fn claim_text(name: &str, value: &Wildcard) -> pb::SourcedMetadata {
    metadata(JWT, &[PAYLOAD, name], text(value))
}

/// A claim that is one of some texts, or a list with one of them.
pub(super) fn claim(path: &[String], values: &[Wildcard]) -> pb::SourcedMetadata {
    let wanted = one(values.iter().map(text).collect());
    let path: Vec<&str> = std::iter::once(PAYLOAD)
        .chain(path.iter().map(String::as_str))
        .collect();
    metadata(JWT, &path, one(vec![item(wanted.clone()), wanted]))
}

/// What a filter left under a name.
pub(super) fn left_by(filter: &str, key: &str, values: &[MetadataValue]) -> pb::SourcedMetadata {
    let value = |value: &MetadataValue| match value {
        MetadataValue::Text(wanted) => text(wanted),
        MetadataValue::Item(wanted) => item(text(wanted)),
    };
    metadata(filter, &[key], one(values.iter().map(value).collect()))
}

/// Dynamic metadata of the request.
fn metadata(filter: &str, path: &[&str], value: matcher::ValueMatcher) -> pb::SourcedMetadata {
    let segment = |name: &&str| matcher::metadata_matcher::PathSegment {
        segment: Some(matcher::metadata_matcher::path_segment::Segment::Key(
            (*name).to_owned(),
        )),
    };
    pb::SourcedMetadata {
        metadata_matcher: Some(matcher::MetadataMatcher {
            filter: filter.to_owned(),
            path: path.iter().map(segment).collect(),
            value: Some(value),
            invert: false,
        }),
        metadata_source: pb::MetadataSource::Dynamic as i32,
    }
}

fn value(match_pattern: matcher::value_matcher::MatchPattern) -> matcher::ValueMatcher {
    matcher::ValueMatcher {
        match_pattern: Some(match_pattern),
    }
}

pub(super) fn text(wanted: &Wildcard) -> matcher::ValueMatcher {
    value(matcher::value_matcher::MatchPattern::StringMatch(string(wanted)))
}

/// A list with such an item.
fn item(wanted: matcher::ValueMatcher) -> matcher::ValueMatcher {
    let one_of = matcher::list_matcher::MatchPattern::OneOf(Box::new(wanted));
    value(matcher::value_matcher::MatchPattern::ListMatch(Box::new(
        matcher::ListMatcher {
            match_pattern: Some(one_of),
        },
    )))
}

/// One of several.
fn one(mut value_matchers: Vec<matcher::ValueMatcher>) -> matcher::ValueMatcher {
    match (value_matchers.len(), value_matchers.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            value_matchers.extend(last);
            value(matcher::value_matcher::MatchPattern::OrMatch(matcher::OrMatcher {
                value_matchers,
            }))
        }
    }
}
