//! Reads typed values out of a map and reports everything that does not fit, each with its place and path.
//!
//! A reader asks for each field that its kind has; what nobody asked for is unknown. So the list of fields, their types and
//! the suggestions for misspelt ones are one thing and cannot drift apart.

use std::collections::HashSet;
use std::time::Duration;

use super::report::Report;
use super::rules::{self, Broken};
use super::trace::Question;
use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Severity, code};
use crate::meta::{Labels, Position};
use crate::rule::{REQUIRED, Rule};

/// The fields of one map while they are read.
#[derive(Debug)]
pub(super) struct Fields<'n, 'r> {
    /// Where the map starts.
    pub(super) at: Position,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    /// Required fields that are absent; reported at the end, unless one of them was misspelt.
    missing: Vec<(&'static str, String)>,
    report: &'r mut Report,
}

// === impl Fields ===

impl<'n, 'r> Fields<'n, 'r> {
    pub(super) fn new(at: Position, entries: &'n [Entry], report: &'r mut Report) -> Self {
        Self {
            at,
            entries,
            known: Vec::new(),
            missing: Vec::new(),
            report,
        }
    }
    /// A field, and the knowledge that the kind has it. Null is absent. Of a field given twice the first counts.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.report.asked_field(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (!entry.node.is_null()).then_some(&entry.node)
    }

