//! The collector. It asks the API server for nothing.

use serde_json::{Value, json};

use super::object::{Workload, account, variable};
use crate::install::values::Values;

const NAME: &str = "weft-telemetry";

/// What it listens on: name of the port of the pod and of the Service, the variable that says so, and the number.
const LISTENS: [(&str, &str, u16); 5] = [
    ("grpc-als", "WEFT_ALS_LISTEN", 15041),
    ("grpc-otlp", "WEFT_OTLP_GRPC_LISTEN", 4317),
    ("http-otlp", "WEFT_OTLP_HTTP_LISTEN", 4318),
    ("http-zipkin", "WEFT_ZIPKIN_LISTEN", 9411),
    ("http-ui", "WEFT_HTTP_LISTEN", UI_PORT),
];

/// Port of the page, which also tells whether it is ready.
const UI_PORT: u16 = 20001;

pub(super) fn objects(values: &Values) -> Vec<Value> {
    if !values.telemetry.enabled || values.revision != "default" {
        return Vec::new();
    }
    let listens = LISTENS
        .iter()
        .map(|(_, flag, port)| variable(flag, &format!("[::]:{port}")));
    let env = listens.chain([variable("WEFT_LOG_LEVEL", &values.log_level)]).collect();
    let workload = Workload {
        name: NAME,
        account: NAME,
        labels: json!({}),
        replicas: values.telemetry.replicas,
        image: values.image("telemetry"),
        user: Workload::user(),
        args: vec!["serve".to_owned()],
        env,
        ports: &LISTENS.map(|(name, _, port)| (name, port)),
        ready: ("/ready", UI_PORT),
        resources: &values.telemetry.resources,
        volumes: Vec::new(),
        mounts: Vec::new(),
        grace: 30,
        container: "telemetry",
    };
    vec![
        account(values, NAME),
        workload.service(values, "ClusterIP", &LISTENS.map(|(name, _, port)| (name, port, port))),
        workload.deployment(values),
        workload.budget(values),
    ]
}
