//! Envoy's format strings, of access logs and of values of headers: what the proxy would refuse of one.
//!
//! A proxy refuses all that a bad format stands in: a listener, a route configuration. So it is held against the proxy's own words
//! before anything is made of it.

use weft_proto::operators::{Argument, OPERATORS};

use super::check;

/// Longest format. It is part of every listener that logs.
const BYTES_MAX: usize = 64 << 10;

/// Deepest JSON format. Three messages carry one level, and messages may be no deeper than 100.
const DEPTH_MAX: usize = 16;

/// What is wrong with a format, if anything.
pub(super) fn check(format: &str) -> Result<(), String> {
    if format.len() > BYTES_MAX {
        return Err(format!("has {} bytes, more than {BYTES_MAX}", format.len()));
    }
    let mut rest = format;
    while let Some((_, inside)) = rest.split_once('%') {
        if let Some(after) = inside.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(mut end) = inside.find('%') else {
            return Err("has a percent sign that begins no operator such as %REQ(x-name)%".to_owned());
        };
        // A format of times has percent signs itself: the operator ends behind its parenthesis then.
        if inside.find('(').is_some_and(|open| open < end) {
            end = behind_parenthesis(inside).unwrap_or(end);
        }
        operator(&inside[..end]).map_err(|reason| format!("has the operator %{}%, which {reason}", &inside[..end]))?;
        rest = &inside[end + 1..];
    }
    Ok(())
}

/// The same for a JSON object of formats.
pub(super) fn check_json(format: &str) -> Result<(), String> {
    if format.len() > BYTES_MAX {
        return Err(format!("has {} bytes, more than {BYTES_MAX}", format.len()));
    }
    match serde_json::from_str::<serde_json::Value>(format) {
        Ok(object) if object.is_object() => values(&object, 0),
        Ok(_) | Err(_) => Err("is not a JSON object, as accessLogEncoding JSON asks for".to_owned()),
    }
}

fn values(value: &serde_json::Value, depth: usize) -> Result<(), String> {
    use serde_json::Value;
    match value {
        Value::Object(_) if depth > DEPTH_MAX => Err(format!("has objects deeper than {DEPTH_MAX}")),
        Value::Object(map) => map.values().try_for_each(|inner| values(inner, depth + 1)),
        Value::String(text) => check(text),
        // They become text.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => check(&value.to_string()),
    }
}

/// Where an operator ends whose parenthesis is closed: at `)%`, or at `):` with a length and `%`.
fn behind_parenthesis(inside: &str) -> Option<usize> {
    inside.match_indices(')').find_map(|(close, _)| {
        let rest = &inside[close + 1..];
        let tail = match rest.strip_prefix(':') {
            Some(length) => length.trim_start_matches(|c: char| c.is_ascii_alphanumeric()),
            None => rest,
        };
        tail.starts_with('%').then(|| inside.len() - tail.len())
    })
}

/// What is wrong with `NAME` or `NAME(argument)`, either with `:length`.
fn operator(text: &str) -> Result<(), String> {
    let (name, argument, tail) = match text.split_once('(') {
        None => match text.split_once(':') {
            Some((name, length)) => (name, None, Some(length)),
            None => (text, None, None),
        },
        Some((name, rest)) => {
            let Some((argument, tail)) = rest.rsplit_once(')') else {
                return Err("has an open parenthesis".to_owned());
            };
            match tail.strip_prefix(':') {
                None if !tail.is_empty() => return Err("has text behind its parenthesis".to_owned()),
                length => (name, Some(argument), length),
            }
        }
    };
    if tail.is_some_and(|length| length.parse::<usize>().is_err()) {
        return Err("has a length that is no number".to_owned());
    }
    let Some((_, arguments)) = OPERATORS.iter().find(|(known, _)| *known == name) else {
        let near = crate::suggest::nearest(name, OPERATORS.iter().map(|(known, _)| *known));
        let near = near.map_or_else(String::new, |near| format!("; did you mean %{near}%?"));
        return Err(format!("proxies do not have{near}"));
    };
    let fits = arguments.iter().any(|one| fits(*one, argument));
    fits.then_some(()).ok_or_else(|| match argument {
        Some(_) => "does not take this argument".to_owned(),
        None => "needs an argument in parentheses".to_owned(),
    })
}

