//! Rules written out in CEL, as definitions have them (Kubernetes, "Validation rules" of CustomResourceDefinitions).

use serde_json::{Value, json};

use crate::rule::{Format, Rule, Test};

/// Longest list whose items a server compares with each other, which takes it seconds for a few hundred. The parser compares those of
/// longer ones as well.
const TWICE_MAX: usize = 64;

/// How strongly the outermost operator of an expression binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Or,
    And,
    Compare,
    Most,
}

/// An expression in CEL.
#[derive(Debug)]
struct Expression {
    text: String,
    binds: Binds,
}

// === impl Rule ===

impl Rule {
    /// An entry of `x-kubernetes-validations`, at each item where the rule is about one.
    pub(crate) fn validation(&self) -> Value {
        let (refused, field) = match (self.each(), self.parts()) {
            (Some((_, refused)), (_, Some(inner))) => (refused, inner.trim_start_matches('.')),
            (_, (field, _)) => (&self.refused, field),
        };
        let rule = if let Test::Not(wanted) = refused {
            wanted.cel("self", 0)
        } else {
            refused.cel("self", 0).not()
        };
        let mut validation = json!({"rule": rule.text, "message": self.says()});
        if !field.is_empty() {
            validation["fieldPath"] = json!(format!(".{field}"));
        }
        if self.message.is_none() {
            validation["reason"] = json!("FieldValueRequired");
        }
        validation
    }

    /// What a server says of it; of a missing field it says itself that it is required.
    fn says(&self) -> String {
        match self.message {
            Some(message) => format!("{message}; {}", self.hint),
            None => self.hint.to_owned(),
        }
    }
}

// === impl Test ===

impl Test {
    /// The test of `of`, within so many lists.
    fn cel(&self, of: &str, depth: usize) -> Expression {
        let there =
            |path: &str, test: String| Expression::all(set(of, path).into_iter().chain([Expression::compare(test)]));
        match self {
            Self::AnySet(paths) => Expression::any(paths.iter().map(|path| is_set(of, path))),
            Self::TwoSet(paths) => {
                let pairs = paths.iter().enumerate();
                let pairs = pairs.flat_map(|(i, one)| paths[i + 1..].iter().map(move |other| (one, other)));
                Expression::any(pairs.map(|(one, other)| Expression::all([is_set(of, one), is_set(of, other)])))
            }
            Self::Empty(path) => there(path, format!("size({}) == 0", at(of, path))),
            Self::Filled(path) => there(path, format!("size({}) > 0", at(of, path))),
            Self::More(path, limit) => there(path, format!("size({}) > {limit}", at(of, path))),
            Self::True(path) => Expression::all([is_set(of, path), Expression::most(at(of, path))]),
            Self::Positive(path) => there(path, format!("{} > 0", at(of, path))),
            Self::Number(path, numbers) => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                there(path, format!("{} in [{}]", at(of, path), numbers.join(", ")))
            }
            Self::Is(path, [one]) => there(path, format!("{} == {}", at(of, path), quoted(one))),
            Self::Is(path, words) => there(path, format!("{} in {}", at(of, path), list(words))),
            Self::IsUpper(path, words) => there(path, format!("{}.upperAscii() in {}", at(of, path), list(words))),
            Self::Starts(path, start) => call(of, path, "startsWith", &quoted(start)),
            Self::Contains(path, part) => call(of, path, "contains", &quoted(part)),
            Self::Unlike(path, format) => {
                let fits = Expression::most(format!("{}.matches({})", at(of, path), quoted(format.pattern())));
                Expression::all(set(of, path).into_iter().chain([fits.not()]))
            }
            Self::Some(path, test) => {
                let item = item(depth);
                let test = test.cel(&item, depth + 1).text;
                call(of, path, "exists", &format!("{item}, {test}"))
            }
            Self::Two(path, test) => {
                let item = item(depth);
                let test = test.cel(&item, depth + 1).text;
                there(path, format!("size({}.filter({item}, {test})) > 1", at(of, path)))
            }
            Self::Twice(path, keys) => {
                let (one, other) = (item(depth), item(depth + 1));
                let alone =
                    Expression::all(keys.iter().enumerate().map(|(i, key)| same(&one, &other, key, i > 0))).text;
                let alone = Expression::most(format!("{}.exists_one({other}, {alone})", at(of, path))).not();
                let first = keys.first().copied().unwrap_or_default();
                let repeated = Expression::all([is_set(&one, first), alone]).text;
                let short = Expression::compare(format!("size({}) <= {TWICE_MAX}", at(of, path)));
                let repeated = Expression::most(format!("{}.exists({one}, {repeated})", at(of, path)));
                Expression::all(set(of, path).into_iter().chain([short, repeated]))
            }
            Self::NoPort(path) => {
                let key = item(depth);
                // `int` of other texts is an error, and such a one names no field.
                let port = format!("{key}.matches('^[+]?[0-9]{{1,9}}$') && int({key}) > 0 && int({key}) < 65536");
                call(of, path, "exists", &format!("{key}, !({port})"))
            }
            Self::Wild(path) => {
                let (key, map) = (item(depth), at(of, path));
                let test = format!("{key} == '' || {key}.contains('*') || {map}[{key}].contains('*')");
                call(of, path, "exists", &format!("{key}, {test}"))
            }
            Self::Not(test) => test.cel(of, depth).not(),
            Self::All(tests) => Expression::all(tests.iter().map(|test| test.cel(of, depth))),
            Self::Any(tests) => Expression::any(tests.iter().map(|test| test.cel(of, depth))),
        }
    }
}

// === impl Format ===

