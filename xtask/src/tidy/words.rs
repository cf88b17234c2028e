//! Words that have no place in some or all files: unfinished code, glob imports of the own crate, protobuf beyond the edge,
//! clocks and environment in pure modules.

use super::source::{Finding, Source};

/// Nowhere.
const BANNED: &[(&str, &str)] = &[
    ("use crate::*", "name what is imported"),
    ("dbg!", "remove it"),
    ("todo!", "write it"),
    ("unimplemented!", "write it"),
    ("#[ignore", "mend or delete the test"),
    ("#[should_panic", "return the error and assert it"),
];

/// Names of protobuf types.
const PROTOBUF: &[&str] = &["weft_proto::xds", "envoy_types", "prost::", "prost_reflect"];
/// Where protobuf ends: files that turn it into checked types, or checked types into it.
const PROTOBUF_FOLDERS: &[&str] = &[
    "proto/",
    "xtask/",
    "deploy/samples/",
    "tests/",
    "crates/base/",
    "crates/citadel/",
    "crates/telemetry/",
    "crates/mesh/src/generate/",
    "crates/mesh/tests/",
    "crates/pilot/",
    "crates/meshctl/",
    "crates/proxy/tests/",
    "crates/proxy/build.rs",
    "crates/proxy/src/bootstrap",
    "crates/proxy/src/model/convert",
    "crates/proxy/src/xds",
    "crates/proxy/src/sds_agent.rs",
    "crates/proxy/src/admin",
    "crates/proxy/src/status",
    "crates/proxy/src/observe",
];

/// Files of other folders in which protobuf ends, too: what a filter is told.
const PROTOBUF_FILTERS: (&[&str], &str) = (
    &["crates/proxy/src/filters/", "crates/proxy/src/network_filters/"],
    "config.rs",
);

/// Pure modules: all they know comes as arguments.
const PURE_FOLDERS: &[&str] = &[
    "crates/api/src/",
    "crates/proxy/src/model/",
    "crates/proxy/src/route/",
    "crates/mesh/src/",
];
/// What a pure module does not do.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "take the time as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("env::var", "take the value as an argument"),
    ("tokio::spawn", "leave tasks to the caller"),
    ("fastrand::", "take the random number as an argument"),
];

/// Words that are banned everywhere.
pub(crate) fn banned(source: &Source) -> Vec<Finding> {
    occurrences(source, BANNED, usize::MAX)
}

/// Impure words in the shipped part of pure modules.
pub(crate) fn impure(source: &Source) -> Vec<Finding> {
    if !starts_with_any(&source.path, PURE_FOLDERS) {
        return Vec::new();
    }
    occurrences(source, IMPURE, source.production_lines())
}

/// Protobuf types outside the folders that end them.
pub(crate) fn protobuf(source: &Source) -> Vec<Finding> {
    let (folders, file) = PROTOBUF_FILTERS;
    let of_filter = starts_with_any(&source.path, folders) && source.path.ends_with(file);
    if of_filter || starts_with_any(&source.path, PROTOBUF_FOLDERS) {
        return Vec::new();
    }
    let fix = "convert it to the checked model at the edge (crates/proxy/src/model/convert)";
    let words: Vec<(&str, &str)> = PROTOBUF.iter().map(|word| (*word, fix)).collect();
    occurrences(source, &words, source.production_lines())
}

fn starts_with_any(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

fn occurrences(source: &Source, words: &[(&str, &str)], lines: usize) -> Vec<Finding> {
    if source.is_generated() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in source.code.lines().enumerate().take(lines) {
        for (word, fix) in words.iter().filter(|(word, _)| line.contains(word)) {
            found.push(source.finding(index + 1, format!("has `{word}`: {fix}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_in_code_alone() {
        assert_eq!(
            banned(&Source::new("a.rs", "use crate::*;\nfn f() { todo!() }\n")).len(),
            2
        );
        assert!(banned(&Source::new("a.rs", "// todo! is banned\nlet x = \"dbg!\";\n")).is_empty());
    }

    #[test]
    fn protobuf_ends_at_the_edge() {
        let text = "use weft_proto::xds::Cluster;\n";
        assert_eq!(protobuf(&Source::new("crates/proxy/src/http/mod.rs", text)).len(), 1);
        assert_eq!(protobuf(&Source::new("crates/mesh/src/view.rs", text)).len(), 1);
        assert!(protobuf(&Source::new("crates/proxy/src/model/convert/mod.rs", text)).is_empty());
        assert!(protobuf(&Source::new("crates/proxy/src/filters/cors/config.rs", text)).is_empty());
        assert_eq!(
            protobuf(&Source::new("crates/proxy/src/filters/cors/mod.rs", text)).len(),
            1
        );
    }

    #[test]
    fn pure_modules_take_time_as_an_argument() {
        let text = "fn f() { Instant::now(); }\n#[cfg(test)]\nfn g() { Instant::now(); }\n";
        assert_eq!(impure(&Source::new("crates/proxy/src/route/mod.rs", text)).len(), 1);
        assert_eq!(impure(&Source::new("crates/mesh/src/view.rs", text)).len(), 1);
        assert!(impure(&Source::new("crates/proxy/src/http/mod.rs", text)).is_empty());
    }
}
