//! The CustomResourceDefinitions of Istio's kinds. Names, versions and columns that users know are in the table of kinds, schemas come from
//! the parser.

use serde_json::{Value, json};

use crate::kind::{Definition, Kind, Scope};
use crate::schema::Shape;

/// Fields without which an object means nothing, as Istio's definitions have them: kind, place in `spec`, names. A server refuses objects
/// without them whether the webhook answers or not.
const REQUIRED: &[(Kind, &str, &[&str])] = &[
    (Kind::AuthorizationPolicy, "rules[].when[]", &["key"]),
    (Kind::DestinationRule, "", &["host"]),
    (Kind::DestinationRule, "subsets[]", &["name"]),
    (Kind::Gateway, "servers[]", &["hosts", "port"]),
    (Kind::Gateway, "servers[].port", &["number", "protocol"]),
    (Kind::RequestAuthentication, "jwtRules[]", &["issuer"]),
    (Kind::ServiceEntry, "", &["hosts"]),
    (Kind::ServiceEntry, "ports[]", &["name", "number"]),
    (Kind::Sidecar, "egress[]", &["hosts"]),
    (Kind::VirtualService, "http[].route[]", &["destination"]),
    (Kind::VirtualService, "http[].route[].destination", &["host"]),
    (Kind::VirtualService, "tcp[].route[]", &["destination"]),
    (Kind::VirtualService, "tcp[].route[].destination", &["host"]),
    (Kind::VirtualService, "tls[]", &["match"]),
    (Kind::VirtualService, "tls[].match[]", &["sniHosts"]),
    (Kind::VirtualService, "tls[].route[]", &["destination"]),
    (Kind::VirtualService, "tls[].route[].destination", &["host"]),
];

/// All definitions, as `apiextensions.k8s.io/v1` objects, by name.
pub fn definitions() -> Vec<Value> {
    let mut definitions: Vec<Value> = Kind::ALL.iter().filter_map(|kind| definition(*kind)).collect();
    definitions.sort_by(|a, b| name(a).cmp(name(b)));
    definitions
}

fn name(definition: &Value) -> &str {
    definition["metadata"]["name"].as_str().unwrap_or_default()
}

/// Where the schema of a place such as `http[].route[]` is within that of `spec`.
fn pointer(path: &str) -> String {
    let names = path.split('.').filter(|name| !name.is_empty());
    names
        .map(|name| format!("/properties/{}", name.replace("[]", "/items")))
        .collect()
}

/// The definition of a kind, if it is the mesh's.
fn definition(kind: Kind) -> Option<Value> {
    let facts = kind.facts();
    let Definition::Ours { short, columns } = facts.definition else {
        return None;
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": spec(kind),
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    let version = |(i, version): (usize, &&str)| {
        let mut version = json!({
            "name": version,
            "served": true,
            // Objects are stored in the version that is preferred.
            "storage": i == 0,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
        });
        if let Some(columns) = columns {
            version["additionalPrinterColumns"] = with_age(columns);
        }
        version
    };
    let versions: Vec<Value> = facts.versions.iter().enumerate().map(version).collect();
    let (group, plural) = (facts.group.name(), facts.plural);
    let mut names = json!({
        "kind": facts.name,
        "listKind": format!("{}List", facts.name),
        "plural": plural,
        "singular": facts.name.to_ascii_lowercase(),
        "categories": ["istio-io", group.replace('.', "-")],
    });
    if !short.is_empty() {
        names["shortNames"] = json!(short);
    }
    let scope = match facts.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    Some(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": names,
            "scope": scope,
            "versions": versions,
        },
    }))
}

/// The schema of `spec`.
fn spec(kind: Kind) -> Value {
    let mut spec = Shape::of(kind).unwrap_or(Shape::Any).schema();
    for (_, path, names) in REQUIRED.iter().filter(|(of, ..)| *of == kind) {
        if let Some(place) = spec.pointer_mut(&pointer(path)) {
            place["required"] = json!(names);
        }
    }
    spec
}

