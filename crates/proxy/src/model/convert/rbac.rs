//! Rules of access and matches on metadata, from Envoy's messages.

use ipnet::IpNet;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::rbac::v3 as pb;
use weft_proto::xds::envoy::config::route::v3::HeaderMatcher;
use weft_proto::xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;
use weft_proto::xds::envoy::r#type::v3::Int32Range;

use super::matcher::{header_matcher, string_matcher};
use super::{Path, Result, cidr, enumeration, required, text, unpack};
use crate::model::path_template::PathTemplate;
use crate::model::rbac::{Action, Condition, MetadataMatcher, Policy, Rules, ValueMatcher};

/// Deepest nesting of conditions, and of matches on values.
const DEPTH_MAX: usize = 32;
/// Most conditions of all policies together.
const CONDITIONS_MAX: usize = 500_000;

/// What rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum About {
    Requests,
    /// Conditions on headers are refused, as by Envoy: they could never hold.
    Connections,
}

/// Reads rules; conditions in other languages and unbounded nesting are refused.
pub(in crate::model) fn rules(source: &pb::Rbac, about: About, at: &Path) -> Result<Rules> {
    if source.audit_logging_options.is_some() {
        return Err(at.field("audit_logging_options").error("is not supported"));
    }
    let action = match enumeration(source.action, at, "action")? {
        pb::rbac::Action::Allow => Action::Allow,
        pb::rbac::Action::Deny => Action::Deny,
        pb::rbac::Action::Log => Action::Log,
    };
    let at = at.field("policies");
    let mut reader = Reader {
        about,
        left: CONDITIONS_MAX,
    };
    let mut policies = Vec::with_capacity(source.policies.len());
    for (name, policy) in &source.policies {
        policies.push(reader.policy(name, policy, &at.key(name))?);
    }
    policies.sort_by(|one: &Policy, other| one.name.cmp(&other.name));
    Ok(Rules { action, policies })
}

/// Reads a match on dynamic metadata.
pub(in crate::model) fn metadata_matcher(source: &matcher::MetadataMatcher, at: &Path) -> Result<MetadataMatcher> {
    use matcher::metadata_matcher::path_segment::Segment;
    if source.filter.is_empty() {
        return Err(at.field("filter").error("is required"));
    }
    let at_path = at.field("path");
    let keys = source.path.iter().enumerate().map(|(index, segment)| {
        let Segment::Key(key) = required(segment.segment.as_ref(), &at_path.index(index), "key")?;
        Ok(text(key))
    });
    let path = keys.collect::<Result<Vec<_>>>()?;
    if path.is_empty() {
        return Err(at_path.error("is required"));
    }
    let wanted = required(source.value.as_ref(), at, "value")?;
    Ok(MetadataMatcher {
        namespace: text(&source.filter),
        path,
        value: value(wanted, &at.field("value"), DEPTH_MAX)?,
        invert: source.invert,
    })
}

struct Reader {
    about: About,
    /// How many conditions may come.
    left: usize,
}

// === impl Reader ===

impl Reader {
    fn policy(&mut self, name: &str, source: &pb::Policy, at: &Path) -> Result<Policy> {
        for (is_set, field) in [
            (source.condition.is_some(), "condition"),
            (source.checked_condition.is_some(), "checked_condition"),
            (source.cel_config.is_some(), "cel_config"),
        ] {
            if is_set {
                return Err(at
                    .field(field)
                    .error("is not supported: expressions in CEL are not read"));
            }
        }
        let at_permissions = at.field("permissions");
        let at_principals = at.field("principals");
        if source.permissions.is_empty() {
            return Err(at_permissions.error("is required"));
        }
        if source.principals.is_empty() {
            return Err(at_principals.error("is required"));
        }
        Ok(Policy {
            name: text(name),
            permissions: self.permissions(&source.permissions, &at_permissions, DEPTH_MAX)?,
            principals: self.principals(&source.principals, &at_principals, DEPTH_MAX)?,
        })
    }

