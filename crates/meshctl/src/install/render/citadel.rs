//! The certificate authority. It has one root for all revisions, hence no revision of its own.

use serde_json::{Value, json};

use super::object::{Workload, account, from_pod, variable};
use super::rbac::{cluster, leader, local, rule};
use crate::install::values::Values;

const NAME: &str = "weft-citadel";

/// Election among its replicas.
const LEASE: &str = "weft-citadel-leader";

pub(super) fn objects(values: &Values) -> Vec<Value> {
    // Another revision uses the authority that is there.
    if !values.citadel.enabled || values.revision != "default" {
        return Vec::new();
    }
    let workload = Workload {
        name: NAME,
        account: NAME,
        labels: json!({}),
        replicas: values.citadel.replicas,
        image: values.image("citadel"),
        user: Workload::user(),
        args: vec!["serve".to_owned()],
        env: vec![
            variable("WEFT_KUBERNETES", "true"),
            from_pod("POD_NAMESPACE", "metadata.namespace"),
            from_pod("POD_NAME", "metadata.name"),
            variable("WEFT_LISTEN", "[::]:15012"),
            variable("WEFT_MONITORING_LISTEN", "[::]:15014"),
            variable("WEFT_TRUST_DOMAIN", &values.trust_domain),
            variable("WEFT_LOG_LEVEL", &values.log_level),
        ],
        ports: &[("grpc-ca", 15012), ("http-monitoring", 15014)],
        ready: ("/ready", 15014),
        resources: &values.citadel.resources,
        volumes: Vec::new(),
        mounts: Vec::new(),
        grace: 30,
        container: "citadel",
    };
    let mut objects = vec![account(values, NAME)];
    objects.extend(rights(values));
    objects.push(workload.service(
        values,
        "ClusterIP",
        &[("grpc-ca", 15012, 15012), ("http-monitoring", 15014, 15014)],
    ));
    objects.push(workload.deployment(values));
    objects.push(workload.budget(values));
    objects
}

fn rights(values: &Values) -> Vec<Value> {
    let everywhere = [
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"], &[]),
        rule(&[""], &["namespaces"], &["list", "watch"], &[]),
        // The root goes to every namespace; the name of an object that is not there yet cannot be restricted.
        rule(&[""], &["configmaps"], &["create"], &[]),
        rule(
            &[""],
            &["configmaps"],
            &["get", "list", "watch", "patch"],
            &["istio-ca-root-cert"],
        ),
    ];
    let [create, hold] = leader(LEASE);
    let here = [
        // The root that it makes where there is none, and where it looks for one.
        rule(&[""], &["secrets"], &["create"], &[]),
        rule(&[""], &["secrets"], &["get"], &["cacerts", "istio-ca-secret"]),
        create,
        hold,
    ];
    let mut objects = Vec::new();
    objects.extend(cluster(values, NAME, NAME, &everywhere));
    objects.extend(local(values, NAME, NAME, &here));
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_by_name() {
        let values = Values::new(&[], &[]).unwrap();
        let roles = rights(&values);
        let role = roles.iter().find(|object| object["kind"] == "Role").unwrap();
        let rules = role["rules"].as_array().unwrap();
        for rule in rules.iter().filter(|rule| rule["verbs"] != json!(["create"])) {
            assert!(rule["resourceNames"].is_array(), "{rule}");
        }
    }
}