    /// Reads a field with `read`.
    pub(super) fn with<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Report, &Node) -> T) -> Option<T> {
        let node = self.get(name)?;
        Some(self.report.field(name, |report| read(report, node)))
    }

    /// Reports at the path of the map itself.
    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// Reports an error about a field.
    pub(super) fn invalid(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let at = self.place(name);
        self.report.field(name, |report| report.invalid(at, message, hint));
    }

    /// Reports a warning about a field.
    pub(super) fn warn(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let at = self.place(name);
        self.report.field(name, |report| report.warn(at, message, hint));
    }

    /// Where a field's value is, or the map if it is absent.
    pub(super) fn place(&self, name: &str) -> Position {
        let entry = self.entries.iter().find(|entry| entry.key == name);
        entry.map_or(self.at, |entry| entry.node.at)
    }

    /// Which of these fields are set.
    pub(super) fn set_of(&self, names: &[&'static str]) -> Vec<&'static str> {
        let is_set = |name: &&str| {
            self.entries
                .iter()
                .any(|entry| entry.key == *name && !entry.node.is_null())
        };
        names.iter().copied().filter(|name| is_set(name)).collect()
    }

    /// Whether a field is absent or an empty list.
    pub(super) fn is_without(&self, name: &str) -> bool {
        let mut entries = self.entries.iter().filter(|entry| entry.key == name);
        entries.all(|entry| entry.node.is_null() || entry.node.is_empty_list())
    }

    /// Whether every field is absent or an empty list.
    pub(super) fn is_without_values(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.all(|entry| entry.node.is_null() || entry.node.is_empty_list())
    }

    /// Reports that a required field is missing.
    pub(super) fn missing(&mut self, name: &'static str, hint: impl Into<String>) {
        self.missing.push((name, hint.into()));
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.with(name, |report, node| report.text(node)).flatten()
    }

    /// A text, or what counts where it is absent.
    pub(super) fn text_or(&mut self, name: &'static str, absent: &str) -> String {
        self.text(name).unwrap_or_else(|| absent.to_owned())
    }

    /// A text that must be there and not be empty; the empty text after a report.
    pub(super) fn required_text(&mut self, name: &'static str, hint: &str) -> String {
        if self.get(name).is_none() {
            self.missing(name, hint);
            return String::new();
        }
        let text = self.text(name);
        if text.as_deref() == Some("") {
            self.invalid(name, "is empty", hint);
        }
        text.unwrap_or_default()
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.with(name, |report, node| {
            report.asked(|| Question::Flag);
            match &node.value {
                Value::Scalar { text, plain: true } if text == "true" => Some(true),
                Value::Scalar { text, plain: true } if text == "false" => Some(false),
                Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                    report.wrong_type(node, "true or false", "");
                    None
                }
            }
        })
        .flatten()
    }

    /// A number that fits `u32`.
    pub(super) fn count(&mut self, name: &'static str) -> Option<u32> {
        self.number(name, 0, u32::MAX)
    }

    pub(super) fn number(&mut self, name: &'static str, min: u32, max: u32) -> Option<u32> {
        self.with(name, |report, node| report.integer(node, min.into(), max.into()))
            .flatten()
            .and_then(|number| u32::try_from(number).ok())
    }

    /// A port number.
    pub(super) fn port(&mut self, name: &'static str) -> Option<u16> {
        self.number(name, 1, 65535).and_then(|port| u16::try_from(port).ok())
    }

    /// A port number that must be there; 0 after a report.
    pub(super) fn required_port(&mut self, name: &'static str) -> u16 {
        if self.get(name).is_none() {
            self.missing(name, "name a port from 1 to 65535");
        }
        self.port(name).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        self.with(name, |report, node| report.duration(node, 0)).flatten()
    }

    /// A duration of at least a millisecond, as most of Istio's durations must be.
    pub(super) fn positive_duration(&mut self, name: &'static str) -> Option<Duration> {
        self.with(name, |report, node| report.duration(node, 1)).flatten()
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.with(name, |report, node| report.choice(node, choices)).flatten()
    }

    pub(super) fn list<T>(&mut self, name: &'static str, read: impl FnMut(&mut Report, &Node) -> Option<T>) -> Vec<T> {
        self.with(name, |report, node| report.list(node, read))
            .unwrap_or_default()
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.list(name, Report::text)
    }

    /// A nested map.
    pub(super) fn map<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields<'_, '_>) -> T) -> Option<T> {
        self.with(name, |report, node| report.map(node, read)).flatten()
    }

    /// A map with free keys, in the order of the document.
    pub(super) fn entries<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Report, &str, &Node) -> Option<T>,
    ) -> Vec<(String, T)> {
        self.with(name, |report, node| report.entries(node, &mut read))
            .unwrap_or_default()
    }

    /// A map of texts.
    pub(super) fn labels(&mut self, name: &'static str) -> Labels {
        self.entries(name, |report, _, node| report.text(node))
            .into_iter()
            .collect()
    }

    /// A field that Istio has and this mesh does not carry out: refused if set, with the reason.
    pub(super) fn refuse(&mut self, name: &'static str, hint: &str) {
        if let Some(node) = self.get(name) {
            let at = node.at;
            self.report.field(name, |report| {
                let message = "is not supported by this mesh yet, so the object is not applied";
                report.add(Severity::Error, code::UNSUPPORTED_FIELD, at, message, hint);
            });
        }
    }

    /// A field that Istio has and this mesh does not carry out, and without which nothing is less safe: the object applies, and what
    /// happens `instead` is told.
    pub(super) fn pass_over(&mut self, name: &'static str, instead: &str) {
        if let Some(node) = self.get(name) {
            let at = node.at;
            self.report.field(name, |report| {
                let message = format!("is not supported by this mesh yet and has no effect: {instead}");
                report.add(Severity::Warning, code::UNSUPPORTED_FIELD, at, message, "");
            });
        }
    }

    /// A field that Istio has and this mesh does not carry out, and without which something would be less safe: whether it is set. The part
    /// that it stands in is closed, as `meanwhile` says, and the rest of the object applies.
    pub(super) fn close(&mut self, name: &'static str, meanwhile: &str, hint: &str) -> bool {
        let Some(node) = self.get(name) else {
            return false;
        };
        let at = node.at;
        self.report.field(name, |report| {
            let message = format!("is not supported by this mesh yet, so {meanwhile}; the rest of the object applies");
            report.part(code::UNSUPPORTED_FIELD, at, message, hint);
        });
        true
    }

    /// `metadata.namespace` and `metadata.name` as far as they are text; `default` and nothing where absent.
    pub(super) fn peek_name(&self) -> (&'n str, &'n str) {
        let inner = |map: &'n [Entry], name: &str| map.iter().find(|entry| entry.key == name).map(|entry| &entry.node);
        let Some(Value::Map(metadata)) = inner(self.entries, "metadata").map(|node| &node.value) else {
            return ("default", "");
        };
        let text = |name| match inner(metadata, name) {
            Some(Node {
                value: Value::Scalar { text, .. },
                ..
            }) => text.as_str(),
            _ => "",
        };
        let namespace = text("namespace");
        (if namespace.is_empty() { "default" } else { namespace }, text("name"))
    }

    /// The fields that nobody asked for.
    pub(super) fn unread(&self) -> Vec<(String, &'n Node)> {
        let entries = self.entries.iter();
        entries
            .filter(|entry| !self.known.contains(&entry.key.as_str()))
            .map(|entry| (entry.key.clone(), &entry.node))
            .collect()
    }

    /// Stops checking: the object is not one that is read.
    pub(super) fn ignore_rest(&mut self) {
        self.entries = &[];
    }

    /// Says of which type a field is that is not read, since a rule asks for it.
    pub(super) fn typed(&mut self, name: &'static str, question: Question) {
        self.with(name, |report, _| report.asked(|| question));
    }

    /// Bounds the length of a list, a map or a text.
    pub(super) fn at_most(&mut self, name: &'static str, max: usize) {
        self.with(name, |report, node| report.at_most(node, max));
    }

    /// Asks rules between these fields, and reports what breaks one; whether all hold.
    pub(super) fn rules(&mut self, rules: &'static [Rule]) -> bool {
        let mut hold = true;
        for rule in rules {
            self.report.asked_rule(rule);
            for broken in rules::broken(rule, self.entries) {
                hold = false;
                self.broken(rule, &broken);
            }
        }
        hold
    }

    fn broken(&mut self, rule: &'static Rule, broken: &Broken<'_>) {
        let message = match rule.message {
            Some(message) => broken.says(rule, message),
            // Told at the end, unless it is misspelt.
            None if broken.field == rule.field => return self.missing(rule.field, rule.hint),
            None => REQUIRED.to_owned(),
        };
        let at = broken.node.map_or_else(|| self.place(rule.field), |node| node.at);
        if broken.field.is_empty() {
            self.report.invalid(at, message, rule.hint);
        } else {
            self.report
                .field(&broken.field, |report| report.invalid(at, message, rule.hint));
        }
    }

    /// A switch of Istio that this mesh does not carry out: `false` is what it does anyway, `true` is passed over.
    pub(super) fn pass_over_true(&mut self, name: &'static str, instead: &str) {
        if self.flag(name) == Some(true) {
            self.pass_over(name, instead);
        }
    }

    /// Fields without a meaning here.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        for name in names {
            self.report.asked_field(name);
        }
        self.known.extend_from_slice(names);
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(mut self) {
        let mut seen = HashSet::with_capacity(self.entries.len());
        for entry in self.entries {
            let name = entry.key.as_str();
            if self.report.is_full() {
                break;
            }
            if !seen.insert(name) {
                self.report.field(name, |report| {
                    report.invalid(entry.at, "is given twice", "remove one of them");
                });
            } else if !self.known.contains(&name) {
                let hint = match crate::suggest::nearest(name, self.known.iter().copied()) {
                    Some(near) => {
                        self.missing.retain(|(missing, _)| *missing != near);
                        format!("did you mean {near}?")
                    }
                    None => format!("the fields here are {}", self.known.join(", ")),
                };
                self.report.field(name, |report| {
                    report.add(Severity::Error, code::UNKNOWN_FIELD, entry.at, "no such field", hint);
                });
            }
        }
        for (name, hint) in self.missing {
            let at = self.at;
            self.report.field(name, |report| report.invalid(at, REQUIRED, hint));
        }
    }
}
