//! Decides by rules of access what a request or connection may do (Envoy, "Role Based Access Control"): pure functions of the rules and of
//! what is known of it. Nothing is allocated, and nothing nests deeper than the rules do, which is bounded where they are read.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::matcher::StringMatcher;
use crate::model::rbac::{Action, Condition, MetadataMatcher, Rules, ValueMatcher};
use crate::route::matcher::header_fits;
use crate::stream_info::StreamInfo;
use crate::stream_info::notes::Notes;
use crate::stream_info::request::RequestHead;

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;

/// What rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict<'a> {
    pub(crate) allowed: bool,
    /// The first policy that matches.
    pub(crate) policy: Option<&'a Arc<str>>,
}

/// Something that is decided about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// A connection has none.
    pub(crate) head: Option<&'a RequestHead>,
    pub(crate) info: &'a StreamInfo,
}

// === impl Rules ===

impl Rules {
    /// What they say of a request or connection.
    pub(crate) fn decide(&self, subject: Subject<'_>) -> Verdict<'_> {
        let matching = self.policies.iter().find(|policy| {
            let holds = |condition: &Condition| condition.holds(subject);
            policy.permissions.iter().any(holds) && policy.principals.iter().any(holds)
        });
        let allowed = match self.action {
            Action::Allow => matching.is_some(),
            Action::Deny => matching.is_none(),
            Action::Log => true,
        };
        Verdict {
            allowed,
            policy: matching.map(|policy| &policy.name),
        }
    }
}

// === impl Condition ===

impl Condition {
    fn holds(&self, subject: Subject<'_>) -> bool {
        let connection = &subject.info.connection;
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.holds(subject)),
            Self::One(all) => all.iter().any(|one| one.holds(subject)),
            Self::Not(one) => !one.holds(subject),
            Self::Header(matcher) => subject.head.is_some_and(|head| header_fits(matcher, head)),
            Self::Path(matcher) => subject.path().is_some_and(|path| matcher.matches(path)),
            Self::PathTemplate(template) => subject.path().is_some_and(|path| template.matches(path)),
            Self::DestinationIp(block) => block.contains(&unmapped(connection.local_addr.ip())),
            Self::DestinationPort { start, end } => (*start..*end).contains(&u32::from(connection.local_addr.port())),
            Self::ServerName(matcher) => matcher.matches(connection.server_name.as_deref().unwrap_or_default()),
            Self::Authenticated(name) => subject.is_authenticated(name.as_ref()),
            Self::SourceIp(block) => block.contains(&unmapped(connection.remote_addr.ip())),
            Self::DirectRemoteIp(block) => block.contains(&unmapped(connection.direct_remote_addr.ip())),
            Self::RemoteIp(block) => block.contains(&unmapped(subject.info.remote_addr.ip())),
            Self::Metadata(matcher) => matcher.fits(subject.info),
            Self::FilterState { key, value } => {
                let notes = subject.info.notes.as_deref();
                let state = notes.and_then(|notes| notes.state(key));
                state.is_some_and(|state| value.matches(&state.plain()))
            }
        }
    }
}

/// An address of IPv4 in its own form.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

// === impl Subject ===

impl<'a> Subject<'a> {
    fn path(self) -> Option<&'a str> {
        self.head.map(RequestHead::path_only)
    }

    /// URI names, then DNS names, then the subject: one that fits is enough.
    fn is_authenticated(self, name: Option<&StringMatcher>) -> bool {
        let Some(tls) = &self.info.connection.tls else {
            return false;
        };
        let Some(name) = name else { return true };
        let Some(peer) = &tls.peer else {
            return name.matches("");
        };
        let mut names = peer.uri_sans.iter().chain(&peer.dns_sans).chain([&peer.subject]);
        names.any(|text| name.matches(text))
    }
}

// === impl MetadataMatcher ===

impl MetadataMatcher {
    /// Whether what filters have left fits.
    pub(crate) fn fits(&self, info: &StreamInfo) -> bool {
        let notes = info.notes.as_deref();
        let found = notes.and_then(|notes| notes.find(&self.namespace, &self.path));
        self.value.fits(found) != self.invert
    }
}

// === impl ValueMatcher ===

impl ValueMatcher {
    fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Present(wanted), _) => value.is_some() == *wanted,
            (Self::One(all), _) => all.iter().any(|one| one.fits(value)),
            (Self::Null, Some(Value::Null)) => true,
            (Self::Boolean(wanted), Some(Value::Bool(found))) => wanted == found,
            (Self::Text(matcher), Some(Value::String(text))) => matcher.matches(text),
            (Self::Number { start, end }, Some(Value::Number(number))) => {
                let Some(number) = number.as_f64() else { return false };
                match end {
                    Some(end) => (*start..*end).contains(&number),
                    #[expect(clippy::float_cmp, reason = "exactly this number is asked for")]
                    None => number == *start,
                }
            }
            (Self::Item(wanted), Some(Value::Array(items))) => items.iter().any(|item| wanted.fits(Some(item))),
            (Self::Null | Self::Boolean(_) | Self::Text(_) | Self::Number { .. } | Self::Item(_), _) => false,
        }
    }
}

/// The detail of a refusal: which policy refuses, or that none lets pass. Blanks would end the word in a log.
pub(crate) fn details(policy: Option<&Arc<str>>) -> Cow<'static, str> {
    match policy {
        None => Cow::Borrowed("rbac_access_denied_matched_policy[none]"),
        Some(name) => {
            let name: String = name.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
            Cow::Owned(format!("rbac_access_denied_matched_policy[{name}]"))
        }
    }
}

/// The name of a counter behind a prefix of the configuration's, with one dot between them.
pub(crate) fn joined(prefix: &str, name: &str) -> String {
    let prefix = prefix.trim_end_matches('.');
    if prefix.is_empty() {
        return name.to_owned();
    }
    format!("{prefix}.{name}")
}

/// Leaves a result for the log and for later filters: `kind` is `enforced` or `shadow`.
pub(crate) fn note(notes: &mut Notes, namespace: &str, (prefix, kind): (&str, &str), verdict: Verdict<'_>) {
    let mut left = Map::new();
    let result = if verdict.allowed { "allowed" } else { "denied" };
    left.insert(format!("{prefix}{kind}_engine_result"), Value::from(result));
    if let Some(policy) = verdict.policy {
        left.insert(format!("{prefix}{kind}_effective_policy_id"), Value::from(&**policy));
    }
    notes.merge(namespace, &left);
}

/// Tells the log whether rules of the action LOG match.
pub(crate) fn note_log(rules: &Rules, verdict: Verdict<'_>, info: &mut StreamInfo) {
    if rules.action == Action::Log {
        let hint = Map::from_iter([("access_log_hint".to_owned(), Value::from(verdict.policy.is_some()))]);
        info.notes().merge("envoy.common", &hint);
    }
}
