//! What pilot may do with objects, made of the table of kinds: no more than what it follows, and statuses that it writes.

use serde_json::Value;
use weft_api::kind::{Group, Kind, KindFacts, Status, Watch};

use super::rbac::rule;

/// What a watch uses; it never asks for single objects.
const WATCH: &[&str] = &["list", "watch"];

/// The rules for the kinds of a group in the whole cluster.
pub(super) fn of_group(group: Group) -> Vec<Value> {
    let groups = &[group.name()];
    let mut rules = Vec::new();
    let read = plurals(group, |facts| {
        facts.watch == Watch::All && facts.status == Status::NotOurs
    });
    if !read.is_empty() {
        rules.push(rule(groups, &read, WATCH, &[]));
    }
    for facts in Kind::ALL.iter().map(|kind| kind.facts()) {
        // In the root namespace, which need not exist yet, so that the rule is for every namespace.
        if let Watch::One(name) = facts.watch
            && facts.group == group
        {
            rules.push(rule(groups, &[facts.plural], WATCH, &[name]));
        }
    }
    let told = plurals(group, |facts| facts.status == Status::Written);
    if !told.is_empty() {
        // An object is read again before its status is written.
        rules.push(rule(groups, &told, &["get", "list", "watch"], &[]));
        let statuses: Vec<String> = told.iter().map(|plural| format!("{plural}/status")).collect();
        let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
        rules.push(rule(groups, &statuses, &["patch"], &[]));
    }
    rules
}

/// The rules in a namespace with gateways for what those name; each object is watched by its name.
pub(super) fn named_by_gateways() -> Vec<Value> {
    let named = Kind::ALL.iter().map(|kind| kind.facts());
    let named = named.filter(|facts| facts.watch == Watch::NamedByGateways);
    named
        .map(|facts| rule(&[facts.group.name()], &[facts.plural], WATCH, &[]))
        .collect()
}

/// Names in paths of the kinds of a group that fit, sorted.
fn plurals(group: Group, fits: impl Fn(&KindFacts) -> bool) -> Vec<&'static str> {
    let facts = Kind::ALL.iter().map(|kind| kind.facts());
    let fitting = facts.filter(|facts| facts.group == group && fits(facts));
    let mut plurals: Vec<&str> = fitting.map(|facts| facts.plural).collect();
    plurals.sort_unstable();
    plurals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rule says of a resource: its verbs, and whether only some objects are meant.
    fn granted(resource: &str, group: &str) -> Vec<(String, bool)> {
        let all = Group::all().into_iter().flat_map(of_group);
        let has = |list: &Value, text: &str| list.as_array().unwrap().iter().any(|entry| entry == text);
        all.filter(|rule| has(&rule["apiGroups"], group) && has(&rule["resources"], resource))
            .map(|rule| (rule["verbs"].to_string(), rule["resourceNames"].is_array()))
            .collect()
    }

    #[test]
    fn what_is_followed_may_be_read_and_what_is_told_may_be_written_to() {
        for kind in Kind::ALL {
            let facts = kind.facts();
            let (group, plural) = (facts.group.name(), facts.plural);
            let (read, told) = (r#"["list","watch"]"#, r#"["get","list","watch"]"#);
            let expected: &[(&str, bool)] = match (facts.watch, facts.status) {
                (Watch::All, Status::NotOurs) => &[(read, false)],
                (Watch::All, Status::Written) => &[(told, false)],
                (Watch::One(_), _) => &[(read, true)],
                (Watch::NamedByGateways | Watch::Never, _) => &[],
            };
            let expected: Vec<_> = expected
                .iter()
                .map(|(verbs, some)| ((*verbs).to_owned(), *some))
                .collect();
            assert_eq!(granted(plural, group), expected, "{kind}");
            let status = granted(&format!("{plural}/status"), group);
            let patched = status == [(r#"["patch"]"#.to_owned(), false)];
            assert_eq!(patched, facts.status == Status::Written, "{kind}: {status:?}");
        }
    }
}
