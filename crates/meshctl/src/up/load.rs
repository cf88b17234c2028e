//! Reads the mesh file, and looks over the objects that it names before anything starts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::local_mesh::LocalMesh;
use weft_api::meta::{Kind, Object};
use weft_api::parse::{Parsed, parse};
use weft_api::resource::Resource;
use weft_mesh::snapshot::{Inputs, MeshSettings, MeshSnapshot, build};

use crate::exit::Failure;
use crate::output;
use crate::up::plan::Member;
use crate::up::settle::Expected;
use crate::up::{example, registry};

/// A mesh file that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `metadata.name`.
    pub(crate) name: String,
    /// Where it lies, absolute.
    pub(crate) path: PathBuf,
    /// How the user named it.
    pub(crate) shown: String,
    /// What it says.
    pub(crate) mesh: LocalMesh,
}

/// What was found out about the objects of a mesh.
#[derive(Debug)]
pub(crate) struct Examined {
    /// What cannot be read, one line each.
    pub(crate) unreadable: Vec<String>,
    /// What is wrong in the objects.
    pub(crate) findings: Vec<Diagnostic>,
    /// A request that the mesh answers.
    pub(crate) example: Option<String>,
    /// What pilot must serve once everything is ready.
    pub(crate) endpoints: Expected,
}

/// Reads the mesh file. Its warnings are printed; an error in it ends the verb, with every error of the file.
pub(crate) fn mesh_file(path: &Path) -> anyhow::Result<Loaded> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::bad_data(format!("cannot read {shown}: {error}")))?;
    let mesh = mesh_of(&shown, &text)?;
    Ok(Loaded {
        name: mesh.meta.name.to_string(),
        path: std::path::absolute(path).with_context(|| format!("cannot find {shown}"))?,
        shown,
        mesh: mesh.spec.clone(),
    })
}

fn mesh_of(shown: &str, text: &str) -> Result<Arc<Object<LocalMesh>>, Failure> {
    let parsed = parse(shown, text);
    if let Some(error) = no_mesh(shown, &parsed) {
        return Err(error);
    }
    let (errors, others): (Vec<Diagnostic>, Vec<Diagnostic>) = parsed
        .diagnostics
        .into_iter()
        .partition(|finding| finding.severity == Severity::Error);
    for finding in others {
        output::say(&finding.to_string());
    }
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(Failure::bad_data(format!(
            "the mesh file is wrong:\n{}",
            lines.join("\n")
        )));
    }
    let mut mesh = None;
    for resource in parsed.resources {
        if let (Resource::LocalMesh(found), None) = (&resource, &mesh) {
            mesh = Some(Arc::clone(found));
            continue;
        }
        return Err(Failure::bad_data(format!(
            "{shown}:{}: {}: a mesh file holds one LocalMesh and nothing else; move this into a file that spec.config names",
            resource.place().at.line,
            resource.kind(),
        )));
    }
    mesh.ok_or_else(|| without_mesh(shown, &BTreeSet::new()))
}

/// A file with whole documents, none of which means to be a mesh: what else is wrong with them is of no interest.
fn no_mesh(shown: &str, parsed: &Parsed) -> Option<Failure> {
    let of_resources = parsed.resources.iter().map(Resource::kind);
    let kinds: BTreeSet<Kind> = of_resources.chain(parsed.broken.iter().map(|key| key.kind)).collect();
    let is_unclear = |found: &Diagnostic| found.severity == Severity::Error && *found.code == *code::UNHANDLED_KIND;
    if kinds.contains(&Kind::LocalMesh) || parsed.broken_unnamed || parsed.diagnostics.iter().any(is_unclear) {
        return None;
    }
    Some(without_mesh(shown, &kinds))
}

fn without_mesh(shown: &str, kinds: &BTreeSet<Kind>) -> Failure {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let but = if names.is_empty() {
        String::new()
    } else {
        format!(" but {}", names.join(", "))
    };
    Failure::bad_data(format!(
        "{shown} holds no LocalMesh{but}; a mesh file begins with apiVersion: weft.mesh/v1alpha1, kind: LocalMesh, and names files \
         with other objects in spec.config"
    ))
}

