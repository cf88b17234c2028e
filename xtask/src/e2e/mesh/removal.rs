//! Uninstalling leaves nothing of the mesh, and applications that run without it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{install, meshctl};
use crate::e2e::Scene;
use crate::e2e::kube::until;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    install(scene.cluster)?;
    meshctl(scene.cluster, &["uninstall", "--purge"])?;
    let kinds = kube.run(&["api-resources", "--verbs=list", "--output=name"])?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    until(Duration::from_secs(60), || {
        let list = [
            "get",
            &kinds.join(","),
            "--all-namespaces",
            "--output=name",
            "--ignore-not-found",
        ];
        let everything = kube.run(&list)?;
        let ours = |line: &&str| ["weft", "istio"].iter().any(|word| line.contains(word));
        let left: Vec<&str> = everything.lines().filter(ours).collect();
        ensure!(left.is_empty(), "left: {}", left.join(", "));
        Ok(())
    })
}
