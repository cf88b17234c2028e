//! Layers: which module of a crate may use which other one, as the tables of ARCHITECTURE.md say. A row uses only rows above it, so that
//! modules form no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Finding, Source};

/// Where the tables are.
const TABLES: &str = "ARCHITECTURE.md";

/// Crates whose modules have a table, under a heading of their name.
const LAYERED: &[&str] = &["mesh", "meshctl", "pilot", "proxy"];

/// Files that are no modules: they declare them, or start the program.
const ROOTS: &[&str] = &["lib", "main"];

/// How deep files that are taken in by `#[path]` take in others.
const PATHS_DEEP: usize = 4;

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    module: String,
    uses: Vec<String>,
}

/// What a module uses, and the first place of each.
type Uses<'a> = BTreeMap<String, BTreeMap<String, (&'a Source, usize)>>;

/// Where code and tables differ. `text` is that of ARCHITECTURE.md.
pub(crate) fn layers(sources: &[Source], text: &str) -> Vec<Finding> {
    let of_crate = |name: &&str| compare(name, &rows(text, name), &uses(sources, &format!("crates/{name}/src/")));
    LAYERED.iter().flat_map(of_crate).collect()
}

fn compare(name: &str, rows: &[Row], uses: &Uses<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if rows.is_empty() {
        found.push(in_table(
            0,
            format!("has no table of modules under a heading `### {name}`"),
        ));
    }
    let listed: BTreeSet<&str> = rows.iter().map(|row| row.module.as_str()).collect();
    for module in uses.keys().filter(|module| !listed.contains(module.as_str())) {
        found.push(in_table(
            0,
            format!("the table of {name} has no row for its module {module}: add it above what uses it"),
        ));
    }
    for (i, row) in rows.iter().enumerate() {
        let Some(used) = uses.get(&row.module) else {
            found.push(in_table(
                row.line,
                format!("{name} has no module {}: take the row out", row.module),
            ));
            continue;
        };
        for allowed in &row.uses {
            if !rows[..i].iter().any(|above| above.module == *allowed) {
                let message = format!(
                    "{} may not use {allowed}, which is not above it: that may close a circle",
                    row.module
                );
                found.push(in_table(row.line, message));
            } else if !used.contains_key(allowed) {
                found.push(in_table(
                    row.line,
                    format!("{} no longer uses {allowed}: take it out of the row", row.module),
                ));
            }
        }
        for (other, (source, line)) in used.iter().filter(|(other, _)| !row.uses.contains(other)) {
            let message = format!(
                "{} may not use {other} ({TABLES}): move what both need to a module below them",
                row.module
            );
            found.push(source.finding(*line, message));
        }
    }
    found
}

fn in_table(line: usize, message: String) -> Finding {
    Finding {
        path: TABLES.to_owned(),
        line,
        message,
    }
}

/// The rows under the heading of a crate: module, what it is for, what it may use.
fn rows(text: &str, name: &str) -> Vec<Row> {
    let heading = format!("### {name}");
    let lines = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| *line != heading)
        .skip(1);
    let lines = lines.take_while(|(_, line)| !line.starts_with('#'));
    let row = |(at, line): (usize, &str)| {
        let mut cells = line
            .strip_prefix("| `")?
            .trim_end_matches('|')
            .split('|')
            .map(str::trim);
        let module = cells.next()?.trim_end_matches('`').to_owned();
        let uses = cells.nth(1)?;
        let uses = uses
            .split(',')
            .map(str::trim)
            .filter(|other| !other.is_empty() && *other != "-");
        Some(Row {
            line: at + 1,
            module,
            uses: uses.map(str::to_owned).collect(),
        })
    };
    lines.filter_map(row).collect()
}

/// What the modules below a folder use of each other, tests left out.
fn uses<'a>(sources: &'a [Source], folder: &str) -> Uses<'a> {
    let owners = owners(sources, folder);
    let mut uses: Uses<'_> = owners.values().map(|top| (top.clone(), BTreeMap::new())).collect();
    for source in sources {
        let Some(top) = owners.get(&source.path) else { continue };
        for (line, other) in used_names(source) {
            if other != *top && uses.contains_key(&other) {
                let of_module = uses.entry(top.clone()).or_default();
                of_module.entry(other).or_insert((source, line));
            }
        }
    }
    uses
}

/// The module that every file below a folder belongs to: that of its place, or the one that takes it in by `#[path]`.
fn owners(sources: &[Source], folder: &str) -> BTreeMap<String, String> {
    let of_place = |source: &Source| {
        let top = source.path.strip_prefix(folder)?.split('/').next()?;
        let top = top.strip_suffix(".rs").unwrap_or(top);
        (!ROOTS.contains(&top)).then(|| (source.path.clone(), top.to_owned()))
    };
    let mut owners: BTreeMap<String, String> = sources.iter().filter_map(of_place).collect();
    for _ in 0..PATHS_DEEP {
        let mut taken = Vec::new();
        for source in sources {
            let Some(owner) = owners.get(&source.path) else {
                continue;
            };
            taken.extend(files_by_path(source).map(|path| (path, owner.clone())));
        }
        for (path, owner) in taken {
            owners.entry(path).and_modify(|known| *known = owner);
        }
    }
    owners
}

