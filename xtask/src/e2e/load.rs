//! Steady traffic from a pod, and what of it failed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::kube::{Kube, until, until_every};
use super::sidecar::{ANNOTATION, Sidecar};

/// Requests a second, of all protocols together: two such loads beside a cluster leave two cores some rest, so that what is late is late
/// because of the mesh.
const RATE: &str = "100";
/// The first report comes within a second of the start.
const FIRST_REPORT: Duration = Duration::from_secs(20);

/// A minute's requests take a minute, and somewhat more on a busy machine.
const REQUESTS_LIMIT: Duration = Duration::from_secs(120);

/// Where the three protocols go.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) http1: String,
    pub(crate) http2: String,
    pub(crate) grpc: String,
}

/// A pod that sends until it is stopped.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    kube: &'a Kube<'a>,
    pod: &'static str,
}

/// What the pod has counted.
#[derive(Clone, Debug)]
pub(crate) struct Report(Value);

// === impl Targets ===

impl Targets {
    /// The ports of the sample's Service.
    pub(crate) fn callme(host: &str) -> Self {
        Self {
            http1: format!("http://{host}/"),
            http2: format!("http://{host}:81/"),
            grpc: format!("http://{host}:9090"),
        }
    }

    /// All on one port, as a gateway has them.
    pub(crate) fn one_port(host: &str) -> Self {
        Self {
            http1: format!("http://{host}/"),
            http2: format!("http://{host}/"),
            grpc: format!("http://{host}"),
        }
    }
}

// === impl Load ===

impl<'a> Load<'a> {
    /// Starts the pod on the first node and waits for its first answers.
    pub(crate) fn start(kube: &'a Kube<'a>, targets: &Targets) -> Result<Self> {
        Self::start_with(kube, Sidecar::Native, targets)
    }

    /// The same with a kind of sidecar.
    pub(crate) fn start_with(kube: &'a Kube<'a>, sidecar: Sidecar, targets: &Targets) -> Result<Self> {
        Self::start_as(kube, "load", Some(sidecar), targets)
    }

    /// The same from a pod that is not in the mesh.
    pub(crate) fn start_outside(kube: &'a Kube<'a>, targets: &Targets) -> Result<Self> {
        Self::start_as(kube, "load-outside", None, targets)
    }

    fn start_as(kube: &'a Kube<'a>, pod: &'static str, sidecar: Option<Sidecar>, targets: &Targets) -> Result<Self> {
        kube.apply(&manifest(pod, sidecar, targets).to_string())?;
        kube.wait_for("Ready", &[&format!("pod/{pod}")])?;
        let load = Self { kube, pod };
        until(FIRST_REPORT, || {
            let report = load.report()?;
            ensure!(report.requests() > 0, "the load generator has sent nothing");
            Ok(())
        })?;
        Ok(load)
    }

    /// The counts of now.
    pub(crate) fn report(&self) -> Result<Report> {
        let line = self.kube.run(&["logs", self.pod, "--container=load", "--tail=1"])?;
        let report = serde_json::from_str(&line).with_context(|| format!("not a report: {line:?}"))?;
        Ok(Report(report))
    }

    /// Waits until so many requests are answered in all.
    pub(crate) fn wait_for_requests(&self, count: u64) -> Result<Report> {
        // It reports once a second.
        until_every(Duration::from_secs(1), REQUESTS_LIMIT, || {
            let report = self.report()?;
            ensure!(report.requests() >= count, "{} of {count} requests", report.requests());
            Ok(report)
        })
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn requests(&self) -> u64 {
        self.0["requests"].as_u64().unwrap_or_default()
    }

    /// Requests that a version answered.
    pub(crate) fn of_version(&self, version: &str) -> u64 {
        self.0["versions"][version].as_u64().unwrap_or_default()
    }

    /// Nothing failed, and every protocol was spoken.
    pub(crate) fn check_clean(&self) -> Result<()> {
        ensure!(
            self.0["failures"] == 0,
            "{} of {} requests failed: {}",
            self.0["failures"],
            self.requests(),
            self.0["first_failures"]
        );
        for protocol in ["http1", "http2", "grpc"] {
            let count = self.0["protocols"][protocol]["requests"].as_u64();
            ensure!(count.is_some_and(|count| count > 0), "no request over {protocol}");
        }
        Ok(())
    }
}

/// Ends all traffic of a namespace: one that is kept for a look would slow down what comes after it.
pub(crate) fn end(kube: &Kube<'_>) -> Result<()> {
    kube.run(&["delete", "pods", "--selector=app=load", "--wait=false"])
        .map(drop)
}

fn manifest(pod: &str, sidecar: Option<Sidecar>, targets: &Targets) -> Value {
    let inject = sidecar.is_some().to_string();
    let annotations: Value = { sidecar.iter() }
        .map(|sidecar| (ANNOTATION.to_owned(), Value::from(sidecar.annotation())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let arguments = [
        "load",
        "--rate",
        RATE,
        "--http1",
        &targets.http1,
        "--http2",
        &targets.http2,
        "--grpc",
        &targets.grpc,
    ];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod, "labels": {"app": "load", "sidecar.istio.io/inject": inject}, "annotations": annotations},
        "spec": {
            "nodeSelector": {"topology.kubernetes.io/zone": "zone1"},
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "containers": [{
                "name": "load",
                "image": concat!("weft/callme:", env!("CARGO_PKG_VERSION")),
                "imagePullPolicy": "IfNotPresent",
                "args": arguments,
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_clean_when_all_protocols_had_answers_alone() {
        let report = |failures: u64, grpc: u64| {
            let count = |requests: u64| json!({"requests": requests});
            Report(json!({"requests": 9, "failures": failures,
                "protocols": {"http1": count(1), "http2": count(1), "grpc": count(grpc)}}))
        };
        assert!(report(0, 1).check_clean().is_ok());
        assert!(report(1, 1).check_clean().is_err());
        assert!(report(0, 0).check_clean().is_err());
        assert!(Report(json!({})).check_clean().is_err());
    }
}
