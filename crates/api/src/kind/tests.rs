//! The table fits itself, and what is read by it.

use std::collections::BTreeSet;
use std::fmt::Write;

use expect_test::expect_file;

use super::*;
use crate::parse::{Parsed, parse};

fn all() -> impl Iterator<Item = (Kind, &'static KindFacts)> {
    Kind::ALL.iter().map(|kind| (*kind, kind.facts()))
}

fn read(kind: Kind, version: &str, rest: &str) -> Parsed {
    let api_version = kind.api_version(version);
    let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a, namespace: b}}\n{rest}\n");
    parse("f.yaml", &text)
}

/// Names tell kinds apart: in paths of a server, in findings, and in what users write.
#[test]
fn no_two_kinds_share_a_name() {
    for name in [
        |kind: Kind, _: &KindFacts| kind.unique_name().to_owned(),
        |_: Kind, facts: &KindFacts| format!("{} of {}", facts.name, facts.group.name()),
        |_: Kind, facts: &KindFacts| format!("{}.{}", facts.plural, facts.group.name()),
    ] {
        let names: BTreeSet<String> = all().map(|(kind, facts)| name(kind, facts)).collect();
        assert_eq!(names.len(), Kind::ALL.len(), "{names:?}");
    }
}

#[test]
fn groups_are_in_the_order_of_their_names() {
    let names: Vec<&str> = Group::all().into_iter().map(Group::name).collect();
    assert!(names.is_sorted(), "{names:?}");
}

/// A status needs an object that is followed and a definition or a controller that has one.
#[test]
fn facts_fit_each_other() {
    for (kind, facts) in all() {
        assert!(!facts.versions.is_empty() && !facts.purpose.is_empty(), "{kind}");
        let is_ours = facts.definition != Definition::Others;
        let is_followed = facts.watch == Watch::All;
        let is_told = facts.status == Status::Written;
        assert!(!is_told || (is_followed && facts.scope == Scope::Namespaced), "{kind}");
        assert!(!is_ours || is_told, "{kind} is ours, and nobody tells its objects");
        let is_looked_at = facts.admission() != Admission::Unasked;
        assert!(
            !is_ours || is_looked_at,
            "{kind} is ours, and nobody refuses its objects"
        );
        let closes = matches!(facts.when_broken, WhenBroken::Closes(_));
        assert!(!closes || facts.watch != Watch::Never, "{kind}");
    }
}

#[test]
fn kinds_are_read_in_each_of_their_versions_and_in_no_other() {
    for (kind, facts) in all() {
        let unknown = |version: &str| {
            let found = read(kind, version, "").diagnostics;
            found
                .iter()
                .any(|found| found.field == "apiVersion" || found.field == "kind")
        };
        for version in facts.versions {
            assert!(!unknown(version), "{kind} in {version}");
        }
        assert!(unknown("v0"), "{kind}");
    }
}

/// However little of it can be read: the first version of a policy leaves nothing open.
#[test]
fn broken_objects_of_kinds_that_close_have_a_stand_in_of_their_kind() {
    for (kind, facts) in all() {
        for rest in ["spec: {nonsense: 1}", "spec: []", "spec: nonsense", "nonsense: 1"] {
            let parsed = read(kind, facts.versions[0], rest);
            let kinds: Vec<Kind> = parsed.stand_ins.iter().map(crate::resource::Resource::kind).collect();
            match facts.when_broken {
                WhenBroken::Nothing => assert_eq!(kinds, [], "{kind} with {rest}"),
                WhenBroken::Closes(_) => {
                    assert_eq!(parsed.resources, [], "{kind} with {rest}");
                    assert_eq!(kinds, [kind], "{kind} with {rest}");
                    assert!(crate::stand_in::meaning(&parsed.stand_ins[0]).is_some());
                }
            }
        }
    }
}

fn row(facts: &KindFacts) -> String {
    let group = match facts.group.name() {
        "" => String::new(),
        group => format!("{group}/"),
    };
    let short = match facts.definition {
        Definition::Ours { short: [], .. } => "installed".to_owned(),
        Definition::Ours { short, .. } => format!("installed, `{}`", short.join("`, `")),
        Definition::Others => String::new(),
    };
    let watch = match facts.watch {
        Watch::All => "all".to_owned(),
        Watch::One(name) => format!("`{name}` in the root namespace"),
        Watch::NamedByGateways => "those that gateways name".to_owned(),
        Watch::Never => "none, files alone".to_owned(),
    };
    let admission = match facts.admission() {
        Admission::Unasked => "",
        Admission::Refused => "refused",
        Admission::Warned => "warned of",
    };
    let status = match facts.status {
        Status::NotOurs => "",
        Status::Written => "written",
    };
    let broken = match facts.when_broken {
        WhenBroken::Nothing => "",
        WhenBroken::Closes(_) => "closes",
    };
    let versions = facts.versions.join("`, `");
    format!(
        "| {} | `{group}{versions}` | {} | {watch} | {short} | {status} | {admission} | {broken} |\n",
        facts.name, facts.purpose
    )
}

/// `docs/kinds.md` is what the table says.
#[test]
fn committed_kinds_are_up_to_date() {
    let mut text = concat!(
        "# Kinds\n",
        "\n",
        "Made from the table in `crates/api/src/kind/table.rs` by `cargo xtask golden committed_kinds`. [What the control plane\n",
        "reads and writes](kubernetes.md) says more, and [how to add a kind](development.md#add-a-kind).\n",
        "\n",
        "- *Read*: which objects of a cluster. Files may hold all kinds.\n",
        "- *Definition*: whether an installation tells the server of the kind, and its short names.\n",
        "- *Status*: whether objects are told what became of them.\n",
        "- *Broken*: what the webhook does with an object that cannot be used; and whether one that was never readable closes ",
        "what it might have closed\n",
        "  ([decision 66](decisions/0066-broken-policies-close.md)).\n",
        "\n",
    )
    .to_owned();
    text.push_str("| Kind | Versions, the first that the server has | For | Read | Definition | Status ");
    text.push_str("| Broken at admission | Broken from the start |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (_, facts) in all() {
        write!(text, "{}", row(facts)).unwrap();
    }
    text.push_str("\nKnown, not read, and passed over with a warning: ");
    let unread: Vec<String> = UNREAD
        .iter()
        .map(|(group, name)| format!("{name} of `{group}`"))
        .collect();
    text.push_str(&format!("{}.\n", unread.join(", ")));
    expect_file!["../../../../docs/kinds.md"].assert_eq(&text);
}
