//! Asks rules of what is read. The rules themselves are beside, by kind.

pub(super) mod destination_rule;
pub(super) mod gateway;
pub(super) mod policy;
pub(super) mod service_entry;
pub(super) mod shared;
pub(super) mod sidecar;
pub(super) mod virtual_service;

use std::collections::HashSet;
use std::net::IpAddr;

use super::check;
use super::report::{SHOWN_MAX, shown};
use super::tree::{Entry, Node, Value};
use crate::rule::{Format, Rule, Test};

/// One place where a rule is broken.
#[derive(Debug)]
pub(super) struct Broken<'n> {
    /// The rule's field, with the number of the item.
    pub(super) field: String,
    /// The value that breaks it, if it is one.
    pub(super) node: Option<&'n Node>,
}

/// A value by which items of a list are compared, however it is written.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'n> {
    Number(i64),
    Address(IpAddr),
    Text(&'n str),
}

/// What a test is about: an object, or an item of a list.
#[derive(Clone, Copy, Debug)]
enum Of<'n> {
    Object(&'n [Entry]),
    Item(&'n Node),
}

/// Where an object breaks a rule: each item of a list that does, else the object once.
pub(super) fn broken<'n>(rule: &Rule, entries: &'n [Entry]) -> Vec<Broken<'n>> {
    let of = Of::Object(entries);
    if !rule.refused.holds(of) {
        return Vec::new();
    }
    let (field, inner) = rule.parts();
    let Some(inner) = inner else {
        return vec![Broken {
            field: field.to_owned(),
            node: of.get(field),
        }];
    };
    let place = |(item, node): (String, &'n Node)| Broken {
        field: format!("{field}{item}{inner}"),
        node: Some(Of::Item(node).get(inner.trim_start_matches('.')).unwrap_or(node)),
    };
    rule.refused.items(of).into_iter().map(place).collect()
}

// === impl Broken ===

impl Broken<'_> {
    /// The message of a rule, with the value that it is about.
    pub(super) fn says(&self, rule: &Rule, message: &str) -> String {
        match (&rule.refused, self.node) {
            (Test::Twice(_, [key, ..]), Some(item)) => {
                let twice = Of::Item(item).get(key).map(|node| format!(", {}", shown(node)));
                format!("{message}{}", twice.unwrap_or_default())
            }
            (_, Some(node)) if rule.quotes => match &node.value {
                Value::Scalar { text, .. } if node.describe() == "text" => {
                    let short: String = text.chars().take(SHOWN_MAX).collect();
                    format!("{short:?} {message}")
                }
                Value::Scalar { .. } | Value::List(_) | Value::Map(_) => format!("{} {message}", shown(node)),
            },
            _ => message.to_owned(),
        }
    }
}

// === impl Of ===

impl<'n> Of<'n> {
    /// The value at a path; null is absent.
    fn get(self, path: &str) -> Option<&'n Node> {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        let mut node = match (self, names.next()) {
            (Self::Item(node), None) => node,
            (Self::Item(node), Some(name)) => field(fields(node)?, name)?,
            (Self::Object(entries), Some(name)) => field(entries, name)?,
            (Self::Object(_), None) => return None,
        };
        for name in names {
            node = field(fields(node)?, name)?;
        }
        Some(node)
    }

    /// A scalar as it is written.
    fn scalar(self, path: &str) -> Option<&'n str> {
        match &self.get(path)?.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A scalar that is text.
    fn text(self, path: &str) -> Option<&'n str> {
        let is_text = self.get(path).is_some_and(|node| node.describe() == "text");
        self.scalar(path).filter(|_| is_text)
    }

    /// A whole number; `Some(None)` for what is something else.
    fn number(self, path: &str) -> Option<Option<i64>> {
        self.get(path).map(|node| match &node.value {
            Value::Scalar { text, plain: true } => text.parse().ok(),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
        })
    }

    /// A scalar as it is compared with those of other items.
    fn key(self, path: &str) -> Option<Key<'n>> {
        let text = self.scalar(path)?;
        let number = self.number(path).flatten().map(Key::Number);
        let address = || text.parse().ok().map(Key::Address);
        number.or_else(address).or(Some(Key::Text(text)))
    }

    fn items(self, path: &str) -> &'n [Node] {
        match self.get(path).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            Some(Value::Scalar { .. } | Value::Map(_)) | None => &[],
        }
    }

    fn entries(self, path: &str) -> &'n [Entry] {
        self.get(path).and_then(fields).unwrap_or_default()
    }

    fn length(self, path: &str) -> Option<usize> {
        self.get(path).map(|node| match &node.value {
            Value::Scalar { text, .. } => text.len(),
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
        })
    }
}

fn fields(node: &Node) -> Option<&[Entry]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        Value::Scalar { .. } | Value::List(_) => None,
    }
}

fn field<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Node> {
    let entry = entries.iter().find(|entry| entry.key == name)?;
    (!entry.node.is_null()).then_some(&entry.node)
}

// === impl Test ===

