//! The discovery server with its webhooks.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::object::{Workload, account, from_pod, identity_variables, identity_volumes, typed, variable};
use super::rbac::{cluster, inside, leader, local, rule};
use super::webhooks;
use crate::install::values::Values;

/// Service account of all revisions: proxies know pilot by it.
const ACCOUNT: &str = "weft-pilot";

/// Election among pilots of all revisions.
const LEASE: &str = "weft-pilot-leader";

/// Where the injector's ConfigMap has what the installation was given.
pub(crate) const VALUES: &str = "values.yaml";

/// What a watch uses; it never asks for single objects.
const WATCH: &[&str] = &["list", "watch"];

/// Istio's kinds, all of which have a status that pilot writes.
const ISTIO: [(&str, &[&str]); 3] = [
    (
        "networking.istio.io",
        &[
            "destinationrules",
            "gateways",
            "serviceentries",
            "sidecars",
            "virtualservices",
            "workloadentries",
        ],
    ),
    (
        "security.istio.io",
        &["authorizationpolicies", "peerauthentications", "requestauthentications"],
    ),
    ("telemetry.istio.io", &["telemetries"]),
];

/// Kinds of the Gateway API, which are read alone.
const GATEWAY_API: &[&str] = &[
    "gatewayclasses",
    "gateways",
    "grpcroutes",
    "httproutes",
    "referencegrants",
    "tcproutes",
    "tlsroutes",
];

pub(super) fn objects(values: &Values) -> Vec<Value> {
    let name = values.revisioned("weft-pilot");
    let workload = workload(values, &name);
    let mut objects = vec![account(values, ACCOUNT), injector(values)];
    objects.extend(rights(values, &name));
    objects.push(workload.service(
        values,
        "ClusterIP",
        &[
            ("grpc-xds", 15010, 15010),
            ("https-dns", 15012, 15012),
            ("https-webhook", 443, 15017),
            ("http-monitoring", 15014, 15014),
        ],
    ));
    objects.push(workload.deployment(values));
    objects.push(workload.budget(values));
    objects.extend(webhooks::objects(values, &name));
    for object in objects.iter_mut().filter(|object| object["kind"] != "ServiceAccount") {
        object["metadata"]["labels"]["istio.io/rev"] = values.revision.as_str().into();
    }
    objects
}

/// Settings of the injector as a file, and what the installation was given.
fn injector(values: &Values) -> Value {
    let settings = serde_saphyr::to_string(&values.proxy).expect("settings are plain data");
    let given = serde_saphyr::to_string(&values.given).expect("values are plain data");
    typed::<ConfigMap>(json!({
        "metadata": {"name": values.revisioned("weft-injector"), "namespace": values.namespace},
        "data": {"injector.yaml": settings, VALUES: given},
    }))
}

fn workload<'a>(values: &'a Values, name: &'a str) -> Workload<'a> {
    let (mut volumes, mut mounts) = identity_volumes();
    volumes.push(json!({"name": "injector", "configMap": {"name": values.revisioned("weft-injector")}}));
    mounts.push(json!({"name": "injector", "mountPath": "/etc/weft", "readOnly": true}));
    let mut env = vec![
        variable("WEFT_KUBERNETES", "true"),
        from_pod("POD_NAMESPACE", "metadata.namespace"),
        from_pod("POD_NAME", "metadata.name"),
        variable("WEFT_REVISION", &values.revision),
        variable("WEFT_XDS_LISTEN", "[::]:15010"),
        variable("WEFT_XDS_TLS_LISTEN", "[::]:15012"),
        variable("WEFT_MONITORING_LISTEN", "[::]:15014"),
        variable("WEFT_WEBHOOK_LISTEN", "[::]:15017"),
        variable("WEFT_INJECTOR_SETTINGS", "/etc/weft/injector.yaml"),
        variable("WEFT_ROOT_NAMESPACE", &values.root_namespace),
        variable("WEFT_ACCESS_LOG_FILE", &values.access_log_file),
        variable("WEFT_LOG_LEVEL", &values.log_level),
    ];
    env.extend(identity_variables(values));
    if values.telemetry.enabled {
        let host = format!("weft-telemetry.{}.svc", values.namespace);
        env.push(variable("WEFT_TELEMETRY_ADDRESS", &format!("{host}:15041")));
        env.push(variable("WEFT_OTLP_ADDRESS", &format!("{host}:4317")));
        env.push(variable("WEFT_TRACE_SAMPLING", &values.trace_sampling.to_string()));
    }
    Workload {
        name,
        account: ACCOUNT,
        labels: json!({"istio": "pilot"}),
        replicas: values.pilot.replicas,
        image: values.image("pilot"),
        user: Workload::user(),
        args: vec!["serve".to_owned()],
        env,
        ports: &[
            ("grpc-xds", 15010),
            ("https-dns", 15012),
            ("https-webhook", 15017),
            ("http-monitoring", 15014),
        ],
        ready: ("/ready", 15014),
        resources: &values.pilot.resources,
        volumes,
        mounts,
        grace: 30,
        container: "discovery",
    }
}