fn with_age(columns: &[(&str, &str)]) -> Value {
    let own = columns.iter();
    let mut columns: Vec<Value> = own
        .map(|(name, path)| json!({"name": name, "type": "string", "jsonPath": path}))
        .collect();
    columns.push(json!({
        "name": "Age",
        "type": "date",
        "jsonPath": ".metadata.creationTimestamp",
        "description": "Time since the object was made.",
    }));
    Value::Array(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Structural: every place has a type, or says that it has none.
    fn check_structural(schema: &Value, path: &str) {
        let free =
            schema["x-kubernetes-preserve-unknown-fields"] == true || schema["x-kubernetes-int-or-string"] == true;
        assert!(schema["type"].is_string() || free, "{path} has no type");
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            check_structural(field, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                check_structural(inner, &format!("{path}[]"));
            }
        }
    }

    #[test]
    fn all_schemas_are_structural() {
        for definition in definitions() {
            let name = definition["metadata"]["name"].as_str().unwrap();
            let versions = definition["spec"]["versions"].as_array().unwrap();
            assert!(versions.len() > 1, "{name}");
            for version in versions {
                check_structural(&version["schema"]["openAPIV3Schema"], name);
            }
        }
    }

    #[track_caller]
    fn field(kind: Kind, path: &str) -> Value {
        let schema = Shape::of(kind).unwrap().schema();
        let found = schema.pointer(&pointer(path)).cloned();
        found.unwrap_or_else(|| panic!("{path} is not in {schema:#}"))
    }

    /// The definitions ask for nothing that the parser can do without.
    #[test]
    fn what_is_required_is_so_for_the_parser() {
        for (kind, path, names) in REQUIRED {
            let schema =
                &definition(*kind).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(
                schema.pointer(&format!("{}/required", pointer(path))),
                Some(&json!(names)),
                "{kind} {path}"
            );
            let mut spec = json!({});
            for name in path.split('.').rev().filter(|name| !name.is_empty()) {
                spec = match name.strip_suffix("[]") {
                    Some(name) => json!({name: [spec]}),
                    None => json!({name: spec}),
                };
            }
            let api_version = kind.api_version(kind.facts().versions[0]);
            let metadata = json!({"name": "a", "namespace": "b"});
            let object = json!({"apiVersion": api_version, "kind": kind.as_str(), "metadata": metadata, "spec": spec});
            let found = crate::parse::parse_json(&object).diagnostics;
            let at = format!("spec.{path}").replace("[]", "[0]");
            for name in *names {
                let field = format!("{}.{name}", at.trim_end_matches('.'));
                let missing = found.iter().any(|found| found.field == field);
                assert!(missing, "{kind} can do without {field}: {found:?}");
            }
        }
    }

    #[test]
    fn the_parsers_questions_become_types() {
        let vs = |path| field(Kind::VirtualService, path);
        assert_eq!(vs("hosts[]")["type"], "string");
        assert_eq!(vs("http[].route[].destination.port.number")["maximum"], 65535);
        assert_eq!(vs("http[].route[].destination.subset")["type"], "string");
        assert_eq!(vs("http[].match[].uri.prefix")["type"], "string");
        assert_eq!(vs("http[].match[].uri.regex")["type"], "string");
        assert_eq!(vs("http[].fault.abort.httpStatus")["type"], "integer");
        assert_eq!(vs("http[].fault.delay.percentage.value")["type"], "number");
        assert_eq!(vs("http[].timeout")["type"], "string");
        assert_eq!(vs("http[].corsPolicy.allowCredentials")["type"], "boolean");
        assert_eq!(
            vs("http[].headers.request.set")["additionalProperties"]["type"],
            "string"
        );
        assert_eq!(vs("tls[].match[].sniHosts[]")["type"], "string");
        let pa = |path| field(Kind::PeerAuthentication, path);
        assert!(pa("mtls.mode")["enum"].as_array().unwrap().contains(&json!("STRICT")));
        let dr = |path| field(Kind::DestinationRule, path);
        assert!(dr("subsets[].trafficPolicy.tls.mode")["enum"].is_array());
        assert_eq!(dr("trafficPolicy.outlierDetection.interval")["type"], "string");
        assert_eq!(
            field(Kind::AuthorizationPolicy, "rules[].from[].source.principals[]")["type"],
            "string"
        );
        assert_eq!(field(Kind::Gateway, "servers[].port.number")["type"], "integer");
        assert!(Shape::of(Kind::Pod).is_none());
        for kind in Kind::ALL.iter().filter(|kind| definition(**kind).is_some()) {
            assert!(Shape::of(*kind).is_some(), "{kind}");
        }
    }
}