    fn count(&mut self, depth: usize, at: &Path) -> Result<usize> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| at.error(format!("is one condition more than {CONDITIONS_MAX}")))?;
        let deeper = depth.checked_sub(1);
        deeper.ok_or_else(|| at.error(format!("is nested deeper than {DEPTH_MAX} conditions")))
    }

    fn header(&self, source: &HeaderMatcher, at: &Path) -> Result<Condition> {
        if self.about == About::Connections {
            return Err(at.error("connections have no headers"));
        }
        Ok(Condition::Header(header_matcher(source, at)?))
    }

    fn permissions(&mut self, all: &[pb::Permission], at: &Path, depth: usize) -> Result<Vec<Condition>> {
        let read = |(index, one): (usize, &pb::Permission)| self.permission(one, &at.index(index), depth);
        all.iter().enumerate().map(read).collect()
    }

    fn permission(&mut self, source: &pb::Permission, at: &Path, depth: usize) -> Result<Condition> {
        use pb::permission::Rule;
        let depth = self.count(depth, at)?;
        Ok(match required(source.rule.as_ref(), at, "rule")? {
            Rule::Any(any) => always(*any, at)?,
            Rule::AndRules(set) => {
                Condition::All(self.permissions(&set.rules, &set_at(at, "and_rules", "rules"), depth)?)
            }
            Rule::OrRules(set) => {
                Condition::One(self.permissions(&set.rules, &set_at(at, "or_rules", "rules"), depth)?)
            }
            Rule::NotRule(one) => Condition::Not(Box::new(self.permission(one, &at.field("not_rule"), depth)?)),
            Rule::Header(header) => self.header(header, &at.field("header"))?,
            Rule::UrlPath(path) => url_path(path, &at.field("url_path"))?,
            Rule::UriTemplate(extension) => template(extension, &at.field("uri_template"))?,
            Rule::DestinationIp(range) => Condition::DestinationIp(block(range, &at.field("destination_ip"))?),
            Rule::DestinationPort(port) => ports(*port, port.saturating_add(1), &at.field("destination_port"))?,
            Rule::DestinationPortRange(range) => port_range(range, &at.field("destination_port_range"))?,
            Rule::RequestedServerName(name) => {
                Condition::ServerName(string_matcher(name, &at.field("requested_server_name"))?)
            }
            Rule::Metadata(of) => Condition::Metadata(metadata_matcher(of, &at.field("metadata"))?),
            Rule::SourcedMetadata(of) => sourced(of, &at.field("sourced_metadata"))?,
            Rule::Matcher(_) => return Err(at.field("matcher").error("is not supported")),
        })
    }

    fn principals(&mut self, all: &[pb::Principal], at: &Path, depth: usize) -> Result<Vec<Condition>> {
        let read = |(index, one): (usize, &pb::Principal)| self.principal(one, &at.index(index), depth);
        all.iter().enumerate().map(read).collect()
    }

    fn principal(&mut self, source: &pb::Principal, at: &Path, depth: usize) -> Result<Condition> {
        use pb::principal::Identifier;
        let depth = self.count(depth, at)?;
        Ok(match required(source.identifier.as_ref(), at, "identifier")? {
            Identifier::Any(any) => always(*any, at)?,
            Identifier::AndIds(set) => {
                Condition::All(self.principals(&set.ids, &set_at(at, "and_ids", "ids"), depth)?)
            }
            Identifier::OrIds(set) => Condition::One(self.principals(&set.ids, &set_at(at, "or_ids", "ids"), depth)?),
            Identifier::NotId(one) => Condition::Not(Box::new(self.principal(one, &at.field("not_id"), depth)?)),
            Identifier::Authenticated(who) => {
                let at = at.field("authenticated").field("principal_name");
                let name = who.principal_name.as_ref().map(|name| string_matcher(name, &at));
                Condition::Authenticated(name.transpose()?)
            }
            Identifier::SourceIp(range) => Condition::SourceIp(block(range, &at.field("source_ip"))?),
            Identifier::DirectRemoteIp(range) => {
                Condition::DirectRemoteIp(block(range, &at.field("direct_remote_ip"))?)
            }
            Identifier::RemoteIp(range) => Condition::RemoteIp(block(range, &at.field("remote_ip"))?),
            Identifier::Header(header) => self.header(header, &at.field("header"))?,
            Identifier::UrlPath(path) => url_path(path, &at.field("url_path"))?,
            Identifier::Metadata(of) => Condition::Metadata(metadata_matcher(of, &at.field("metadata"))?),
            Identifier::SourcedMetadata(of) => sourced(of, &at.field("sourced_metadata"))?,
            Identifier::FilterState(of) => filter_state(of, &at.field("filter_state"))?,
            Identifier::Custom(_) => return Err(at.field("custom").error("is not supported")),
        })
    }
}

fn set_at(at: &Path, set: &str, list: &str) -> Path {
    at.field(set).field(list)
}

fn always(any: bool, at: &Path) -> Result<Condition> {
    if any {
        return Ok(Condition::Any);
    }
    Err(at.field("any").error("must be true where it is said"))
}

