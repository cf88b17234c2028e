//! A cluster by `kind`, which runs nodes as Docker containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::config;
use super::layout::{FIRST_NODE, Layout};
use super::steps::Steps;
use super::{base_images, binaries, packages};
use crate::{process, workspace};

/// Environment variable that names another node image than kind's own choice.
const IMAGE: &str = "WEFT_KIND_IMAGE";

/// Whether kind can run here; the reason if not, in a few words. A node image that is named and not there is pulled.
pub(crate) fn usable() -> std::result::Result<(), String> {
    answers()?;
    let Some(image) = wanted_image() else {
        // Only kind knows its default; whether that can be pulled shows when it is.
        return Ok(());
    };
    let quiet = |arguments: &[&str]| {
        let mut docker = Command::new("docker");
        docker.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        docker.status().is_ok_and(|status| status.success())
    };
    if quiet(&["image", "inspect", &image]) || quiet(&["pull", "--quiet", &image]) {
        return Ok(());
    }
    Err(format!("the node image {image} cannot be pulled"))
}

/// Whether its programs are there and Docker answers.
fn answers() -> std::result::Result<(), String> {
    for program in ["docker", "kind", "kubectl"] {
        if workspace::on_path(program).is_none() {
            return Err(format!("{program} is not installed"));
        }
    }
    if process::output(Command::new("docker").args(["info", "--format={{.ServerVersion}}"])).is_err() {
        return Err("Docker does not answer".to_owned());
    }
    Ok(())
}

/// One line for those who asked for another provider.
pub(crate) fn left_out() -> String {
    match answers() {
        Ok(()) => "kind is left out, though Docker answers: --provider kind".to_owned(),
        Err(reason) => format!("kind is left out, {reason}"),
    }
}

fn wanted_image() -> Option<String> {
    std::env::var(IMAGE).ok().filter(|image| !image.is_empty())
}

/// Starts it unless it runs.
pub(crate) fn up(cluster: &Layout, nodes: u8) -> Result<()> {
    let steps = Steps::new("cluster");
    let running = process::output(Command::new("kind").args(["get", "clusters"]))?;
    if running.lines().any(|name| name == cluster.name()) {
        steps.say("already up");
        return Ok(());
    }
    let file = kubeconfig_path(cluster)?;
    let folder = file.parent().context("the kubeconfig has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let description = folder.join(format!("kind-{}.yaml", cluster.name()));
    config::write(&description, &describe(nodes))?;
    let mut kind = kind(cluster, &["create", "cluster", "--wait=120s"], &file);
    kind.arg("--config").arg(&description);
    if let Some(image) = wanted_image() {
        kind.args(["--image", &image]);
    }
    let created = steps.run("kind create cluster", || process::run(&mut kind));
    fs::remove_file(description)?;
    created?;
    packages::ensure_tools(&steps)?;
    steps.run("base images", || {
        let images = folder.join(format!("kind-{}-images", cluster.name()));
        let loaded = base_images::write_tools(&images).and_then(|archive| load(cluster, &[archive]));
        fs::remove_dir_all(&images)?;
        loaded
    })?;
    steps.say(&format!("ready; export KUBECONFIG={}", file.display()));
    Ok(())
}

/// The control-plane node takes pods, too, as the local provider's does.
fn describe(nodes: u8) -> String {
    let mut text = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n".to_owned();
    for number in FIRST_NODE..=nodes {
        let role = if number == FIRST_NODE {
            "control-plane"
        } else {
            "worker"
        };
        text += &format!(
            "- role: {role}\n  labels: {{topology.kubernetes.io/region: local, topology.kubernetes.io/zone: zone{number}}}\n"
        );
    }
    text
}

pub(crate) fn down(cluster: &Layout) -> Result<()> {
    let file = kubeconfig_path(cluster)?;
    process::run(&mut kind(cluster, &["delete", "cluster"], &file))?;
    if file.exists() {
        fs::remove_file(file)?;
    }
    Ok(())
}

pub(crate) fn kubeconfig(cluster: &Layout) -> Result<PathBuf> {
    let file = kubeconfig_path(cluster)?;
    ensure!(
        file.is_file(),
        "there is no cluster; `cargo xtask cluster up --provider kind` makes one"
    );
    Ok(file)
}

/// Gives images to all nodes.
pub(crate) fn load(cluster: &Layout, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        let mut kind = Command::new("kind");
        kind.args(["load", "image-archive", "--name", cluster.name()])
            .arg(archive);
        process::run(&mut kind)?;
    }
    Ok(())
}

/// Stops or starts a node's container.
pub(crate) fn node(cluster: &Layout, number: u8, action: &str) -> Result<()> {
    process::run(Command::new("docker").args([action, &container(cluster, number)]))
}

/// Ends the API server by force; its kubelet starts it again.
pub(crate) fn end_api(cluster: &Layout) -> Result<()> {
    let node = container(cluster, FIRST_NODE);
    process::run(Command::new("docker").args(["exec", &node, "pkill", "-KILL", "kube-apiserver"]))
}

/// kind names its containers after the role; the first worker has no number.
fn container(cluster: &Layout, number: u8) -> String {
    let name = cluster.name();
    match number {
        FIRST_NODE => format!("{name}-control-plane"),
        2 => format!("{name}-worker"),
        _ => format!("{name}-worker{}", number - 1),
    }
}

fn kind(cluster: &Layout, arguments: &[&str], kubeconfig: &Path) -> Command {
    let mut kind = Command::new("kind");
    kind.args(arguments)
        .args(["--name", cluster.name(), "--kubeconfig"])
        .arg(kubeconfig);
    kind
}

fn kubeconfig_path(cluster: &Layout) -> Result<PathBuf> {
    Ok(binaries::cache()?.join(format!("kind-{}.kubeconfig", cluster.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_the_names_that_kind_gives() {
        let cluster = Layout::new("weft").unwrap();
        let names = [1, 2, 3].map(|number| container(&cluster, number));
        assert_eq!(names, ["weft-control-plane", "weft-worker", "weft-worker2"]);
    }

    #[test]
    fn every_node_has_a_zone() {
        let text = describe(2);
        assert!(text.contains(
            "- role: control-plane\n  labels: {topology.kubernetes.io/region: local, \
                               topology.kubernetes.io/zone: zone1}"
        ));
        assert!(text.ends_with("zone: zone2}\n"), "{text}");
    }
}