fn rights(values: &Values, name: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    objects.extend(cluster(values, name, ACCOUNT, &everywhere(values)));
    let [create, hold] = leader(LEASE);
    objects.extend(local(values, name, ACCOUNT, &[gateway_certificates(), create, hold]));
    for namespace in &values.gateway_namespaces {
        objects.extend(inside(values, namespace, name, ACCOUNT, &[gateway_certificates()]));
    }
    objects
}

/// Rules in the whole cluster.
fn everywhere(values: &Values) -> Vec<Value> {
    let names = weft_mesh::admission::Configurations::of_revision(&values.revision);
    let mut rules = vec![
        rule(&[""], &["namespaces", "nodes", "pods", "services"], WATCH, &[]),
        // The mesh's own configuration, in the root namespace, which need not exist yet.
        rule(&[""], &["configmaps"], WATCH, &["istio"]),
        // Proxies without a certificate show their token.
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"], &[]),
        rule(&["discovery.k8s.io"], &["endpointslices"], WATCH, &[]),
        rule(&["gateway.networking.k8s.io"], GATEWAY_API, WATCH, &[]),
    ];
    for (group, plurals) in ISTIO {
        // An object is read again before its status is written.
        rules.push(rule(&[group], plurals, &["get", "list", "watch"], &[]));
        let statuses: Vec<String> = plurals.iter().map(|plural| format!("{plural}/status")).collect();
        let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
        rules.push(rule(&[group], &statuses, &["patch"], &[]));
    }
    for (plural, name) in [
        ("mutatingwebhookconfigurations", &names.injector),
        ("validatingwebhookconfigurations", &names.validator),
    ] {
        let verbs = &["list", "watch", "patch"];
        rules.push(rule(&["admissionregistration.k8s.io"], &[plural], verbs, &[name]));
    }
    rules
}

/// Secrets of a namespace with gateways, each watched by the name that a gateway has for it.
fn gateway_certificates() -> Value {
    rule(&[""], &["secrets"], WATCH, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_installed_may_be_read_and_its_status_written() {
        for definition in weft_api::crd::definitions() {
            let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
            let found = ISTIO
                .iter()
                .any(|(known, plurals)| *known == group && plurals.contains(&plural.as_str()));
            assert!(found, "{plural}.{group}");
        }
    }

    #[test]
    fn rules_name_what_they_are_for() {
        let values = Values::new(&[], &[]).unwrap();
        let rules = everywhere(&values);
        for rule in &rules {
            let text = rule.to_string();
            assert!(
                !text.contains('*') && !text.contains("\"update\"") && !text.contains("secrets"),
                "{text}"
            );
        }
        let objects = rights(&values, "weft-pilot");
        let local = &objects.iter().find(|object| object["kind"] == "Role").unwrap()["rules"];
        let leases: Vec<_> = local
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["resources"][0] == "leases")
            .collect();
        assert_eq!(leases[0]["verbs"], json!(["create"]));
        assert_eq!(leases[1]["resourceNames"], json!([LEASE]));
    }
}