impl Format {
    /// A pattern of RE2 for all texts that fit.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::DnsLabel => "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            Self::Host => "^[*]?[-A-Za-z0-9_.:]*$",
            Self::Ip => "^[0-9A-Fa-f:.]+$",
            Self::Prefix => "^[0-9A-Fa-f:.]+(/[0-9]+)?$",
        }
    }
}

// === impl Expression ===

impl Expression {
    fn most(text: String) -> Self {
        Self {
            text,
            binds: Binds::Most,
        }
    }

    fn compare(text: String) -> Self {
        Self {
            text,
            binds: Binds::Compare,
        }
    }

    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::join(parts, " && ", Binds::And)
    }

    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::join(parts, " || ", Binds::Or)
    }

    fn join(parts: impl IntoIterator<Item = Self>, operator: &str, binds: Binds) -> Self {
        let mut parts: Vec<Self> = parts.into_iter().collect();
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let parts: Vec<String> = parts.into_iter().map(|part| part.within(binds)).collect();
        Self {
            text: parts.join(operator),
            binds,
        }
    }

    fn not(self) -> Self {
        Self::most(format!("!{}", self.within(Binds::Most)))
    }

    /// In parentheses where it binds less than what is around it.
    fn within(self, binds: Binds) -> String {
        if self.binds < binds {
            format!("({})", self.text)
        } else {
            self.text
        }
    }
}

/// The value at a path.
fn at(of: &str, path: &str) -> String {
    if path.is_empty() {
        of.to_owned()
    } else {
        format!("{of}.{path}")
    }
}

/// One `has` for each name of a path.
fn set(of: &str, path: &str) -> Vec<Expression> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    let ends = ends.filter(|end| *end > 0);
    ends.map(|end| Expression::most(format!("has({of}.{})", &path[..end])))
        .collect()
}

fn is_set(of: &str, path: &str) -> Expression {
    Expression::all(set(of, path))
}

/// A method of the value at a path, where there is one.
fn call(of: &str, path: &str, method: &str, argument: &str) -> Expression {
    let call = Expression::most(format!("{}.{method}({argument})", at(of, path)));
    Expression::all(set(of, path).into_iter().chain([call]))
}

/// Two items have the same value at a path; or none, if that may be.
fn same(one: &str, other: &str, path: &str, or_none: bool) -> Expression {
    let equal = Expression::compare(format!("{} == {}", at(other, path), at(one, path)));
    let both = |of| is_set(of, path);
    let same = Expression::all([both(other), equal]);
    if !or_none {
        return same;
    }
    let none = Expression::all([both(one).not(), both(other).not()]);
    Expression::any([Expression::all([both(one), same]), none])
}

/// The name of an item within so many lists.
fn item(depth: usize) -> String {
    ["a", "b", "c", "d"].get(depth).copied().unwrap_or("e").to_owned()
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{invalid, missing};

    #[track_caller]
    fn check(refused: Test, expected: &str) {
        assert_eq!(invalid("", refused, "", "").validation()["rule"], expected);
    }

    #[test]
    fn tests_are_written_in_cel() {
        check(Test::TwoSet(&["a", "b"]), "!(has(self.a) && has(self.b))");
        check(
            Test::TwoSet(&["a", "b", "c"]),
            "!(has(self.a) && has(self.b) || has(self.a) && has(self.c) || has(self.b) && has(self.c))",
        );
        check(Test::Not(&Test::AnySet(&["a", "b"])), "has(self.a) || has(self.b)");
        check(
            Test::All(&[
                Test::Is("mode", &["X"]),
                Test::Any(&[Test::True("tls.on"), Test::Not(&Test::AnySet(&["b"]))]),
            ]),
            "!(has(self.mode) && self.mode == 'X' && (has(self.tls) && has(self.tls.on) && self.tls.on || !has(self.b)))",
        );
        check(
            Test::Some("hosts", &Test::Unlike("", Format::Ip)),
            "!(has(self.hosts) && self.hosts.exists(a, !a.matches('^[0-9A-Fa-f:.]+$')))",
        );
        check(
            Test::Two("egress", &Test::Not(&Test::AnySet(&["port"]))),
            "!(has(self.egress) && size(self.egress.filter(a, !has(a.port))) > 1)",
        );
        check(
            Test::Twice("egress", &["port.number", "bind"]),
            "!(has(self.egress) && size(self.egress) <= 64 && self.egress.exists(a, has(a.port) && has(a.port.number) \
             && !self.egress.exists_one(b, has(b.port) && has(b.port.number) && b.port.number == a.port.number && \
             (has(a.bind) && has(b.bind) && b.bind == a.bind || !has(a.bind) && !has(b.bind)))))",
        );
        check(
            Test::Wild("labels"),
            "!(has(self.labels) && self.labels.exists(a, a == '' || a.contains('*') || self.labels[a].contains('*')))",
        );
    }

    #[test]
    fn a_rule_about_items_is_one_of_each_item() {
        let rule = invalid(
            "subsets[].name",
            Test::Some("subsets", &Test::Unlike("name", Format::Ip)),
            "is no name",
            "use letters",
        );
        assert_eq!(rule.each().map(|(list, _)| list), Some("subsets"));
        assert_eq!(
            rule.validation(),
            json!({
                "rule": "!(has(self.name) && !self.name.matches('^[0-9A-Fa-f:.]+$'))",
                "message": "is no name; use letters",
                "fieldPath": ".name",
            })
        );
    }

    #[test]
    fn a_server_says_itself_what_is_required() {
        assert_eq!(
            missing("http", Test::Not(&Test::AnySet(&["http"])), "give one").validation(),
            json!({"rule": "has(self.http)", "message": "give one", "fieldPath": ".http", "reason": "FieldValueRequired"})
        );
    }
}
