//! Where the findings of one document go, and the readers of single values, each of which knows its path.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::fields::Fields;
use super::trace::{Question, Trace};
use super::tree::{Node, Value};
use crate::diagnostic::{Diagnostic, Severity, code};
use crate::duration;
use crate::meta::Position;
use crate::rule::Rule;

/// Most characters that are shown of a value.
pub(super) const SHOWN_MAX: usize = 60;

/// Most findings reported of one document.
const FINDINGS_MAX: usize = 100;

/// Where findings of one document go.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    /// The object, as diagnostics name it.
    pub(super) object: String,
    path: String,
    /// What is asked, where that is of interest.
    pub(super) trace: Option<Box<Trace>>,
    found: Vec<Diagnostic>,
    errors: usize,
    /// The document is of a kind that is not read, so it is not a broken version of anything.
    pub(super) passed_over: bool,
}

// === impl Report ===

impl Report {
    pub(super) fn new(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            object: String::new(),
            path: String::new(),
            trace: None,
            found: Vec::new(),
            errors: 0,
            passed_over: false,
        }
    }

    /// Notes a question about the value at the current path.
    pub(super) fn asked(&mut self, question: impl FnOnce() -> Question) {
        if let Some(trace) = &mut self.trace {
            trace.note(&self.path, question());
        }
    }

    /// Notes a rule between the fields of the object at the current path.
    pub(super) fn asked_rule(&mut self, rule: &'static Rule) {
        if let Some(trace) = &mut self.trace {
            trace.note_rule(&self.path, rule);
        }
    }

    /// Notes that a field is asked for.
    pub(super) fn asked_field(&mut self, name: &str) {
        if self.trace.is_some() {
            self.field(name, |report| report.asked(|| Question::Field));
        }
    }

    /// Whether no more findings are taken.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= FINDINGS_MAX
    }

    /// Whether the document may not be used.
    pub(super) fn is_broken(&self) -> bool {
        self.errors > 0
    }

    /// The findings in the order of the document.
    pub(super) fn into_findings(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|found| (found.line, found.column));
        self.found
    }

    /// Adds a finding at the current path. An error costs the whole object.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        code: &str,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors += usize::from(severity == Severity::Error);
        self.note(severity, code, at, message, hint);
    }

    /// Adds an error about a part that is not applied; the object applies without it.
    pub(super) fn part(&mut self, code: &str, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.note(Severity::Error, code, at, message, hint);
    }

    fn note(
        &mut self,
        severity: Severity,
        code: &str,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.is_full() {
            return;
        }
        self.found.push(Diagnostic {
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            severity,
            code: code.into(),
            object: self.object.clone(),
            field: self.path.clone(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Adds an error about a value of the current path.
    pub(super) fn invalid(&mut self, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, code::SCHEMA, at, message, hint);
    }

    /// Adds a warning about a value of the current path.
    pub(super) fn warn(&mut self, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, code::SCHEMA_WARNING, at, message, hint);
    }

    /// Runs `read` with a field name added to the path.
    pub(super) fn field<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if before > 0 && !name.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = read(self);
        self.path.truncate(before);
        result
    }

    /// Reads a map: `read` asks for its fields, then what it did not ask for is reported.
    pub(super) fn map<T>(&mut self, node: &Node, read: impl FnOnce(&mut Fields<'_, '_>) -> T) -> Option<T> {
        self.asked(|| Question::Object);
        let Value::Map(entries) = &node.value else {
            self.wrong_type(node, "an object", "");
            return None;
        };
        let mut fields = Fields::new(node.at, entries, self);
        let result = read(&mut fields);
        fields.finish();
        Some(result)
    }

    /// The items of a list.
    pub(super) fn list<T>(&mut self, node: &Node, mut read: impl FnMut(&mut Self, &Node) -> Option<T>) -> Vec<T> {
        self.asked(|| Question::List);
        let Value::List(items) = &node.value else {
            self.wrong_type(node, "a list", "start each item with `- `");
            return Vec::new();
        };
        let mut result = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            if let Some(value) = self.field(&format!("[{i}]"), |report| read(report, item)) {
                result.push(value);
            }
        }
        result
    }

    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        self.asked(|| Question::Text);
        match &node.value {
            Value::Scalar { text, .. } if node.describe() == "text" => Some(text.clone()),
            Value::Scalar { text, .. } if !node.is_null() => {
                self.wrong_type(node, "text", &format!("put it in quotes: \"{text}\""));
                None
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.wrong_type(node, "text", "");
                None
            }
        }
    }

    /// An integer from `min` to `max`.
    pub(super) fn integer(&mut self, node: &Node, min: i64, max: i64) -> Option<i64> {
        self.asked(|| Question::Integer(min, max));
        let number = match &node.value {
            Value::Scalar { text, plain: true } if node.describe() == "a number" => text.parse::<i64>().ok(),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                let hint = match &node.value {
                    Value::Scalar { text, plain: false } if text.parse::<i64>().is_ok() => "leave the quotes away",
                    Value::Scalar { .. } | Value::List(_) | Value::Map(_) => "",
                };
                self.wrong_type(node, "a whole number", hint);
                return None;
            }
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                let bound = if max == i64::from(u32::MAX) || max == i64::MAX {
                    format!("use a whole number of at least {min}")
                } else {
                    format!("use a whole number from {min} to {max}")
                };
                self.invalid(node.at, format!("{} is out of range", shown(node)), bound);
                None
            }
        }
    }

    /// A duration of at least so many milliseconds.
    pub(super) fn duration(&mut self, node: &Node, min: u64) -> Option<Duration> {
        self.asked(|| Question::Duration(min));
        let parsed = match &node.value {
            Value::Scalar { text, .. } => duration::parse(text),
            Value::List(_) | Value::Map(_) => None,
        };
        let parsed = parsed.filter(|duration| *duration >= Duration::from_millis(min));
        if parsed.is_none() {
            let (message, hint) = duration::refusal(min);
            self.invalid(node.at, format!("{} {message}", shown(node)), hint);
        }
        parsed
    }

    /// Bounds the length of a list, a map or a text: a definition needs bounds of what its rules go over (Kubernetes, "Resource use by
    /// validation functions").
    pub(super) fn at_most(&mut self, node: &Node, max: usize) {
        self.asked(|| Question::AtMost(max));
        let (length, what) = match &node.value {
            Value::Scalar { text, .. } => (text.chars().count(), "characters"),
            Value::List(items) => (items.len(), "items"),
            Value::Map(entries) => (entries.len(), "entries"),
        };
        if length > max {
            let message = format!("has {length} {what}");
            self.invalid(node.at, message, format!("at most {max} are possible"));
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        self.asked(|| Question::Choice(choices.iter().map(|(name, _)| (*name).to_owned()).collect()));
        let text = self.text(node)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = match crate::suggest::nearest(&text, names.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("use one of {}", names.join(", ")),
        };
        self.invalid(node.at, format!("{text:?} is not allowed here"), hint);
        None
    }

    pub(super) fn wrong_type(&mut self, node: &Node, wanted: &str, hint: &str) {
        let message = format!("is {}, but must be {wanted}", node.describe());
        self.invalid(node.at, message, hint);
    }

    /// A map with free keys, in the order of the document.
    pub(super) fn entries<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &str, &Node) -> Option<T>,
    ) -> Vec<(String, T)> {
        self.asked(|| Question::Map);
        let Value::Map(entries) = &node.value else {
            self.wrong_type(node, "an object", "");
            return Vec::new();
        };
        let mut result = Vec::with_capacity(entries.len());
        let mut seen = HashSet::with_capacity(entries.len());
        for entry in entries {
            self.field(&entry.key, |report| {
                if !seen.insert(entry.key.as_str()) {
                    report.invalid(entry.at, "is given twice", "remove one of them");
                } else if let Some(value) = read(report, &entry.key, &entry.node) {
                    result.push((entry.key.clone(), value));
                }
            });
        }
        result
    }
}

/// A value as people wrote it, cut if long.
pub(super) fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, plain } => {
            let short: String = text.chars().take(SHOWN_MAX).collect();
            if *plain { short } else { format!("{short:?}") }
        }
        Value::List(_) | Value::Map(_) => node.describe().to_owned(),
    }
}
