//! The crate graph: which crate of the workspace may know which other one.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Finding;

/// Every crate with what it depends on; ARCHITECTURE.md explains the edges.
const EDGES: &[(&str, &[&str])] = &[
    ("weft-proto", &[]),
    ("weft-codegen", &[]),
    ("weft-base", &["weft-proto"]),
    ("weft-api", &["weft-proto"]),
    ("weft-proxy", &["weft-base", "weft-proto"]),
    ("weft-mesh", &["weft-api", "weft-proto"]),
    ("weft-pilot", &["weft-api", "weft-base", "weft-mesh", "weft-proto"]),
    ("weft-citadel", &["weft-base", "weft-proto"]),
    ("weft-telemetry", &["weft-base", "weft-proto"]),
    ("meshctl", &["weft-api", "weft-base", "weft-mesh", "weft-proto"]),
    (
        "weft-fuzz-targets",
        &[
            "weft-api",
            "weft-citadel",
            "weft-mesh",
            "weft-proto",
            "weft-proxy",
            "weft-telemetry",
        ],
    ),
    ("weft-tests", &[]),
    ("weft-sample-callme", &[]),
    ("xtask", &[]),
];

/// Edges that the table has not, or has alone. `actual` has the normal dependencies of each workspace member on others.
pub(crate) fn edges(actual: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    compare(EDGES, actual)
}

fn compare(table: &[(&str, &[&str])], actual: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let finding = |message: String| Finding {
        path: "Cargo.toml".to_owned(),
        line: 0,
        message,
    };
    let gone = table.iter().filter(|(name, _)| !actual.contains_key(*name));
    let gone = gone.map(|(name, _)| {
        finding(format!(
            "there is no crate {name}: take it out of xtask/src/tidy/edges.rs"
        ))
    });
    let mut found: Vec<Finding> = gone.collect();
    for (name, dependencies) in actual {
        let Some((_, allowed)) = table.iter().find(|(known, _)| known == name) else {
            found.push(finding(format!(
                "crate {name} is not in the table of xtask/src/tidy/edges.rs: add it with its edges"
            )));
            continue;
        };
        for dependency in dependencies
            .iter()
            .filter(|dependency| !allowed.contains(&dependency.as_str()))
        {
            found.push(finding(format!(
                "{name} must not depend on {dependency}: move what is shared to a crate below both"
            )));
        }
        for unused in allowed.iter().filter(|allowed| !dependencies.contains(**allowed)) {
            found.push(finding(format!(
                "{name} no longer depends on {unused}: take the edge out of xtask/src/tidy/edges.rs"
            )));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_that_differ_from_the_table_are_found() {
        let table: &[(&str, &[&str])] = &[("low", &[]), ("high", &["low"])];
        let graph = |edges: &[(&str, &[&str])]| {
            let entry =
                |(name, to): &(&str, &[&str])| ((*name).to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
            edges.iter().map(entry).collect::<BTreeMap<String, BTreeSet<String>>>()
        };
        assert!(compare(table, &graph(&[("high", &["low"]), ("low", &[])])).is_empty());
        assert_eq!(
            compare(table, &graph(&[("high", &["low"]), ("low", &["high"])])).len(),
            1
        );
        assert_eq!(
            compare(table, &graph(&[("high", &["low"]), ("low", &[]), ("new", &[])])).len(),
            1
        );
        assert_eq!(compare(table, &graph(&[("high", &[]), ("low", &[])])).len(), 1);
        assert_eq!(compare(table, &graph(&[("low", &[])])).len(), 1);
    }
}
