//! VirtualServices through captured traffic: split, match, retries, faults, timeouts; edits take effect under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::load::{Load, Targets};
use crate::e2e::objects::{self, CHANGE_LIMIT, SAMPLE, SAMPLE_MESH, curl_with, status};

/// Requests whose split is looked at, and points that it may be off: over four standard deviations of 2,000 requests at 80 %.
const COUNT: u64 = 2000;
const POINTS: u64 = 4;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    objects::start(kube, &[SAMPLE[0], SAMPLE[1], SAMPLE_MESH])?;
    let load = Load::start(kube, &Targets::callme("callme"))?;
    let before = load.report()?;
    let report = load.wait_for_requests(before.requests() + COUNT)?;
    report.check_clean()?;
    let (v1, all) = (
        report.of_version("v1"),
        report.of_version("v1") + report.of_version("v2"),
    );
    let percent = v1 * 100 / all;
    ensure!(
        percent.abs_diff(80) <= POINTS,
        "{v1} of {all} requests went to v1, 80 % should"
    );
    canary(kube).context("header routing")?;
    retries(kube).context("retries")?;
    faults(kube).context("faults")?;
    load.report()?.check_clean().context("under edits")
}

fn canary(kube: &Kube<'_>) -> Result<()> {
    for _ in 0..20 {
        let answer = curl_with(kube, &["--fail", "--user-agent", "canary/1", "http://callme/"])?;
        ensure!(answer.contains(r#""version":"v2""#), "the canary got {answer}");
    }
    Ok(())
}

/// Three in ten requests to /flaky fail the first time.
fn retries(kube: &Kube<'_>) -> Result<()> {
    let mut retried = 0;
    for _ in 0..30 {
        let answer = curl_with(kube, &["--fail", "http://callme/flaky"])?;
        retried += u32::from(!answer.contains(r#""attempt":1"#));
    }
    ensure!(retried > 0, "30 requests to /flaky and none was sent again");
    Ok(())
}

/// An abort, a delay and a timeout for who asks for them; callme is slow to the caller alone, so that the load beside does not wait.
fn faults(kube: &Kube<'_>) -> Result<()> {
    kube.apply(
        r#"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: caller-faults}
spec:
  hosts: [caller]
  http:
  - match: [{headers: {x-fault: {exact: abort}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: caller}}]
  - match: [{headers: {x-fault: {exact: delay}}}]
    fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
    route: [{destination: {host: caller}}]
  - match: [{headers: {user-agent: {exact: hasty}}}]
    timeout: 0.5s
    route: [{destination: {host: caller}}]
  - route: [{destination: {host: caller}}]
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: callme}
spec:
  hosts: [callme]
  http:
  - match: [{sourceLabels: {app: caller}, headers: {user-agent: {exact: hasty}}}]
    fault: {delay: {fixedDelay: 3s, percentage: {value: 100}}}
    route: [{destination: {host: callme}}]
  - route: [{destination: {host: callme}}]
"#,
    )?;
    let url = "http://caller/";
    until(CHANGE_LIMIT, || {
        let got = status(kube, &["--header", "x-fault: abort", url])?;
        ensure!(got == "418", "the aborted request got {got}");
        Ok(())
    })?;
    let start = Instant::now();
    let got = status(kube, &["--header", "x-fault: delay", url])?;
    ensure!(got == "200", "the delayed request got {got}");
    let took = start.elapsed();
    ensure!(took >= Duration::from_secs(2), "the delayed request took {took:?}");
    let got = status(kube, &["--user-agent", "hasty", url])?;
    ensure!(got == "504", "the request with a timeout got {got}");
    let got = status(kube, &[url])?;
    ensure!(got == "200", "a request without the header got {got}");
    Ok(())
}
