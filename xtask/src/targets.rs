//! Which tests `check` and `golden` run: all that need no programs of the mesh beside them.

use anyhow::Result;
use serde_json::Value;

use crate::process;

/// The package whose tests start whole meshes.
const WHOLE_PROCESSES: &str = "weft-tests";

/// The package in whose tests Python stands in for programs.
const STAND_INS: &str = "meshctl";

/// Arguments of cargo that select unit and golden tests; without `python` those that need it are left out.
pub(crate) fn quick(python: bool) -> Result<Vec<String>> {
    let metadata = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let metadata: Value = serde_json::from_str(&process::output(&mut process::cargo(&metadata))?)?;
    Ok(arguments(&metadata, python))
}

/// Targets are named: with `--exclude` cargo would choose other features and build everything once more.
fn arguments(metadata: &Value, python: bool) -> Vec<String> {
    let mut arguments = ["--workspace", "--lib", "--bins"].map(str::to_owned).to_vec();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if package["name"] == WHOLE_PROCESSES || (package["name"] == STAND_INS && !python) {
            continue;
        }
        let targets = package["targets"].as_array().into_iter().flatten();
        let tests = targets.filter(|target| target["kind"][0] == "test");
        for name in tests.filter_map(|target| target["name"].as_str()) {
            arguments.extend(["--test".to_owned(), name.to_owned()]);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_test_without_whole_processes_is_selected() {
        let package = |name: &str, tests: &[&str]| {
            let mut targets = vec![json!({"name": name, "kind": ["lib"]})];
            targets.extend(tests.iter().map(|test| json!({"name": test, "kind": ["test"]})));
            json!({"name": name, "targets": targets})
        };
        let metadata = json!({"packages": [
            package("weft-api", &["broken", "bookinfo"]), package(STAND_INS, &["up"]), package(WHOLE_PROCESSES, &["it"]),
        ]});
        let named = |python| {
            let arguments = arguments(&metadata, python);
            let names = arguments.into_iter().skip(3).filter(|word| word != "--test");
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(true), "broken bookinfo up");
        assert_eq!(named(false), "broken bookinfo");
    }
}