fn fits(kind: Argument, argument: Option<&str>) -> bool {
    let Some(text) = argument else {
        return kind == Argument::Absent;
    };
    match kind {
        Argument::Absent => false,
        Argument::Text => true,
        Argument::Header => {
            let (first, second) = text.split_once('?').unwrap_or((text, "x"));
            check::is_field(first) && check::is_field(second)
        }
        Argument::Keys => text.split(':').next().is_some_and(|name| !name.is_empty()),
        Argument::Word(words) => words.contains(&text),
        Argument::Named(words) => {
            let (name, form) = text
                .split_once(':')
                .unwrap_or_else(|| (text, words.first().copied().unwrap_or_default()));
            !name.is_empty() && words.contains(&form)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_held_against_what_proxies_have() {
        for (format, wrong) in [
            ("", None),
            ("plain", None),
            ("50%%", None),
            ("%REQ(x-name)%", None),
            ("%REQ(:METHOD)% %REQ(X-A?:PATH):10% %PROTOCOL%", None),
            ("a %START_TIME(%Y/%m %3f)% b %START_TIME%", None),
            ("%GRPC_STATUS(NUMBER)%%GRPC_STATUS%", None),
            (
                "%DYNAMIC_METADATA(a.b:c:d):5% %FILTER_STATE(a)% %FILTER_STATE(a:PLAIN)%",
                None,
            ),
            ("50%", Some("begins no operator")),
            ("%REQ(x-name", Some("begins no operator")),
            ("%lower%", Some("proxies do not have")),
            ("%PROTOCOLS%", Some("did you mean %PROTOCOL%?")),
            (
                "%UPSTREAM_HOST_NAME%",
                Some("%UPSTREAM_HOST_NAME%, which proxies do not have"),
            ),
            ("%REQ_WITHOUT_QUERY(x)%", Some("proxies do not have")),
            ("%REQ(a b)%", Some("does not take this argument")),
            ("%REQ(:nothing)%", Some("does not take this argument")),
            ("%REQ%", Some("needs an argument")),
            ("%PROTOCOL(x)%", Some("does not take this argument")),
            ("%REQ(a):x%", Some("length that is no number")),
            ("%FILTER_STATE(a:FIELD:b)%", Some("does not take this argument")),
            ("%METADATA(CLUSTER:a:b)%", Some("does not take this argument")),
        ] {
            let found = check(format).err();
            let told = wrong.is_none() == found.is_none();
            let says = wrong.is_none_or(|wrong| found.as_ref().is_some_and(|found| found.contains(wrong)));
            assert!(told && says, "{format:?}: {found:?}");
        }
    }

    #[test]
    fn every_text_of_a_json_format_is_looked_at() {
        for (format, fits) in [
            ("{}", true),
            (
                r#"{"a": "%PROTOCOL%", "b": {"c": "%REQ(x)%"}, "d": 3, "e": ["%PROTOCOL%"]}"#,
                true,
            ),
            (r#"{"b": {"c": "%NO_SUCH%"}}"#, false),
            (r#"{"e": ["%NO_SUCH%"]}"#, false),
            ("[]", false),
            ("%PROTOCOL%", false),
        ] {
            assert_eq!(check_json(format).is_ok(), fits, "{format}");
        }
        let deep = format!("{}{{}}{}", r#"{"a":"#.repeat(40), "}".repeat(40));
        assert!(check_json(&deep).is_err_and(|reason| reason.contains("deeper")));
    }
}
