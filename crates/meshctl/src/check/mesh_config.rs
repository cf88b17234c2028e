//! The mesh-wide settings: what pilot cannot use of them, or does not carry out.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};
use weft_api::diagnostic::Severity;
use weft_api::parse::parse_json;

use crate::install::{Finding, Mark};

const CATEGORY: &str = "mesh configuration";

/// The ConfigMap's name.
const NAME: &str = "istio";

/// Reads the settings of each root namespace. None of them is no finding.
pub(super) async fn findings(client: &Client, namespaces: &BTreeSet<&str>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for namespace in namespaces {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        if let Some(map) = api.get_opt(NAME).await? {
            findings.extend(read(namespace, &json!(map.data)));
        }
    }
    Ok(findings)
}

fn read(namespace: &str, data: &Value) -> Vec<Finding> {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace},
    });
    if !data.is_null() {
        object["data"] = data.clone();
    }
    let name = format!("ConfigMap {namespace}/{NAME}");
    let mut findings = Vec::new();
    let parsed = parse_json(&object);
    let is_used = !parsed.resources.is_empty();
    for found in parsed.diagnostics {
        let (mark, meanwhile) = match found.severity {
            Severity::Info => continue,
            Severity::Warning => (Mark::Doubtful, ""),
            Severity::Error if is_used => (Mark::Bad, ""),
            Severity::Error => (Mark::Bad, "the defaults apply meanwhile"),
        };
        let hint = [found.hint.as_str(), meanwhile];
        let hint: Vec<&str> = hint.into_iter().filter(|part| !part.is_empty()).collect();
        let text = format!("{name}, {}: {}", found.field, found.message);
        findings.push(Finding::new(CATEGORY, mark, text, hint.join("; ")));
    }
    if findings.is_empty() {
        findings.push(Finding::new(CATEGORY, Mark::Good, format!("{name} is in use"), ""));
    }
    findings
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn settings_are_read_as_pilot_reads_them() {
        let lines = |mesh: &str| -> String {
            let findings = read("istio-system", &json!({"mesh": mesh}));
            findings.iter().map(|finding| finding.line() + "\n").collect()
        };
        let text = [
            lines("accessLogFile: /dev/stdout\n"),
            lines("connectTimeout: soon\nacessLogFile: /dev/stdout\n"),
            lines("accessLogFile: [\n"),
            lines("accessLogFormat: '%NOTHING%'\n"),
        ];
        expect![[r#"
            √ ConfigMap istio-system/istio is in use
            × ConfigMap istio-system/istio, data.mesh.connectTimeout: soon is not a duration of at least 1ms; write a number with a unit, such as 500ms, 2s, 1m30s, or leave the field out; the defaults apply meanwhile
            ‼ ConfigMap istio-system/istio, data.mesh.acessLogFile: is not carried out by this mesh and has no effect; the other settings apply
            × ConfigMap istio-system/istio, data.mesh: is not valid YAML: unclosed bracket '['; check indentation, quotes and colons near this line; the defaults apply meanwhile
            × ConfigMap istio-system/istio, data.mesh.accessLogFormat: has the operator %NOTHING%, which proxies do not have; the default format is used, and the other settings apply; write operators that proxies have, and %% for a percent sign
        "#]].assert_eq(&text.concat());
    }
}
