//! Rules of the definitions: a server refuses objects by itself, before any webhook is asked, in the words of the webhook.

use anyhow::{Context, Result, ensure};

use crate::e2e::Scene;

/// Objects, each with what is said of it. The parser is tested with the same ones.
const TABLE: &str = include_str!("../../../../crates/api/tests/crd_rules.yaml");

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    // Names tell the answers apart.
    let cases: Vec<(String, &str)> = TABLE
        .split("\n---\n")
        .enumerate()
        .map(|(i, text)| (format!("rule-{i}"), text))
        .collect();
    let objects: Vec<String> = cases
        .iter()
        .map(|(name, text)| text.replace("{name: a}", &format!("{{name: {name}}}")))
        .collect();
    let (created, refused) = scene.kube.dry_run(&objects.join("\n---\n"))?;
    // The webhook, which is asked of what the rules let pass, refuses more: what this mesh does not enforce. It names no object.
    let mut by_webhook = refused.matches("admission webhook").count();
    for (name, text) in &cases {
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# refused "))
            .collect();
        let said = said_of(&refused, name);
        if expected.is_empty() {
            let accepted = created.lines().any(|line| line.contains(&format!("/{name} created")));
            ensure!(
                accepted || said.is_none() && by_webhook > 0,
                "the server refuses\n{text}\n{}",
                said.unwrap_or(refused.as_str())
            );
            by_webhook -= usize::from(!accepted);
        }
        for line in expected {
            let said = said.with_context(|| format!("no rule of the server refuses\n{text}"))?;
            let (field, message) = line.split_once(": ").context("a line of the table has no field")?;
            let message = message.trim_start_matches("is required; ");
            let found = said
                .lines()
                .any(|said| said.contains(&format!("{field}: ")) && said.contains(message));
            ensure!(found, "the server says\n{said}\nof\n{text}");
        }
    }
    Ok(())
}

/// What kubectl writes of an object that the server itself refused: its line, and those of its fields where there are several.
fn said_of<'a>(refused: &'a str, name: &str) -> Option<&'a str> {
    let start = refused.find(&format!("\"{name}\" is invalid"))?;
    let said = &refused[start..];
    let end = said
        .match_indices('\n')
        .map(|(end, _)| end)
        .find(|end| !said[end + 1..].starts_with('*'));
    Some(&said[..end.unwrap_or(said.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let refused = "The A \"rule-1\" is invalid: spec.a: Invalid value: x\nThe A \"rule-12\" is invalid: \n\
                       * spec.b: y\n* spec.c: z\nThe B \"rule-2\" is invalid: q\n";
        assert_eq!(
            said_of(refused, "rule-1"),
            Some("\"rule-1\" is invalid: spec.a: Invalid value: x")
        );
        assert_eq!(
            said_of(refused, "rule-12"),
            Some("\"rule-12\" is invalid: \n* spec.b: y\n* spec.c: z")
        );
        assert_eq!(said_of(refused, "rule-2"), Some("\"rule-2\" is invalid: q"));
        assert_eq!(said_of(refused, "rule-3"), None);
    }
}
