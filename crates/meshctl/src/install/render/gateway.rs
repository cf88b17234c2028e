//! The ingress gateway: a proxy of its own that carries the label which users' Gateways select.

use serde_json::{Value, json};
use weft_mesh::inject::names::PROXY_UID;

use super::object::{Workload, account, from_pod, identity_variables, identity_volumes, variable};
use crate::install::values::Values;

const NAME: &str = "weft-ingressgateway";

/// Seconds for long requests to end when a pod goes.
const GRACE_SECONDS: i64 = 60;

pub(super) fn objects(values: &Values) -> Vec<Value> {
    if !values.ingress_gateway.enabled || values.revision != "default" {
        return Vec::new();
    }
    let (mut volumes, mut mounts) = identity_volumes();
    volumes.push(json!({"name": "istio-podinfo", "downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}));
    mounts.push(json!({"name": "istio-podinfo", "mountPath": "/etc/istio/pod", "readOnly": true}));
    let mut env = vec![
        from_pod("WEFT_NAME", "metadata.name"),
        from_pod("WEFT_NAMESPACE", "metadata.namespace"),
        from_pod("WEFT_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        from_pod("WEFT_IP", "status.podIP"),
        from_pod("WEFT_NODE_NAME", "spec.nodeName"),
        variable("WEFT_WORKLOAD_NAME", NAME),
        variable("WEFT_LABELS_FILE", "/etc/istio/pod/labels"),
        variable("WEFT_DISCOVERY_ADDRESS", &values.proxy.discovery_address),
        variable("WEFT_DISCOVERY_ACCOUNT", &values.proxy.discovery_account),
        variable("WEFT_STATUS_LISTEN", "[::]:15020"),
        variable("WEFT_READINESS_LISTEN", "[::]:15021"),
        variable(
            "WEFT_METADATA",
            &json!({"CLUSTER_ID": values.proxy.cluster_id}).to_string(),
        ),
        variable("WEFT_LOG_LEVEL", &values.proxy.log_level),
    ];
    env.extend(identity_variables(values));
    let workload = Workload {
        name: NAME,
        account: NAME,
        labels: json!({"istio": "ingressgateway"}),
        replicas: values.ingress_gateway.replicas,
        image: values.proxy.image.clone(),
        user: PROXY_UID,
        args: vec!["gateway".to_owned()],
        env,
        ports: &[
            ("http2", 8080),
            ("https", 8443),
            ("http-envoy-prom", 15020),
            ("status-port", 15021),
        ],
        ready: ("/healthz/ready", 15021),
        resources: &values.ingress_gateway.resources,
        volumes,
        mounts,
        grace: GRACE_SECONDS,
        container: "istio-proxy",
    };
    vec![
        account(values, NAME),
        workload.service(
            values,
            &values.ingress_gateway.service_type,
            &[("status-port", 15021, 15021), ("http2", 80, 8080), ("https", 443, 8443)],
        ),
        workload.deployment(values),
        workload.budget(values),
    ]
}
