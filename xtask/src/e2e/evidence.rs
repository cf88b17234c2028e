//! What the cluster says about a scenario that failed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::kube::Kube;

/// File, and what kubectl is asked for it.
const ASKED: &[(&str, &[&str])] = &[
    ("objects.yaml", &["get", "all,endpointslices,configmaps", "-o", "yaml"]),
    ("pods.txt", &["describe", "pods"]),
    ("places.txt", &["get", "pods", "-o", "wide"]),
    ("events.txt", &["get", "events", "--sort-by=.lastTimestamp"]),
    ("nodes.txt", &["get", "nodes", "-o", "wide"]),
];

/// Writes it into a folder, in place of what an earlier run wrote there. A question that fails leaves its error instead.
pub(crate) fn collect(kube: &Kube<'_>, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (file, arguments) in ASKED {
        write(folder, file, kube.run(arguments))?;
    }
    for container in containers(kube).unwrap_or_default() {
        let (pod, name) = container;
        let logs = kube.run(&["logs", &pod, "--container", &name, "--tail=30000"]);
        write(folder, &format!("{pod}-{name}.log"), logs)?;
    }
    Ok(())
}

fn write(folder: &Path, file: &str, answer: Result<String>) -> Result<()> {
    let text = answer.unwrap_or_else(|error| format!("{error:#}\n"));
    fs::write(folder.join(file), text).with_context(|| format!("cannot write {file}"))
}

/// Pods and their containers, those that ran before the others among them.
fn containers(kube: &Kube<'_>) -> Result<Vec<(String, String)>> {
    let pods = kube.get(&["pods"])?;
    let mut found = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"][list].as_array().into_iter().flatten();
            let names = containers.filter_map(|container| container["name"].as_str());
            found.extend(names.map(|container| (name.to_owned(), container.to_owned())));
        }
    }
    Ok(found)
}