/// Files that a file takes in by `#[path]`.
fn files_by_path(source: &Source) -> impl Iterator<Item = String> {
    let names = source
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    names.map(|name| {
        let mut parts: Vec<&str> = source.path.split('/').collect();
        parts.pop();
        for part in name.split('/') {
            if part == ".." {
                parts.pop();
            } else {
                parts.push(part);
            }
        }
        parts.join("/")
    })
}

/// The first name behind every `crate::`, and every name of the first level behind `crate::{`, with lines.
fn used_names(source: &Source) -> Vec<(usize, String)> {
    const CRATE: &str = "crate::";
    let last = source.production_lines();
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices(CRATE) {
        let before = source.code[..at].chars().next_back();
        let line = source.code[..at].matches('\n').count() + 1;
        if line > last || before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &source.code[at + CRATE.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => first_level(group),
            None => vec![first_word(rest)],
        };
        found.extend(
            names
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(|name| (line, name.to_owned())),
        );
    }
    found
}

/// The names at which the items of a group begin: `a` and `d` of `a::{b, c}, d}`.
fn first_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(first_word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "### c\n\n| module | for | may use |\n|---|---|---|\n| `low` | x | - |\n| `high` | y | low |\n\
                         \n## Other\n| `no` | x | - |\n";

    /// What is said of a crate whose modules hold this.
    #[track_caller]
    fn check(table: &str, low: &str, high: &str, expected: &[&str]) {
        let sources = [
            Source::new("crates/c/src/lib.rs", "mod low;\nmod high;\nuse crate::high::X;\n"),
            Source::new("crates/c/src/low.rs", low),
            Source::new("crates/c/src/high/mod.rs", high),
        ];
        let found = compare("c", &rows(table, "c"), &uses(&sources, "crates/c/src/"));
        let found: Vec<String> = found
            .iter()
            .map(|f| format!("{}:{} {}", f.path, f.line, f.message))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn a_circle_is_found() {
        let high = "use crate::low::A;\n";
        check(TABLE, "", high, &[]);
        check(
            TABLE,
            "use std::x;\n\nuse crate::high::B;\n",
            high,
            &["crates/c/src/low.rs:3 low may not use high"],
        );
        // Nor may a table allow one.
        let table = TABLE.replace("| x | - |\n| `high`", "| x | high |\n| `high`");
        check(
            &table,
            "use crate::high::B;\n",
            high,
            &["ARCHITECTURE.md:5 low may not use high, which is not above it"],
        );
    }

    #[test]
    fn tables_and_code_are_the_same() {
        check(TABLE, "", "", &["ARCHITECTURE.md:6 high no longer uses low"]);
        check(
            "### c\n| `low` | x | - |\n",
            "",
            "",
            &["ARCHITECTURE.md:0 the table of c has no row for its module high"],
        );
        check(
            "",
            "",
            "",
            &[
                "ARCHITECTURE.md:0 has no table",
                "ARCHITECTURE.md:0",
                "ARCHITECTURE.md:0",
            ],
        );
        let more = TABLE.replace("| `low`", "| `gone` | x | - |\n| `low`");
        check(
            &more,
            "",
            "use crate::low::A;\n",
            &["ARCHITECTURE.md:5 c has no module gone"],
        );
    }

    #[test]
    fn a_file_belongs_to_whoever_takes_it_in() {
        let sources = [
            Source::new(
                "crates/c/src/low/mod.rs",
                "#[path = \"../high/config.rs\"]\npub mod high;\n",
            ),
            Source::new("crates/c/src/high/mod.rs", "use crate::low::A;\n"),
            Source::new(
                "crates/c/src/high/config.rs",
                "#[path = \"a/config.rs\"]\npub mod a;\nuse crate::low::B;\n",
            ),
            Source::new("crates/c/src/high/a/config.rs", "\nuse crate::high::C;\n"),
        ];
        let found = compare("c", &rows(TABLE, "c"), &uses(&sources, "crates/c/src/"));
        let found: Vec<String> = found
            .iter()
            .map(|f| format!("{}:{} {}", f.path, f.line, f.message))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("crates/c/src/high/a/config.rs:2 low may not use high"),
            "{found:?}"
        );
    }

    #[test]
    fn every_way_of_naming_a_module_counts() {
        let used = |text: &str| -> Vec<String> {
            used_names(&Source::new("a.rs", text))
                .into_iter()
                .map(|(_, name)| name)
                .collect()
        };
        assert_eq!(
            used("use crate::a::{self, B};\nfn f() { crate::b::c(); }\n"),
            ["a", "b"]
        );
        assert_eq!(used("use crate::{\n    a, b::{c, d}, e as f,\n};\n"), ["a", "b", "e"]);
        assert_eq!(
            used("// crate::a\nlet x = \"crate::b\";\n#[cfg(test)]\nmod tests { use crate::c; }\n"),
            [""; 0]
        );
    }
}
