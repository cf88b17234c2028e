//! The CustomResourceDefinitions of Istio's kinds, with the names, versions and columns that users know; schemas come from the parser.

use serde_json::{Value, json};

use crate::meta::Kind;
use crate::schema::Shape;

/// One definition.
#[derive(Clone, Copy, Debug)]
struct Definition {
    kind: Kind,
    group: &'static str,
    /// Versions, the one that is stored first.
    versions: &'static [&'static str],
    plural: &'static str,
    short: &'static [&'static str],
    /// Title and path of each column; a column with the age follows where there is any.
    columns: &'static [(&'static str, &'static str)],
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const THREE: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const TWO: &[&str] = &["v1", "v1beta1"];

const DEFINITIONS: &[Definition] = &[
    define(
        Kind::AuthorizationPolicy,
        SECURITY,
        TWO,
        "authorizationpolicies",
        &["ap"],
        &[("Action", ".spec.action")],
    ),
    define(
        Kind::DestinationRule,
        NETWORKING,
        THREE,
        "destinationrules",
        &["dr"],
        &[("Host", ".spec.host")],
    ),
    define(Kind::Gateway, NETWORKING, THREE, "gateways", &["gw"], &[]),
    define(
        Kind::PeerAuthentication,
        SECURITY,
        TWO,
        "peerauthentications",
        &["pa"],
        &[("Mode", ".spec.mtls.mode")],
    ),
    define(
        Kind::RequestAuthentication,
        SECURITY,
        TWO,
        "requestauthentications",
        &["ra"],
        &[],
    ),
    define(
        Kind::ServiceEntry,
        NETWORKING,
        THREE,
        "serviceentries",
        &["se"],
        &[
            ("Hosts", ".spec.hosts"),
            ("Location", ".spec.location"),
            ("Resolution", ".spec.resolution"),
        ],
    ),
    define(Kind::Sidecar, NETWORKING, THREE, "sidecars", &[], &[]),
    define(
        Kind::Telemetry,
        "telemetry.istio.io",
        &["v1", "v1alpha1"],
        "telemetries",
        &["telemetry"],
        &[("Age", "")],
    ),
    define(
        Kind::VirtualService,
        NETWORKING,
        THREE,
        "virtualservices",
        &["vs"],
        &[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")],
    ),
    define(
        Kind::WorkloadEntry,
        NETWORKING,
        THREE,
        "workloadentries",
        &["we"],
        &[("Address", ".spec.address")],
    ),
];

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

const fn define(
    kind: Kind,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    short: &'static [&'static str],
    columns: &'static [(&'static str, &'static str)],
) -> Definition {
    Definition {
        kind,
        group,
        versions,
        plural,
        short,
        columns,
    }
}

/// All definitions, as `apiextensions.k8s.io/v1` objects, by name.
pub fn definitions() -> Vec<Value> {
    DEFINITIONS.iter().map(Definition::object).collect()
}

/// Where the schema of a place such as `http[].route[]` is within that of `spec`.
fn pointer(path: &str) -> String {
    let names = path.split('.').filter(|name| !name.is_empty());
    names
        .map(|name| format!("/properties/{}", name.replace("[]", "/items")))
        .collect()
}

// === impl Definition ===

impl Definition {
    fn object(&self) -> Value {
        let mut spec = Shape::of(self.kind).unwrap_or(Shape::Any).schema();
        for (_, path, names) in REQUIRED.iter().filter(|(kind, ..)| *kind == self.kind) {
            if let Some(place) = spec.pointer_mut(&pointer(path)) {
                place["required"] = json!(names);
            }
        }
        let schema = json!({
            "type": "object",
            "properties": {
                "spec": spec,
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
        let versions: Vec<Value> = self
            .versions
            .iter()
            .enumerate()
            .map(|(i, version)| {
                let mut version = json!({
                    "name": version,
                    "served": true,
                    "storage": i == 0,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                });
                if !self.columns.is_empty() {
                    version["additionalPrinterColumns"] = self.columns();
                }
                version
            })
            .collect();
        let kind = self.kind.as_str();
        let singular = kind.to_ascii_lowercase();
        let category = self.group.replace('.', "-");
        let mut names = json!({
            "kind": kind,
            "listKind": format!("{kind}List"),
            "plural": self.plural,
            "singular": singular,
            "categories": ["istio-io", category],
        });
        if !self.short.is_empty() {
            names["shortNames"] = json!(self.short);
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group)},
            "spec": {
                "group": self.group,
                "names": names,
                "scope": "Namespaced",
                "versions": versions,
            },
        })
    }

    fn columns(&self) -> Value {
        let own = self.columns.iter().filter(|(_, path)| !path.is_empty());
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
            let definition = DEFINITIONS.iter().find(|definition| definition.kind == *kind).unwrap();
            let schema = &definition.object()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
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
            let api_version = format!("{}/{}", definition.group, definition.versions[0]);
            let object = json!({"apiVersion": api_version, "kind": kind.as_str(), "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
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
    }
}