impl Test {
    fn holds(&self, of: Of<'_>) -> bool {
        let is = |path: &str, words: &[&str]| of.text(path).is_some_and(|text| words.contains(&text));
        let set = |paths: &[&str]| paths.iter().filter(|path| of.get(path).is_some()).count();
        match self {
            Self::AnySet(paths) => set(paths) > 0,
            Self::TwoSet(paths) => set(paths) > 1,
            Self::Empty(path) => of.length(path) == Some(0),
            Self::Filled(path) => of.length(path).is_some_and(|length| length > 0),
            Self::More(path, limit) => of.items(path).len() > *limit,
            Self::True(path) => of.scalar(path) == Some("true"),
            Self::Positive(path) => of
                .number(path)
                .is_some_and(|number| number.is_none_or(|number| number > 0)),
            Self::Number(path, numbers) => of
                .number(path)
                .flatten()
                .is_some_and(|number| numbers.contains(&number)),
            Self::Is(path, words) => is(path, words),
            Self::IsUpper(path, words) => of
                .text(path)
                .is_some_and(|text| words.contains(&text.to_ascii_uppercase().as_str())),
            Self::Starts(path, start) => of.text(path).is_some_and(|text| text.starts_with(start)),
            Self::Contains(path, part) => of.text(path).is_some_and(|text| text.contains(part)),
            Self::Unlike(path, format) => of.text(path).is_some_and(|text| !format.fits(text)),
            Self::Some(..) | Self::Two(..) | Self::Twice(..) | Self::NoPort(_) | Self::Wild(_) => {
                !self.items(of).is_empty()
            }
            Self::Not(test) => !test.holds(of),
            Self::All(tests) => tests.iter().all(|test| test.holds(of)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(of)),
        }
    }

    /// The items of a list or map that a test is about and that it holds for, with what a path has for them; of items that are alike all
    /// but the first.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other tests are not about items")]
    fn items<'n>(&self, of: Of<'n>) -> Vec<(String, &'n Node)> {
        let numbered = |path: &str| {
            of.items(path)
                .iter()
                .enumerate()
                .map(|(i, item)| (format!("[{i}]"), item))
        };
        let keyed = |path: &str| {
            of.entries(path)
                .iter()
                .map(|entry| (format!(".{}", entry.key), &entry.node))
        };
        match self {
            Self::Some(path, test) => numbered(path).filter(|(_, item)| test.holds(Of::Item(item))).collect(),
            Self::Two(path, test) => numbered(path)
                .filter(|(_, item)| test.holds(Of::Item(item)))
                .skip(1)
                .collect(),
            Self::Twice(path, keys) => {
                let mut seen = HashSet::new();
                numbered(path)
                    .filter(|(_, item)| {
                        let key: Vec<Option<Key<'_>>> = keys.iter().map(|key| Of::Item(item).key(key)).collect();
                        key.first().is_some_and(Option::is_some) && !seen.insert(key)
                    })
                    .collect()
            }
            Self::NoPort(path) => keyed(path)
                .filter(|(key, _)| !key[1..].parse::<u16>().is_ok_and(|port| port > 0))
                .collect(),
            Self::Wild(path) => keyed(path)
                .filter(|(key, node)| {
                    let wild = matches!(&node.value, Value::Scalar { text, .. } if text.contains('*'));
                    wild || key.len() == 1 || key.contains('*')
                })
                .collect(),
            Self::All(tests) => tests
                .iter()
                .map(|test| test.items(of))
                .find(|items| !items.is_empty())
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

// === impl Format ===

impl Format {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::DnsLabel => check::is_dns_label(text),
            Self::Host => check::is_host(text),
            Self::Ip => text.parse::<IpAddr>().is_ok(),
            Self::Prefix => text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;

    /// A server may take more than the parser, never less.
    #[test]
    fn patterns_take_what_fits() {
        let texts = [
            "a",
            "a-b",
            "-a",
            "a-",
            "A",
            "v1",
            "",
            "*",
            "*.a.com",
            "*a",
            "a.b.",
            "a_b",
            "a b",
            "http://a",
            "10.0.0.1",
            "::1",
            "::ffff:10.0.0.1",
            "fd00::/8",
            "10.0.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "a..b",
            "é",
        ];
        for format in [Format::DnsLabel, Format::Host, Format::Ip, Format::Prefix] {
            let pattern = regex::Regex::new(format.pattern()).unwrap();
            let fit = texts.iter().filter(|text| format.fits(text));
            assert!(fit.clone().count() > 1, "{format:?}");
            for text in fit {
                assert!(pattern.is_match(text), "{format:?} {text:?}");
            }
            assert!(texts.iter().any(|text| !pattern.is_match(text)), "{format:?}");
        }
    }

    #[test]
    fn protocols_of_gateways_are_all_protocols() {
        for name in Protocol::NAMES {
            let protocol = Protocol::parse(name).unwrap();
            assert_eq!(gateway::SECURE.contains(name), protocol.is_tls(), "{name}");
            let clear = !protocol.is_tls() && protocol != Protocol::Tcp;
            assert_eq!(gateway::CLEAR.contains(name), clear, "{name}");
            assert_eq!(gateway::NO_HTTP.contains(name), protocol != Protocol::Http, "{name}");
        }
    }

    #[test]
    fn what_is_given_twice_is_found_however_it_is_written() {
        let text = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  egress:\n  \
                    - {port: {number: 80}, bind: '::1', hosts: [./*]}\n  \
                    - {port: {number: 080}, bind: '0:0:0:0:0:0:0:1', hosts: [./*]}\n  \
                    - {port: {number: 80}, hosts: [./*]}\n  - {hosts: [./*]}\n  - {hosts: [./*]}\n";
        let found = crate::parse::parse("", text).diagnostics;
        let found: Vec<(&str, &str)> = found.iter().map(|found| (&*found.field, &*found.message)).collect();
        assert_eq!(
            found,
            [
                ("spec.egress[1]", "two listeners have the same port, 080"),
                ("spec.egress[4]", "two listeners have no port"),
            ]
        );
    }
}
