//! Broken objects: refused by the server or the webhook with field and reason; one that was stored before is reported, and blocks no other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{apply, meshctl};
use crate::e2e::Scene;
use crate::e2e::kube::until;
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, only_v2_answers};

const LIMIT: Duration = Duration::from_secs(15);

/// Broken objects, and what the refusal names.
const BROKEN: &[(&str, &[&str])] = &[
    (
        r"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: weights}
spec: {hosts: [callme], http: [{route: [{destination: {host: callme}, weight: 0}, {destination: {host: caller}, weight: 0}]}]}
",
        &["spec.http[0]", "weight"],
    ),
    (
        r"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: pattern}
spec: {hosts: [callme], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: callme}}]}]}
",
        &["spec.http[0].match[0].uri.regex"],
    ),
    (
        r"
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: hosts}
spec: {hosts: [], ports: [{number: 80, name: http, protocol: HTTP}]}
",
        &["spec.hosts"],
    ),
];

/// One that the server's schema lets pass and the mesh cannot use.
const STORED: &str = r"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: stored-broken}
spec: {hosts: [caller], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: caller}}]}]}
";

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    for (object, named) in BROKEN {
        let Err(refused) = kube.apply(object) else {
            anyhow::bail!("the server takes {object}");
        };
        let refused = format!("{refused:#}");
        for name in *named {
            ensure!(refused.contains(name), "the refusal does not name {name}: {refused}");
        }
    }
    objects::start(kube, &SAMPLE)?;
    // As if it had been stored before the mesh came.
    kube.run(&["delete", "validatingwebhookconfiguration", "weft-validator"])?;
    let stored = stored_broken(scene);
    kube.run(&["delete", "virtualservice", "stored-broken", "--ignore-not-found"])?;
    apply(scene.cluster, &[])?;
    stored
}

fn stored_broken(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.apply(STORED)?;
    kube.apply(
        &SAMPLE_MESH
            .replace("weight: 80", "weight: 0")
            .replace("weight: 20", "weight: 100"),
    )?;
    until(LIMIT, || only_v2_answers(kube)).context("the object beside it is not used")?;
    until(LIMIT, || {
        let object = kube.get(&["virtualservice", "stored-broken"])?;
        let status = object["status"].to_string();
        ensure!(
            status.contains("spec.http[0].match[0].uri.regex"),
            "its status is {status}"
        );
        Ok(())
    })?;
    let said = match meshctl(scene.cluster, &["check"]) {
        Ok(said) => said,
        Err(error) => format!("{error:#}"),
    };
    ensure!(said.contains("stored-broken"), "meshctl check does not name it: {said}");
    Ok(())
}
