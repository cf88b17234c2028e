//! What objects have in common: types that are checked, labels, containers without rights, budgets for disruption.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_base::kubernetes::OWNED;
use weft_mesh::inject::Resources;

use crate::install::values::Values;

/// User of the control plane's processes.
const USER: i64 = 65532;

/// After how many seconds pods leave a lost node.
const LOST_NODE_SECONDS: i64 = 30;

/// Reads JSON as the Kubernetes type and writes it again, so that it has the type's version, kind and shape.
///
/// The JSON is written in this program, so that a field which the type does not have is a mistake here; a test compares.
pub(super) fn typed<K: DeserializeOwned + Serialize>(value: Value) -> Value {
    let object: K = serde_json::from_value(value.clone()).expect("the object has the shape of its type");
    let object = serde_json::to_value(object).expect("a Kubernetes object is JSON");
    debug_assert!(
        contains(&object, &value),
        "a field is lost in {}: {value}",
        object["kind"]
    );
    object
}

/// Whether everything in `part` is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

/// Adds the labels of ownership.
pub(super) fn own(object: &mut Value, version: &str) {
    let labels = &mut object["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    for (key, value) in OWNED {
        labels[key] = value.into();
    }
    labels["app.kubernetes.io/version"] = version.into();
}

/// Kind, namespace and name, for people.
pub(crate) fn identify(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    let (kind, name) = (text(&object["kind"]), text(&meta["name"]));
    match meta["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// One Deployment, described.
pub(super) struct Workload<'a> {
    pub(super) name: &'a str,
    pub(super) account: &'a str,
    /// Labels of pods beside `app`.
    pub(super) labels: Value,
    pub(super) replicas: u32,
    pub(super) image: String,
    pub(super) user: i64,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<Value>,
    /// Name and number of each port.
    pub(super) ports: &'a [(&'a str, u16)],
    /// Path and port that answer whether it is ready.
    pub(super) ready: (&'a str, u16),
    pub(super) resources: &'a Resources,
    pub(super) volumes: Vec<Value>,
    pub(super) mounts: Vec<Value>,
    /// Seconds that a pod may take to end.
    pub(super) grace: i64,
    pub(super) container: &'a str,
}

// === impl Workload ===

impl Workload<'_> {
    /// Values that most workloads share.
    pub(super) fn user() -> i64 {
        USER
    }

    /// Labels that select the pods.
    pub(super) fn selector(&self, values: &Values) -> Value {
        json!({"app": self.name, "istio.io/rev": values.revision})
    }

    /// Labels of the objects themselves: without the revision, by which an uninstall finds what is of one revision alone.
    fn labels(&self) -> Value {
        let mut labels = json!({"app": self.name});
        for (key, value) in self.labels.as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        labels
    }

    /// The Deployment. A new pod is ready before an old one goes, and an old one stays until its requests are through.
    pub(super) fn deployment(&self, values: &Values) -> Value {
        let selector = self.selector(values);
        let mut labels = selector.clone();
        for (key, value) in self.labels.as_object().into_iter().flatten() {
            labels[key] = value.clone();
        }
        // The control plane is no part of the mesh that it serves.
        labels["sidecar.istio.io/inject"] = "false".into();
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
            .collect();
        let probe = json!({"path": self.ready.0, "port": self.ready.1});
        let mut container = json!({
            "name": self.container,
            "image": self.image,
            "args": self.args,
            "env": self.env,
            "ports": ports,
            "readinessProbe": {"httpGet": probe, "periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 3},
            "resources": {
                "requests": {"cpu": self.resources.cpu, "memory": self.resources.memory},
                "limits": {"cpu": self.resources.cpu_limit, "memory": self.resources.memory_limit},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "runAsUser": self.user,
                "runAsGroup": self.user,
            },
            "volumeMounts": self.mounts,
        });
        if !values.image_pull_policy.is_empty() {
            container["imagePullPolicy"] = values.image_pull_policy.as_str().into();
        }
        let mut spec = json!({
            "serviceAccountName": self.account,
            "automountServiceAccountToken": self.account != "weft-telemetry" && self.account != "weft-ingressgateway",
            "terminationGracePeriodSeconds": self.grace,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": self.volumes,
            // Replicas on different nodes, where there are some.
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": selector},
                },
            }]}},
        });
        // Kubernetes' own default is 300 s, in which nobody would be injected if all replicas were there.
        let leaves = |condition: &str| {
            json!({
                "key": format!("node.kubernetes.io/{condition}"),
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": LOST_NODE_SECONDS,
            })
        };
        spec["tolerations"] = json!([leaves("not-ready"), leaves("unreachable")]);
        if !values.proxy.image_pull_secrets.is_empty() {
            let names = values.proxy.image_pull_secrets.iter();
            spec["imagePullSecrets"] = names.map(|name| json!({"name": name})).collect();
        }
        typed::<Deployment>(json!({
            "metadata": {"name": self.name, "namespace": values.namespace, "labels": self.labels()},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }))
    }

    /// The budget that keeps all but one replica through drains of nodes.
    pub(super) fn budget(&self, values: &Values) -> Value {
        typed::<PodDisruptionBudget>(json!({
            "metadata": {"name": self.name, "namespace": values.namespace, "labels": {"app": self.name}},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": self.selector(values)}},
        }))
    }

    /// The Service with ports of name, number and target.
    pub(super) fn service(&self, values: &Values, kind: &str, ports: &[(&str, u16, u16)]) -> Value {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"}))
            .collect();
        typed::<Service>(json!({
            "metadata": {"name": self.name, "namespace": values.namespace, "labels": self.labels()},
            "spec": {"type": kind, "selector": self.selector(values), "ports": ports},
        }))
    }
}

/// A service account.
pub(super) fn account(values: &Values, name: &str) -> Value {
    typed::<ServiceAccount>(json!({"metadata": {"name": name, "namespace": values.namespace}}))
}

/// A variable of a container.
pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// A variable that Kubernetes fills in.
pub(super) fn from_pod(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

/// How a process shows the authority who it is, and knows the authority: volumes and where they are mounted.
pub(super) fn identity_volumes() -> (Vec<Value>, Vec<Value>) {
    let volumes = vec![
        json!({"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}),
        json!({"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
            "audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}}]}}),
    ];
    let mounts = vec![
        json!({"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio", "readOnly": true}),
        json!({"name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": true}),
    ];
    (volumes, mounts)
}

/// Variables that go with [`identity_volumes`].
pub(super) fn identity_variables(values: &Values) -> Vec<Value> {
    vec![
        variable("WEFT_CA_ADDRESS", &values.proxy.ca_address),
        variable("WEFT_CA_ROOT_CERT", "/var/run/secrets/istio/root-cert.pem"),
        variable("WEFT_TOKEN_FILE", "/var/run/secrets/tokens/istio-token"),
        variable("WEFT_TRUST_DOMAIN", &values.trust_domain),
    ]
}
