//! Words that have no place in some or all files: unfinished code, glob imports of the own crate, protobuf beyond the edge,
//! clocks and environment in pure modules.

use super::source::{Finding, Source};

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
/// Where protobuf ends: files and folders that turn it into checked types, or checked types into it. Each names such types.
const PROTOBUF_FOLDERS: &[&str] = &[
    "proto/",
    "deploy/samples/",
    "tests/",
    "fuzz/targets/src/",
    "crates/telemetry/src/app.rs",
    "crates/telemetry/src/record.rs",
    "crates/telemetry/src/receive/",
    "crates/mesh/src/generate/",
    "crates/mesh/tests/",
    "crates/pilot/src/debug.rs",
    "crates/pilot/src/xds/",
    "crates/pilot/tests/",
    "crates/proxy/tests/",
    "crates/proxy/build.rs",
    "crates/proxy/src/bootstrap/",
    "crates/proxy/src/model/convert/",
    "crates/proxy/src/xds/",
    "crates/proxy/src/sds_agent.rs",
    "crates/proxy/src/admin/",
    "crates/proxy/src/status/",
    "crates/proxy/src/observe/",
    "crates/proxy/src/filters/ext_authz/grpc.rs",
];

/// Files of other folders in which protobuf ends, too: what a filter is told.
const PROTOBUF_FILTERS: (&[&str], &str) = (
    &["crates/proxy/src/filters/", "crates/proxy/src/network_filters/"],
    "config.rs",
);

/// Pure modules: all they know comes as arguments.
const PURE_FOLDERS: &[&str] = &[
    "crates/api/src/",
    "crates/mesh/src/",
    "crates/proxy/src/model/",
    "crates/proxy/src/route/",
    "crates/proxy/src/upstream/balance.rs",
    "crates/proxy/src/upstream/outlier.rs",
    "crates/proxy/src/xds/session.rs",
    "crates/pilot/src/xds/stream.rs",
    "crates/citadel/src/authority.rs",
];
/// How the paragraph of ARCHITECTURE.md begins that names pure modules.
const PURE_PARAGRAPH: &str = "**Architecture invariant:** decisions take time and randomness as arguments:";

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
    let fix = "convert it to checked types at the edge (the lists of xtask/src/tidy/words.rs)";
    let words: Vec<(&str, &str)> = PROTOBUF.iter().map(|word| (*word, fix)).collect();
    occurrences(source, &words, source.production_lines())
}

/// Entries of the lists above that nothing matches any more, so that they guard or allow nothing.
pub(crate) fn stale(sources: &[Source]) -> Vec<Finding> {
    let below = |path: &str, fits: &dyn Fn(&Source) -> bool| {
        let mut files = sources.iter().filter(|source| source.path.starts_with(path));
        files.any(fits)
    };
    let allowed = PROTOBUF_FOLDERS.iter().filter(|path| !below(path, &names_protobuf));
    let allowed = allowed.map(|path| of_lists(format!("`{path}` names no protobuf types: take it out of the list")));
    let (folders, file) = PROTOBUF_FILTERS;
    let has_filter = |folder: &str| below(folder, &|source| source.path.ends_with(file) && names_protobuf(source));
    let filters = folders.iter().filter(|folder| !has_filter(folder));
    let filters = filters.map(|folder| of_lists(format!("no {file} below `{folder}` names protobuf types")));
    let pure = PURE_FOLDERS.iter().filter(|path| !below(path, &|_| true));
    let pure = pure.map(|path| of_lists(format!("`{path}` matches no file: name what is pure now")));
    allowed.chain(filters).chain(pure).collect()
}

/// Modules that ARCHITECTURE.md (`text`) calls pure and that nothing guards.
pub(crate) fn unguarded(text: &str) -> Vec<Finding> {
    let Some(start) = text.find(PURE_PARAGRAPH) else {
        return vec![of_lists(
            "ARCHITECTURE.md has no paragraph any more that names pure modules".to_owned(),
        )];
    };
    let paragraph = text[start..].split("\n\n").next().unwrap_or_default();
    let named = paragraph.split('`').skip(1).step_by(2);
    let unguarded = named.filter(|path| !starts_with_any(&format!("crates/{path}"), PURE_FOLDERS));
    unguarded
        .map(|path| of_lists(format!("ARCHITECTURE.md calls `{path}` pure: guard crates/{path}, too")))
        .collect()
}

fn of_lists(message: String) -> Finding {
    Finding {
        path: "xtask/src/tidy/words.rs".to_owned(),
        line: 0,
        message,
    }
}

fn names_protobuf(source: &Source) -> bool {
    source.is_generated() || PROTOBUF.iter().any(|word| source.code.contains(word))
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

    #[test]
    fn lists_name_what_there_is() {
        let everything = PROTOBUF_FOLDERS
            .iter()
            .map(|path| Source::new(path, "use prost::Message;\n"));
        let (folders, file) = PROTOBUF_FILTERS;
        let filters = folders
            .iter()
            .map(|folder| Source::new(&format!("{folder}cors/{file}"), "use prost::Message;\n"));
        let pure = PURE_FOLDERS.iter().map(|path| Source::new(path, "\n"));
        let mut sources: Vec<Source> = everything.chain(filters).chain(pure).collect();
        assert_eq!(stale(&sources), []);
        sources
            .retain(|source| source.path != "crates/citadel/src/authority.rs" && !source.path.starts_with(folders[0]));
        sources[0].code = String::new();
        assert_eq!(stale(&sources).len(), 4);
    }

    #[test]
    fn what_the_document_calls_pure_is_guarded() {
        let text = format!("{PURE_PARAGRAPH}\n`proxy/src/route/`, `proxy/src/http/`.\n\n`other`\n");
        let found = unguarded(&text);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("guard crates/proxy/src/http/"), "{found:?}");
        assert_eq!(unguarded("").len(), 1);
    }
}
