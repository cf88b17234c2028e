//! The certificate authority. It has one root for all revisions, hence no revision of its own.

use serde_json::{Value, json};

use super::Abilities;
use super::object::{Workload, account, from_pod, variable};
use super::rbac::{cluster, local, rule};
use crate::install::values::Values;

const NAME: &str = "weft-citadel";

pub(super) fn objects(values: &Values, abilities: Abilities) -> Vec<Value> {
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
            variable("WEFT_LISTEN", "0.0.0.0:15012"),
            variable("WEFT_MONITORING_LISTEN", "0.0.0.0:15014"),
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
    objects.extend(cluster(
        values,
        NAME,
        NAME,
        &[
            rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"], &[]),
            rule(&[""], &["namespaces"], &["get", "list", "watch"], &[]),
            // The root goes to every namespace; the name of an object that is not there yet cannot be restricted.
            rule(&[""], &["configmaps"], &["create"], &[]),
            rule(
                &[""],
                &["configmaps"],
                &["get", "list", "watch", "update", "patch"],
                &["istio-ca-root-cert"],
            ),
        ],
    ));
    objects.extend(local(
        values,
        NAME,
        NAME,
        &[
            rule(
                &[""],
                &["secrets"],
                &["create", "get", "list", "watch", "update", "patch"],
                &[],
            ),
            rule(
                &["coordination.k8s.io"],
                &["leases"],
                &["create", "get", "list", "watch", "update", "patch"],
                &[],
            ),
        ],
    ));
    objects.push(workload.service(
        values,
        "ClusterIP",
        &[("grpc-ca", 15012, 15012), ("http-monitoring", 15014, 15014)],
    ));
    objects.push(workload.deployment(values));
    objects.push(workload.budget(values, abilities));
    objects
}
