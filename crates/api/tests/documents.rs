//! Documents that are broken as such, or hold something else than one object: what is said of them, and that the others stay.

use expect_test::{Expect, expect};
use weft_api::parse::parse;

/// Checks the findings of a text, and how many objects are usable.
#[track_caller]
fn check(text: &str, usable: usize, expected: Expect) {
    let parsed = parse("f.yaml", text);
    let lines: String = parsed.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&lines);
    assert_eq!(parsed.resources.len(), usable, "{:?}", parsed.resources);
}

#[test]
fn a_broken_document_leaves_the_others() {
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80, name: http}]}\n";
    let text = format!(
        "{}---\na: [1\n---\n{}---\n\tx: 1\n---\n{}",
        good.replace("NAME", "a"),
        good.replace("NAME", "b"),
        good.replace("NAME", "c")
    );
    check(
        &text,
        3,
        expect![[r#"
            f.yaml:6:4: error [WEFT0001]: is not valid YAML: unclosed bracket '['; check indentation, quotes and colons near this line
            f.yaml:13:2: error [IST0106] apiVersion: is required; for example networking.istio.io/v1
            f.yaml:13:2: error [IST0106] kind: is required; for example VirtualService
        "#]],
    );
}

#[test]
fn lists_and_json() {
    check(
        r#"{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}},
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": "80"}]}}
]}"#,
        1,
        expect![[r#"
            f.yaml:3:98: error [IST0106] Service/default/b items[1].spec.ports[0].port: is text, but must be a whole number; leave the quotes away
        "#]],
    );
}

#[test]
fn keys_given_twice_and_merged_keys() {
    check(
        "apiVersion: v1\nkind: Service\nkind: Service\nmetadata: {name: a, labels: {x: a, x: b}}\nspec: {ports: [{port: 80}]}\n",
        0,
        expect![[r#"
            f.yaml:3:1: error [IST0106] Service/default/a kind: is given twice; remove one of them
            f.yaml:4:36: error [IST0106] Service/default/a metadata.labels.x: is given twice; remove one of them
        "#]],
    );
}
