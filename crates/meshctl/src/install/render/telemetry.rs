//! The collector. It asks the API server for nothing.

use serde_json::{Value, json};

use super::object::{Workload, account, variable};
use crate::install::values::Values;

const NAME: &str = "weft-telemetry";

/// Ports of the pod and of the Service.
const PORTS: [(&str, u16); 5] = [
    ("grpc-als", 15041),
    ("grpc-otlp", 4317),
    ("http-otlp", 4318),
    ("http-zipkin", 9411),
    ("http-ui", 20001),
];

pub(super) fn objects(values: &Values) -> Vec<Value> {
    if !values.telemetry.enabled || values.revision != "default" {
        return Vec::new();
    }
    let workload = Workload {
        name: NAME,
        account: NAME,
        labels: json!({}),
        replicas: values.telemetry.replicas,
        image: values.image("telemetry"),
        user: Workload::user(),
        args: vec!["serve".to_owned()],
        env: vec![
            variable("WEFT_ALS_LISTEN", "[::]:15041"),
            variable("WEFT_OTLP_GRPC_LISTEN", "[::]:4317"),
            variable("WEFT_OTLP_HTTP_LISTEN", "[::]:4318"),
            variable("WEFT_ZIPKIN_LISTEN", "[::]:9411"),
            variable("WEFT_HTTP_LISTEN", "[::]:20001"),
            variable("WEFT_LOG_LEVEL", &values.log_level),
        ],
        ports: &PORTS,
        ready: ("/ready", 20001),
        resources: &values.telemetry.resources,
        volumes: Vec::new(),
        mounts: Vec::new(),
        grace: 30,
        container: "telemetry",
    };
    vec![
        account(values, NAME),
        workload.service(values, "ClusterIP", &PORTS.map(|(name, port)| (name, port, port))),
        workload.deployment(values),
        workload.budget(values),
    ]
}