fn url_path(source: &matcher::PathMatcher, at: &Path) -> Result<Condition> {
    let matcher::path_matcher::Rule::Path(path) = required(source.rule.as_ref(), at, "path")?;
    Ok(Condition::Path(string_matcher(path, &at.field("path"))?))
}

fn template(source: &core::TypedExtensionConfig, at: &Path) -> Result<Condition> {
    let at = at.field("typed_config");
    let any = required(source.typed_config.as_ref(), &at, "@type")?;
    let config: UriTemplateMatchConfig = unpack(any, &at)?;
    let parsed = PathTemplate::parse(&config.path_template);
    let parsed = parsed.map_err(|error| {
        let template = &config.path_template;
        at.field("path_template").error(format!("{template:?} {error}"))
    })?;
    Ok(Condition::PathTemplate(parsed))
}

fn block(source: &core::CidrRange, at: &Path) -> Result<IpNet> {
    cidr(source, at)
}

fn ports(start: u32, end: u32, at: &Path) -> Result<Condition> {
    if start > 65_535 || end > 65_536 || start >= end {
        return Err(at.error("is no port between 0 and 65535, or no range of them"));
    }
    Ok(Condition::DestinationPort { start, end })
}

fn port_range(source: &Int32Range, at: &Path) -> Result<Condition> {
    let port = |value: i32| u32::try_from(value).unwrap_or(u32::MAX);
    ports(port(source.start), port(source.end), at)
}

fn sourced(source: &pb::SourcedMetadata, at: &Path) -> Result<Condition> {
    match enumeration(source.metadata_source, at, "metadata_source")? {
        pb::MetadataSource::Dynamic => {}
        pb::MetadataSource::Route => {
            return Err(at.field("metadata_source").error("ROUTE is not supported, use DYNAMIC"));
        }
    }
    let of = required(source.metadata_matcher.as_ref(), at, "metadata_matcher")?;
    Ok(Condition::Metadata(metadata_matcher(
        of,
        &at.field("metadata_matcher"),
    )?))
}

fn filter_state(source: &matcher::FilterStateMatcher, at: &Path) -> Result<Condition> {
    use matcher::filter_state_matcher::Matcher;
    match required(source.matcher.as_ref(), at, "string_match")? {
        Matcher::StringMatch(value) => Ok(Condition::FilterState {
            key: text(&source.key),
            value: string_matcher(value, &at.field("string_match"))?,
        }),
        Matcher::AddressMatch(_) => Err(at.field("address_match").error("is not supported, use string_match")),
    }
}

fn value(source: &matcher::ValueMatcher, at: &Path, depth: usize) -> Result<ValueMatcher> {
    use matcher::value_matcher::MatchPattern;
    let Some(depth) = depth.checked_sub(1) else {
        return Err(at.error(format!("is nested deeper than {DEPTH_MAX} matches")));
    };
    Ok(match required(source.match_pattern.as_ref(), at, "match_pattern")? {
        MatchPattern::NullMatch(_) => ValueMatcher::Null,
        MatchPattern::DoubleMatch(number) => double(number, &at.field("double_match"))?,
        MatchPattern::StringMatch(text) => ValueMatcher::Text(string_matcher(text, &at.field("string_match"))?),
        MatchPattern::BoolMatch(wanted) => ValueMatcher::Boolean(*wanted),
        MatchPattern::PresentMatch(wanted) => ValueMatcher::Present(*wanted),
        MatchPattern::ListMatch(list) => {
            let at = at.field("list_match");
            let matcher::list_matcher::MatchPattern::OneOf(item) =
                required(list.match_pattern.as_ref(), &at, "one_of")?;
            ValueMatcher::Item(Box::new(value(item, &at.field("one_of"), depth)?))
        }
        MatchPattern::OrMatch(several) => {
            let at = at.field("or_match").field("value_matchers");
            let all = several.value_matchers.iter().enumerate();
            ValueMatcher::One(
                all.map(|(index, one)| value(one, &at.index(index), depth))
                    .collect::<Result<_>>()?,
            )
        }
    })
}

fn double(source: &matcher::DoubleMatcher, at: &Path) -> Result<ValueMatcher> {
    use matcher::double_matcher::MatchPattern;
    Ok(match required(source.match_pattern.as_ref(), at, "exact")? {
        MatchPattern::Exact(number) => ValueMatcher::Number {
            start: *number,
            end: None,
        },
        MatchPattern::Range(range) => ValueMatcher::Number {
            start: range.start,
            end: Some(range.end),
        },
    })
}
