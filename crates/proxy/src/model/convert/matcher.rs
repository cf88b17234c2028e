//! String, header and query matchers.

use std::sync::Arc;

use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use super::{Path, Result, full_regex, header_key, text};
use crate::model::matcher::{HeaderMatcher, HeaderValueMatcher, QueryMatcher, StringMatcher};

pub(in crate::model) fn string_matcher(source: &matcher::StringMatcher, at: &Path) -> Result<StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let ignore_case = source.ignore_case;
    let value = |value: &str| -> Arc<str> { text(value) };
    Ok(match &source.match_pattern {
        Some(MatchPattern::Exact(exact)) => StringMatcher::Exact {
            value: value(exact),
            ignore_case,
        },
        Some(MatchPattern::Prefix(prefix)) => StringMatcher::Prefix {
            value: value(prefix),
            ignore_case,
        },
        Some(MatchPattern::Suffix(suffix)) => StringMatcher::Suffix {
            value: value(suffix),
            ignore_case,
        },
        Some(MatchPattern::Contains(contained)) => StringMatcher::Contains {
            value: value(contained),
            ignore_case,
        },
        Some(MatchPattern::SafeRegex(regex)) => {
            StringMatcher::Regex(full_regex(&regex.regex, &at.field("safe_regex").field("regex"))?)
        }
        Some(MatchPattern::Custom(_)) => return Err(at.field("custom").error("is not supported")),
        None => return Err(at.error("needs one of exact, prefix, suffix, contains, safe_regex")),
    })
}

pub(in crate::model) fn header_matchers(source: &[route::HeaderMatcher], at: &Path) -> Result<Vec<HeaderMatcher>> {
    source
        .iter()
        .enumerate()
        .map(|(index, matcher)| header_matcher(matcher, &at.index(index)))
        .collect()
}

pub(in crate::model) fn header_matcher(source: &route::HeaderMatcher, at: &Path) -> Result<HeaderMatcher> {
    use route::header_matcher::HeaderMatchSpecifier as Specifier;
    let plain = |value: &str| text(value);
    let string = |matcher| HeaderValueMatcher::String(matcher);
    let value = match &source.header_match_specifier {
        None => HeaderValueMatcher::Present(true),
        Some(Specifier::PresentMatch(present)) => HeaderValueMatcher::Present(*present),
        Some(Specifier::StringMatch(matcher)) => string(string_matcher(matcher, &at.field("string_match"))?),
        Some(Specifier::ExactMatch(value)) => string(StringMatcher::Exact {
            value: plain(value),
            ignore_case: false,
        }),
        Some(Specifier::PrefixMatch(value)) => string(StringMatcher::Prefix {
            value: plain(value),
            ignore_case: false,
        }),
        Some(Specifier::SuffixMatch(value)) => string(StringMatcher::Suffix {
            value: plain(value),
            ignore_case: false,
        }),
        Some(Specifier::ContainsMatch(value)) => string(StringMatcher::Contains {
            value: plain(value),
            ignore_case: false,
        }),
        Some(Specifier::SafeRegexMatch(regex)) => string(StringMatcher::Regex(full_regex(
            &regex.regex,
            &at.field("safe_regex_match"),
        )?)),
        Some(Specifier::RangeMatch(range)) => HeaderValueMatcher::Range {
            start: range.start,
            end: range.end,
        },
    };
    Ok(HeaderMatcher {
        name: header_key(&source.name, &at.field("name"))?,
        value,
        invert: source.invert_match,
        treat_missing_as_empty: source.treat_missing_header_as_empty,
    })
}

pub(super) fn query_matchers(source: &[route::QueryParameterMatcher], at: &Path) -> Result<Vec<QueryMatcher>> {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let one = |(index, matcher): (usize, &route::QueryParameterMatcher)| {
        let at = at.index(index);
        let value = match &matcher.query_parameter_match_specifier {
            None | Some(Specifier::PresentMatch(true)) => None,
            Some(Specifier::PresentMatch(false)) => {
                return Err(at.field("present_match").error("false is not supported"));
            }
            Some(Specifier::StringMatch(matcher)) => Some(string_matcher(matcher, &at.field("string_match"))?),
        };
        Ok(QueryMatcher {
            name: text(&matcher.name),
            value,
        })
    };
    source.iter().enumerate().map(one).collect()
}
