//! `meshctl graph`: who calls whom, from telemetry's `/api/graph`.

use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::fetch::Server;
use crate::mesh_target::TargetArguments;
use crate::output::{self, Format, Table};

/// Limit of the question to telemetry.
const DEADLINE: Duration = Duration::from_secs(10);

/// Shows the edges of the service graph.
pub(crate) async fn run(target: &TargetArguments, telemetry: Option<String>, format: Format) -> anyhow::Result<Exit> {
    let server = match telemetry {
        Some(address) => Server::Address(address),
        None => target.find().await?.telemetry().await?,
    };
    let graph = server.get_json("/api/graph", DEADLINE).await?;
    let table = table(&graph)?;
    output::print(format, &graph, |_| table)?;
    Ok(Exit::Ok)
}

fn table(graph: &Value) -> Result<String, Failure> {
    let edges = graph
        .get("edges")
        .and_then(Value::as_array)
        .ok_or_else(|| Failure::bad_data("the answer of /api/graph has no list \"edges\""))?;
    let mut table = Table::new(&[
        "SOURCE",
        "DESTINATION",
        "REQUESTS",
        "RATE",
        "ERRORS",
        "P50",
        "P99",
        "MTLS",
    ]);
    for edge in edges {
        let number = |field: &str| edge.get(field).and_then(Value::as_f64);
        let shown = |field: &str, unit: &str, scale: f64, digits: usize| {
            number(field).map_or_else(|| "-".to_owned(), |value| format!("{:.digits$}{unit}", value * scale))
        };
        table.row([
            workload(edge.get("source")),
            workload(edge.get("destination")),
            shown("requests", "", 1.0, 0),
            shown("rps", "/s", 1.0, 1),
            shown("error_rate", "%", 100.0, 1),
            shown("p50_ms", "ms", 1.0, 1),
            shown("p99_ms", "ms", 1.0, 1),
            shown("mtls_share", "%", 100.0, 0),
        ]);
    }
    table.sort();
    Ok(table.render())
}

/// `name.namespace`, with the version where one is known.
fn workload(end: Option<&Value>) -> String {
    let text = |field: &str| {
        let value = end.and_then(|end| end.get(field)?.as_str());
        value.filter(|value| !value.is_empty() && *value != "unknown")
    };
    let Some(name) = text("workload") else {
        return "unknown".to_owned();
    };
    text("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{name}.{namespace}"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn edges_become_rows() {
        let graph = json!({"edges": [
            {"source": {"workload": "caller", "namespace": "default"}, "destination": {"workload": "callme-v1", "namespace": "default"},
             "requests": 1234, "rps": 61.72, "error_rate": 0.0123, "p50_ms": 1.25, "p99_ms": 10, "mtls_share": 1.0},
            {"source": {"workload": "unknown"}, "destination": {"workload": "ingress", "namespace": "default"}, "requests": 3},
        ]});
        expect![[r#"
            SOURCE            DESTINATION          REQUESTS    RATE      ERRORS    P50      P99       MTLS
            caller.default    callme-v1.default    1234        61.7/s    1.2%      1.2ms    10.0ms    100%
            unknown           ingress.default      3           -         -         -        -         -
        "#]]
        .assert_eq(&table(&graph).unwrap());
        assert!(table(&json!({"nodes": []})).is_err());
    }
}
