//! The discovery server with its webhooks.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use weft_api::kind::Group;

use super::object::{Workload, account, from_pod, identity_variables, identity_volumes, typed, variable};
use super::rbac::{cluster, inside, leader, local, rule};
use super::{rights, webhooks};
use crate::install::values::Values;

/// Service account of all revisions: proxies know pilot by it.
const ACCOUNT: &str = "weft-pilot";

/// Election among pilots of all revisions.
const LEASE: &str = "weft-pilot-leader";

/// Where the injector's ConfigMap has what the installation was given.
pub(crate) const VALUES: &str = "values.yaml";

/// Port of plaintext discovery, which is there only where it was asked for.
const PLAINTEXT: (&str, u16) = ("grpc-xds", 15010);

/// The ports of a pod; plaintext discovery comes first.
const PORTS: [(&str, u16); 4] = [
    PLAINTEXT,
    ("https-dns", 15012),
    ("https-webhook", 15017),
    ("http-monitoring", 15014),
];

pub(super) fn objects(values: &Values) -> Vec<Value> {
    let name = values.revisioned("weft-pilot");
    let plaintext = (PLAINTEXT.0, PLAINTEXT.1, PLAINTEXT.1);
    let ports = [
        plaintext,
        ("https-dns", 15012, 15012),
        ("https-webhook", 443, 15017),
        ("http-monitoring", 15014, 15014),
    ];
    let workload = workload(values, &name);
    let mut objects = vec![account(values, ACCOUNT), injector(values)];
    objects.extend(rights(values, &name));
    objects.push(workload.service(values, "ClusterIP", &ports[first_port(values)..]));
    objects.push(workload.deployment(values));
    objects.push(workload.budget(values));
    objects.extend(webhooks::objects(values, &name));
    for object in objects.iter_mut().filter(|object| object["kind"] != "ServiceAccount") {
        object["metadata"]["labels"]["istio.io/rev"] = values.revision.as_str().into();
    }
    objects
}

/// The first of the ports that are served.
fn first_port(values: &Values) -> usize {
    usize::from(!values.plaintext_discovery)
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
        variable("WEFT_XDS_TLS_LISTEN", "[::]:15012"),
        variable("WEFT_MONITORING_LISTEN", "[::]:15014"),
        variable("WEFT_WEBHOOK_LISTEN", "[::]:15017"),
        variable("WEFT_INJECTOR_SETTINGS", "/etc/weft/injector.yaml"),
        variable("WEFT_ROOT_NAMESPACE", &values.root_namespace),
        variable("WEFT_ACCESS_LOG_FILE", &values.access_log_file),
        variable("WEFT_LOG_LEVEL", &values.log_level),
    ];
    env.extend(identity_variables(values));
    if values.plaintext_discovery {
        env.push(variable("WEFT_XDS_LISTEN", &format!("[::]:{}", PLAINTEXT.1)));
    }
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
        ports: &PORTS[first_port(values)..],
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
    let mut own = rights::named_by_gateways();
    own.extend([create, hold]);
    objects.extend(local(values, name, ACCOUNT, &own));
    for namespace in &values.gateway_namespaces {
        objects.extend(inside(values, namespace, name, ACCOUNT, &rights::named_by_gateways()));
    }
    objects
}

/// Rules in the whole cluster.
fn everywhere(values: &Values) -> Vec<Value> {
    let names = weft_mesh::admission::Configurations::of_revision(&values.revision);
    let mut rules = rights::of_group(Group::Core);
    // Proxies without a certificate show their token.
    rules.push(rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"], &[]));
    let others = Group::all().into_iter().filter(|group| *group != Group::Core);
    rules.extend(others.flat_map(rights::of_group));
    for (plural, name) in [
        ("mutatingwebhookconfigurations", &names.injector),
        ("validatingwebhookconfigurations", &names.validator),
    ] {
        let verbs = &["list", "watch", "patch"];
        rules.push(rule(&["admissionregistration.k8s.io"], &[plural], verbs, &[name]));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

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
