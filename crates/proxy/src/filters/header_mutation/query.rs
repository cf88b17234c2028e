//! Changes of query parameters. As in Envoy, a query that was changed has its parameters in the order of their names, each with `=`. What
//! the client wrote stays as it is; Envoy decodes it and does not encode it again, which changes what it means.

use std::collections::BTreeMap;

use crate::model::filters::header_mutation::QueryMutation;
use crate::model::route::AppendAction;
use crate::stream_info::StreamInfo;
use crate::stream_info::operators::{Headers, write_format};
use crate::stream_info::path::RequestPath;
use crate::stream_info::request::RequestHead;

/// Names and values as they are written, by decoded names.
type Parameters = BTreeMap<Vec<u8>, Vec<(String, String)>>;

/// Changes the query of a request.
pub(super) fn change(mutations: &[QueryMutation], head: &mut RequestHead, info: &StreamInfo) {
    if mutations.is_empty() {
        return;
    }
    let mut parameters = head.path.query().map(parse).unwrap_or_default();
    for mutation in mutations {
        match mutation {
            QueryMutation::Remove(name) => {
                parameters.remove(name.as_bytes());
            }
            QueryMutation::Add { name, value, action } => {
                let mut text = String::new();
                let headers = Headers::Live {
                    request: head,
                    response: None,
                };
                write_format(value, info, headers, &mut text);
                put(&mut parameters, name, &text, *action);
            }
        }
    }
    let path = write(head.path.path(), &parameters);
    if let Ok(path) = path.parse::<RequestPath>() {
        head.path = path;
    }
}

fn parse(query: &str) -> Parameters {
    let mut parameters = Parameters::new();
    for part in query.split('&') {
        if query.is_empty() {
            continue;
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let pair = (name.to_owned(), value.to_owned());
        parameters.entry(decode(name)).or_default().push(pair);
    }
    parameters
}

fn put(parameters: &mut Parameters, name: &str, value: &str, action: AppendAction) {
    let known = parameters.contains_key(name.as_bytes());
    let values = match action {
        AppendAction::AddIfAbsent if known => return,
        AppendAction::OverwriteIfExists if !known => return,
        AppendAction::AppendOrAdd
        | AppendAction::AddIfAbsent
        | AppendAction::OverwriteOrAdd
        | AppendAction::OverwriteIfExists => parameters.entry(name.as_bytes().to_vec()).or_default(),
    };
    if matches!(action, AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists) {
        values.clear();
    }
    values.push((encode(name), encode(value)));
}

fn write(path: &str, parameters: &Parameters) -> String {
    let mut out = path.to_owned();
    for (at, (name, value)) in parameters.values().flatten().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Escapes all but the letters that Envoy leaves.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        for (query, expected) in [
            ("b=2&a=1", "/?a=1&b=2"),
            ("a=1&a=%20x", "/?a=1&a=%20x"),
            ("a&b=", "/?a=&b="),
            ("a=%zz%2", "/?a=%zz%2"),
            ("%62=1&a+b=%2B", "/?a+b=%2B&%62=1"),
            ("", "/"),
        ] {
            assert_eq!(write("/", &parse(query)), expected, "{query}");
        }
    }

    #[test]
    fn actions_differ_where_a_name_is_known() {
        for (action, known, unknown) in [
            (AppendAction::AppendOrAdd, "/?a=1&a=2", "/?a=2"),
            (AppendAction::AddIfAbsent, "/?a=1", "/?a=2"),
            (AppendAction::OverwriteOrAdd, "/?a=2", "/?a=2"),
            (AppendAction::OverwriteIfExists, "/?a=2", "/"),
        ] {
            for (query, expected) in [("a=1", known), ("", unknown)] {
                let mut parameters = parse(query);
                put(&mut parameters, "a", "2", action);
                assert_eq!(write("/", &parameters), expected, "{action:?} {query}");
            }
        }
    }
}
