//! What a reader asks for: the shape of an object, found by reading probes and noting every question.
//!
//! The parser is the one description of fields. A schema made of its questions cannot drift from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fields::Fields;
use super::report::Report;
use super::tree::{Entry, Node, Value};
use crate::meta::Position;
use crate::schema::Shape;

/// Deepest shape; nothing that users write is half as deep.
const DEPTH_MAX: usize = 24;

/// Key of the one entry in a probe of a map with free keys. It is a port as well, since some maps are by port.
const PROBE_KEY: &str = "1";

/// One question about the value at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// Is it there?
    Field,
    Text,
    Flag,
    Integer(i64, i64),
    Number,
    Duration,
    Choice(Vec<String>),
    List,
    Map,
    Object,
}

/// The questions of one reading, by path.
#[derive(Debug, Default)]
pub(super) struct Trace {
    questions: BTreeMap<String, BTreeSet<Question>>,
}

// === impl Trace ===

impl Trace {
    pub(super) fn note(&mut self, path: &str, question: Question) {
        self.questions.entry(path.to_owned()).or_default().insert(question);
    }

    fn merge(&mut self, other: Self) -> bool {
        let mut news = false;
        for (path, questions) in other.questions {
            let known = self.questions.entry(path).or_default();
            for question in questions {
                news |= known.insert(question);
            }
        }
        news
    }

    /// The shape at `path`. A list goes on at `path[0]`, a map at its probe's key.
    fn shape(&self, path: &str, depth: usize) -> Shape {
        let Some(questions) = self.questions.get(path).filter(|_| depth < DEPTH_MAX) else {
            return Shape::Any;
        };
        let has = |question: &Question| questions.contains(question);
        let (mut integer, mut choice) = (None, None);
        for question in questions {
            if let Question::Integer(min, max) = question {
                integer = Some((*min, *max));
            } else if let Question::Choice(names) = question {
                choice = Some(names.clone());
            }
        }
        if has(&Question::Object) {
            return Shape::Object(self.fields(path, depth));
        }
        if has(&Question::List) {
            return Shape::List(Box::new(self.shape(&format!("{path}[0]"), depth + 1)));
        }
        if has(&Question::Map) {
            return Shape::Map(Box::new(self.shape(&join(path, PROBE_KEY), depth + 1)));
        }
        match (integer, choice) {
            (Some(_), _) if has(&Question::Text) => Shape::IntegerOrText,
            (Some((min, max)), _) => Shape::Integer(min, max),
            (None, Some(names)) => Shape::Choice(names),
            (None, None) if has(&Question::Flag) => Shape::Flag,
            (None, None) if has(&Question::Number) => Shape::Number,
            (None, None) if has(&Question::Duration) => Shape::Duration,
            (None, None) if has(&Question::Text) => Shape::Text,
            (None, None) => Shape::Any,
        }
    }

    fn fields(&self, path: &str, depth: usize) -> BTreeMap<String, Shape> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}.")
        };
        let names = self.questions.keys().filter_map(|key| {
            let name = key.strip_prefix(&prefix)?;
            (!name.is_empty() && !name.contains(['.', '['])).then_some(name)
        });
        names
            .map(|name| (name.to_owned(), self.shape(&join(path, name), depth + 1)))
            .collect()
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The shape of what `read` reads: probes are read until no new question comes up. Fields that exclude each other are probed one at a time, too.
pub(super) fn shape(read: &dyn Fn(&mut Fields<'_, '_>)) -> Shape {
    let mut trace = Trace::default();
    trace.note("", Question::Object);
    loop {
        let known = trace.shape("", 0);
        let mut news = trace.merge(questions(&probe(&known, None), read));
        for path in paths(&known) {
            news |= trace.merge(questions(&probe(&known, Some(&path)), read));
        }
        if !news {
            return known;
        }
    }
}

fn questions(probe: &Node, read: &dyn Fn(&mut Fields<'_, '_>)) -> Trace {
    let mut report = Report::new(&Arc::from(""));
    report.trace = Some(Box::default());
    report.map(probe, |fields| read(fields));
    report.trace.take().map(|trace| *trace).unwrap_or_default()
}

/// Paths to every field, as names.
fn paths(shape: &Shape) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    collect(shape, &mut Vec::new(), &mut all);
    all
}

fn collect(shape: &Shape, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    match shape {
        Shape::Object(fields) => {
            for (name, field) in fields {
                at.push(name.clone());
                all.push(at.clone());
                collect(field, at, all);
                at.pop();
            }
        }
        Shape::List(item) | Shape::Map(item) => collect(item, at, all),
        Shape::Text
        | Shape::Flag
        | Shape::Integer(..)
        | Shape::IntegerOrText
        | Shape::Number
        | Shape::Duration
        | Shape::Choice(_)
        | Shape::Any => {}
    }
}

/// A value of that shape: with all fields, or with those alone that lead to `only` and lie below it.
fn probe(shape: &Shape, only: Option<&[String]>) -> Node {
    let plain = |text: &str| Value::Scalar {
        text: text.to_owned(),
        plain: true,
    };
    let value = match shape {
        Shape::Object(fields) => {
            let (first, rest) = match only {
                Some([first, rest @ ..]) => (Some(first), Some(rest)),
                Some([]) | None => (None, None),
            };
            let chosen = fields
                .iter()
                .filter(|(name, _)| first.is_none_or(|first| first == *name));
            Value::Map(chosen.map(|(name, field)| entry(name, probe(field, rest))).collect())
        }
        Shape::List(item) => Value::List(vec![probe(item, only)]),
        Shape::Map(item) => Value::Map(vec![entry(PROBE_KEY, probe(item, only))]),
        Shape::Flag => plain("true"),
        Shape::Integer(min, _) => plain(&min.max(&1).to_string()),
        Shape::IntegerOrText | Shape::Number => plain("1"),
        Shape::Duration => plain("1s"),
        Shape::Choice(names) => plain(names.first().map_or("", String::as_str)),
        Shape::Text => plain("x"),
        // Neither a list nor an object is expected where text is, so that the reader says what it expects.
        Shape::Any => Value::Map(Vec::new()),
    };
    Node {
        at: Position::default(),
        value,
    }
}

fn entry(key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        at: Position::default(),
        node,
    }
}
