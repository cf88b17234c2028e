//! What a reader asks for: the shape of an object, found by reading probes and noting every question.
//!
//! The parser is the one description of fields. A schema made of its questions cannot drift from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fields::Fields;
use super::report::Report;
use super::tree::{Entry, Node, Value};
use crate::meta::Position;
use crate::rule::Rule;
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
    /// A number from one to another.
    Number(i64, i64),
    /// A duration of at least so many milliseconds.
    Duration(u64),
    Choice(Vec<String>),
    /// A list, map or text, at most so long.
    AtMost(usize),
    List,
    Map,
    Object,
}

/// The questions of one reading, by path.
#[derive(Debug, Default)]
pub(super) struct Trace {
    questions: BTreeMap<String, BTreeSet<Question>>,
    rules: BTreeMap<String, Vec<&'static Rule>>,
}

// === impl Trace ===

impl Trace {
    pub(super) fn note(&mut self, path: &str, question: Question) {
        self.questions.entry(path.to_owned()).or_default().insert(question);
    }

    pub(super) fn note_rule(&mut self, path: &str, rule: &'static Rule) {
        let known = self.rules.entry(path.to_owned()).or_default();
        if !known.contains(&rule) {
            known.push(rule);
        }
    }

    fn merge(&mut self, other: Self) -> bool {
        let mut news = false;
        for (path, rules) in &other.rules {
            rules.iter().for_each(|rule| self.note_rule(path, rule));
        }
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
        let bare = self.bare_shape(questions, path, depth);
        let bound = questions.iter().find_map(|question| {
            if let Question::AtMost(max) = question {
                Some(*max)
            } else {
                None
            }
        });
        match bound {
            Some(max) => Shape::AtMost(Box::new(bare), max),
            None => bare,
        }
    }

    /// The shape without a bound of its length.
    fn bare_shape(&self, questions: &BTreeSet<Question>, path: &str, depth: usize) -> Shape {
        let has = |question: &Question| questions.contains(question);
        if has(&Question::Object) {
            return Shape::Object {
                fields: self.fields(path, depth),
                rules: self.rules.get(path).cloned().unwrap_or_default(),
            };
        }
        if has(&Question::List) {
            return Shape::List(Box::new(self.shape(&format!("{path}[0]"), depth + 1)));
        }
        if has(&Question::Map) {
            return Shape::Map(Box::new(self.shape(&join(path, PROBE_KEY), depth + 1)));
        }
        let exact = questions.iter().find_map(|question| match question {
            Question::Integer(..) if has(&Question::Text) => Some(Shape::IntegerOrText),
            Question::Integer(min, max) => Some(Shape::Integer(*min, *max)),
            Question::Number(min, max) => Some(Shape::Number(*min, *max)),
            Question::Duration(min) => Some(Shape::Duration(*min)),
            Question::Choice(names) => Some(Shape::Choice(names.clone())),
            Question::Field
            | Question::Text
            | Question::Flag
            | Question::AtMost(_)
            | Question::List
            | Question::Map
            | Question::Object => None,
        });
        match exact {
            Some(shape) => shape,
            None if has(&Question::Flag) => Shape::Flag,
            None if has(&Question::Text) => Shape::Text,
            None => Shape::Any,
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

/// The shape of what `read` reads: probes are read until no new question comes up. Fields that exclude each other are probed one at a
/// time, too.
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
        Shape::Object { fields, .. } => {
            for (name, field) in fields {
                at.push(name.clone());
                all.push(at.clone());
                collect(field, at, all);
                at.pop();
            }
        }
        Shape::List(item) | Shape::Map(item) | Shape::AtMost(item, _) => collect(item, at, all),
        Shape::Text
        | Shape::Flag
        | Shape::Integer(..)
        | Shape::IntegerOrText
        | Shape::Number(..)
        | Shape::Duration(_)
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
        Shape::AtMost(bounded, _) => return probe(bounded, only),
        Shape::Object { fields, .. } => {
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
        Shape::IntegerOrText | Shape::Number(..) => plain("1"),
        Shape::Duration(_) => plain("1s"),
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
