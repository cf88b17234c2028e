//! The parser and the rules of the definitions say the same of a table of objects. The scenario `mesh-crd-rules` of e2e asks a server
//! of the same ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use serde_json::Value;
use weft_api::crd;
use weft_api::diagnostic::Severity;
use weft_api::parse::{documents, parse};

const TABLE: &str = include_str!("crd_rules.yaml");

/// An object of the table, and what is said of it: field and text. Nothing where it is accepted.
#[derive(Debug)]
struct Case {
    text: &'static str,
    kind: &'static str,
    refused: Vec<(&'static str, &'static str)>,
}

fn cases() -> Vec<Case> {
    let case = |text: &'static str| Case {
        text,
        kind: text.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap(),
        refused: text
            .lines()
            .filter_map(|line| line.strip_prefix("# refused "))
            .map(|line| line.split_once(": ").unwrap())
            .collect(),
    };
    documents(TABLE).map(case).collect()
}

/// A field as the parser writes it: a server puts the keys of maps in brackets.
fn field(of_server: &str) -> String {
    let mut parts = of_server.split('[');
    let mut field = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) = part.split_once(']').unwrap();
        let item = key.bytes().all(|b| b.is_ascii_digit());
        field += &if item { format!("[{key}]") } else { format!(".{key}") };
        field += rest;
    }
    field
}

#[test]
fn the_parser_agrees() {
    for case in cases() {
        let found = parse("", case.text).diagnostics;
        let errors: Vec<_> = found.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(
            errors.is_empty(),
            case.refused.is_empty(),
            "{errors:?} of\n{}",
            case.text
        );
        for (path, text) in &case.refused {
            // The parser has values in its messages.
            let said = errors.iter().any(|error| {
                let message = text.strip_suffix(&format!("; {}", error.hint));
                error.field.starts_with(&field(path)) && message.is_some_and(|message| error.message.contains(message))
            });
            assert!(said, "{path}: {text}, but {errors:?} of\n{}", case.text);
        }
    }
}

/// All messages of rules within a schema.
fn messages(schema: &Value, all: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        all.insert(rule["message"].as_str().unwrap().to_owned());
    }
    let inner = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values());
    let inner = inner.chain(["items", "additionalProperties"].map(|key| &schema[key]));
    let inner = inner.filter(|schema| schema.is_object());
    inner.for_each(|schema| messages(schema, all));
}

/// Of the kind that has it; a rule of what several kinds have, such as selectors, is asked of one of them.
#[test]
fn every_rule_has_an_object_that_breaks_it() {
    let cases = cases();
    let mut with_objects = 0;
    for definition in crd::definitions() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let mut all = BTreeSet::new();
        messages(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            &mut all,
        );
        let own: Vec<&Case> = cases.iter().filter(|case| case.kind == kind).collect();
        with_objects += usize::from(!own.is_empty());
        let accepted = own.is_empty() || own.iter().any(|case| case.refused.is_empty());
        assert!(accepted, "no {kind} is accepted");
        // A kind with objects breaks all of its rules, one without has none of its own.
        let asked = cases.iter().filter(|case| own.is_empty() || case.kind == kind);
        let refused: Vec<&str> = asked.flat_map(|case| &case.refused).map(|(_, text)| *text).collect();
        for message in all {
            let broken = refused.iter().any(|text| text.ends_with(&message));
            assert!(broken, "no {kind} of the table breaks: {message}");
        }
    }
    assert!(with_objects >= 10, "objects are not found: {with_objects}");
}