/// What is wrong in the objects of the mesh: in single objects, and in what they say of each other once all
/// `members` are ready. None of it keeps the mesh from starting: a broken object is left out and the others work.
pub(crate) fn examine(config: &[PathBuf], members: &[Member]) -> Examined {
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for path in config {
        collect(path, &mut files, &mut unreadable);
    }
    let mut inputs = Inputs::default();
    let mut found = Vec::new();
    for file in files {
        let shown = file.display().to_string();
        match std::fs::read_to_string(&file) {
            Ok(text) => found.extend(take(&mut inputs, &shown, &text)),
            Err(error) => unreadable.push(format!(
                "{shown}: error: cannot read: {error}; the rest of the mesh works without it"
            )),
        }
    }
    for member in members {
        // Written and read back in memory; that this works is tested with the writer.
        let text = registry::text(member, true).unwrap_or_default();
        found.extend(take(&mut inputs, "registry", &text));
    }
    let snapshot = build(inputs, &Arc::new(MeshSettings::default()), 1, None);
    found.extend(snapshot.diagnostics.iter().cloned());
    found.retain(|finding| finding.severity > Severity::Info);
    Examined {
        unreadable,
        findings: found,
        example: example::request(&snapshot, members),
        endpoints: endpoints(&snapshot, members),
    }
}

/// Endpoints of services that members are.
fn endpoints(snapshot: &MeshSnapshot, members: &[Member]) -> Expected {
    let mesh_ports: BTreeSet<u16> = members
        .iter()
        .filter_map(Member::workload)
        .flat_map(|workload| &workload.ports)
        .map(|port| port.mesh)
        .collect();
    let mut expected = Expected::new();
    for service in snapshot.services.iter() {
        let Some(ready) = snapshot.endpoints.of(&service.key) else {
            continue;
        };
        let ports = service
            .ports
            .iter()
            .flat_map(|port| ready.port(port.port))
            .map(|endpoint| endpoint.port);
        expected.extend(
            ports
                .filter(|port| mesh_ports.contains(port))
                .map(|port| (service.key.hostname.to_string(), port)),
        );
    }
    expected
}

/// Puts the objects of a text into `inputs` and gives what is wrong with them.
fn take(inputs: &mut Inputs, shown: &str, text: &str) -> Vec<Diagnostic> {
    let parsed = parse(shown, text);
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    parsed.diagnostics
}

/// The files that pilot reads of a path: the path itself, or everything with a name of YAML or JSON below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>, findings: &mut Vec<String>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            findings.push(format!("{}: error: cannot read: {error}", path.display()));
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|extension| extension.to_str());
        // A link to a directory is not followed: it could lead back here.
        if path.is_dir() && !path.is_symlink() && !hidden {
            collect(&path, files, findings);
        } else if !path.is_dir() && !hidden && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = mesh_of("mesh.yaml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }

    #[test]
    fn a_mesh_file_holds_one_mesh() {
        let mesh = "apiVersion: weft.mesh/v1alpha1\nkind: LocalMesh\nmetadata: {name: demo}\nspec:\n  workloads:\n";
        let workload = "  - name: a\n    ports: [{name: http, port: 0}]\n    command: [python3]\n";
        let parsed = mesh_of("mesh.yaml", &format!("{mesh}{workload}")).unwrap();
        assert_eq!((&*parsed.meta.name, parsed.spec.workloads.len()), ("demo", 1));

        let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
        check(&format!("{mesh}{workload}{service}"), "a mesh file holds one LocalMesh");
        check("", "mesh.yaml holds no LocalMesh;");
        check(
            service,
            "mesh.yaml holds no LocalMesh but Service; a mesh file begins with",
        );
        let broken = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
        check(broken, "mesh.yaml holds no LocalMesh but Service;");
        check(&mesh.replace("LocalMesh", "LocalMehs"), "did you mean LocalMesh?");
        check("a: [", "mesh.yaml:");
        check(&format!("{mesh}{workload}    comand: [x]\n"), "mesh.yaml:9:5");
        check(
            &format!("{mesh}  - name: a\n    ports: 80\n"),
            "spec.workloads[0].ports",
        );
    }

    #[test]
    fn broken_objects_and_unreadable_files_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(
            path("good.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
        )
        .unwrap();
        std::fs::write(
            path("bad.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {prts: []}\n",
        )
        .unwrap();
        std::fs::write(path("notes.txt"), "no YAML: [").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link.yaml")).unwrap();
        let examined = examine(&[directory.path().to_owned()], &[]);
        let [unreadable] = examined.unreadable.as_slice() else {
            panic!("{:?}", examined.unreadable);
        };
        assert!(unreadable.contains("link.yaml: error: cannot read"), "{unreadable}");
        let findings: Vec<String> = examined.findings.iter().map(ToString::to_string).collect();
        assert!(
            findings
                .iter()
                .any(|finding| finding.contains("bad.yaml:4") && finding.contains("prts")),
            "{findings:#?}"
        );
        assert!(
            !findings
                .iter()
                .any(|finding| finding.contains("good.yaml") || finding.contains("notes")),
            "{findings:#?}"
        );
    }
}
