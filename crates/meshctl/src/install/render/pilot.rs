//! The discovery server with its webhooks.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::Abilities;
use super::object::{Workload, account, from_pod, identity_variables, identity_volumes, typed, variable};
use super::rbac::{cluster, local, rule};
use super::webhooks;
use crate::install::values::Values;

/// Service account of all revisions: proxies know pilot by it.
const ACCOUNT: &str = "weft-pilot";

const READ: &[&str] = &["get", "list", "watch"];

pub(super) fn objects(values: &Values, abilities: Abilities) -> Vec<Value> {
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
    objects.push(workload.budget(values, abilities));
    objects.extend(webhooks::objects(values, &name));
    for object in objects.iter_mut().filter(|object| object["kind"] != "ServiceAccount") {
        object["metadata"]["labels"]["istio.io/rev"] = values.revision.as_str().into();
    }
    objects
}

/// Settings of the injector as a file.
fn injector(values: &Values) -> Value {
    let settings = serde_saphyr::to_string(&values.proxy).expect("settings are plain data");
    typed::<ConfigMap>(json!({
        "metadata": {"name": values.revisioned("weft-injector"), "namespace": values.namespace},
        "data": {"injector.yaml": settings},
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
        variable("WEFT_XDS_LISTEN", "0.0.0.0:15010"),
        variable("WEFT_XDS_TLS_LISTEN", "0.0.0.0:15012"),
        variable("WEFT_MONITORING_LISTEN", "0.0.0.0:15014"),
        variable("WEFT_WEBHOOK_LISTEN", "0.0.0.0:15017"),
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
    let names = weft_pilot::webhook::Configurations::of_revision(&values.revision);
    let istio = ["networking.istio.io", "security.istio.io", "telemetry.istio.io"];
    let mut objects = Vec::new();
    objects.extend(cluster(
        values,
        name,
        ACCOUNT,
        &[
            rule(
                &[""],
                &["namespaces", "nodes", "pods", "services", "endpoints"],
                READ,
                &[],
            ),
            // Certificates of gateways, each read by the name that a gateway has for it.
            rule(&[""], &["secrets"], READ, &[]),
            // The mesh's own configuration, in the root namespace, which need not exist yet.
            rule(&[""], &["configmaps"], READ, &["istio"]),
            // Proxies without a certificate show their token.
            rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"], &[]),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ, &[]),
            rule(&istio, &["*"], READ, &[]),
            rule(&istio, &["*/status"], &["patch", "update"], &[]),
            rule(&["gateway.networking.k8s.io"], &["*"], READ, &[]),
            rule(&["gateway.networking.k8s.io"], &["*/status"], &["patch", "update"], &[]),
            rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], READ, &[]),
            rule(
                &["admissionregistration.k8s.io"],
                &["mutatingwebhookconfigurations"],
                &["get", "list", "watch", "patch"],
                &[&names.injector],
            ),
            rule(
                &["admissionregistration.k8s.io"],
                &["validatingwebhookconfigurations"],
                &["get", "list", "watch", "patch"],
                &[&names.validator],
            ),
        ],
    ));
    objects.extend(local(
        values,
        name,
        ACCOUNT,
        &[
            rule(&[""], &["configmaps"], READ, &[]),
            rule(
                &["coordination.k8s.io"],
                &["leases"],
                &["create", "get", "list", "watch", "update", "patch"],
                &[],
            ),
        ],
    ));
    objects
}
