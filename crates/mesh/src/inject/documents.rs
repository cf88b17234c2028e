//! Injection of YAML text: documents with pods in them are changed, all others stay as they are, byte for byte.

use serde_json::{Map, Value, json};

use super::decide::Scope;
use super::settings::Settings;
use super::{Outcome, Refusal, inject};

/// Kinds with a pod or a template of one: API group, kind, and where it is. Of another group a kind of that name is something else.
const KINDS: [(&str, &str, &str); 10] = [
    ("", "Pod", ""),
    ("", "PodTemplate", "/template"),
    ("", "ReplicationController", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "Deployment", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("extensions", "Deployment", "/spec/template"),
];

/// Why a document cannot be injected.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It does not parse.
    #[error("document at line {line}: {reason}")]
    Syntax {
        /// First line of the document, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// Its pod is not admitted.
    #[error("document at line {line}, {object}: {refusal}")]
    Refused {
        /// First line of the document, from 1.
        line: usize,
        /// Kind and name.
        object: String,
        refusal: Refusal,
    },
    /// It cannot be written.
    #[error("document at line {line}: cannot be written as YAML: {reason}")]
    Write {
        /// First line of the document, from 1.
        line: usize,
        /// What the writer says.
        reason: String,
    },
}

/// Injected text, and what the user should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub text: String,
    /// Sentences that start with the object.
    pub notes: Vec<String>,
}

/// Injects every pod and every template of one in `text`.
pub fn inject_documents(text: &str, settings: &Settings) -> Result<Injected, DocumentError> {
    let mut injected = Injected::default();
    let mut line = 1;
    if text.starts_with('\u{feff}') {
        injected.text.push('\u{feff}');
    }
    for document in weft_api::parse::documents(text) {
        let changed = inject_one(document, line, settings, &mut injected.notes)?;
        injected.text.push_str(changed.as_deref().unwrap_or(document));
        line += document.matches('\n').count();
    }
    Ok(injected)
}

/// The document with its pods injected; nothing where it stays as it is.
fn inject_one(
    document: &str,
    line: usize,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<String>, DocumentError> {
    // Most of what is not ours need not be understood: a kind stands in the text, escaped or not, if it is there at all.
    if !document.contains("kind") {
        return Ok(None);
    }
    // kubectl reads YAML 1.1, where 0644 is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let mut value: Value =
        serde_saphyr::from_str_with_options(document, options).map_err(|error| DocumentError::Syntax {
            line,
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        })?;
    let injected = inject_object(&mut value, settings, notes).map_err(|(object, refusal)| DocumentError::Refused {
        line,
        object,
        refusal,
    })?;
    if !injected {
        return Ok(None);
    }
    let text = serde_saphyr::to_string(&value).map_err(|error| DocumentError::Write {
        line,
        reason: error.to_string(),
    })?;
    let marker = if document.starts_with("---") { "---\n" } else { "" };
    Ok(Some(format!("{marker}{}\n", text.trim_end())))
}

/// Injects an object in place, or those of a list; tells whether anything changed.
fn inject_object(object: &mut Value, settings: &Settings, notes: &mut Vec<String>) -> Result<bool, (String, Refusal)> {
    let text_of = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text_of("apiVersion"), text_of("kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let find = |kind: &str| KINDS.iter().find(|known| known.0 == group && known.1 == kind);
    if let Some((_, kind, path)) = find(&kind) {
        return inject_template(object, (&version, kind, path), settings, notes);
    }
    let of = kind.strip_suffix("List");
    let Some(of) = of.filter(|of| find(of).is_some() || (of.is_empty() && group.is_empty())) else {
        return Ok(false);
    };
    let mut changed = false;
    let items = object.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        // Items of a typed list need not say what they are.
        changed |= match find(of).filter(|_| item.get("kind").is_none()) {
            Some((_, kind, path)) => inject_template(item, (&version, kind, path), settings, notes)?,
            None => inject_object(item, settings, notes)?,
        };
    }
    Ok(changed)
}

/// Injects the pod of an object with this version, kind and path.
fn inject_template(
    object: &mut Value,
    (version, kind, path): (&str, &str, &str),
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<bool, (String, Refusal)> {
    let meta = object.get("metadata").cloned().unwrap_or_default();
    let text_of = |field: &str| meta.get(field).and_then(Value::as_str).unwrap_or_default();
    let named = format!("{kind} {}", text_of("name"));
    let namespace = match text_of("namespace") {
        "" => "default",
        namespace => namespace,
    };
    let owner = (kind != "Pod").then(
        || json!([{"apiVersion": version, "kind": kind, "name": text_of("name"), "uid": "", "controller": true}]),
    );
    let Some(pod) = object.pointer_mut(path).filter(|pod| pod.is_object()) else {
        return Err((named, Refusal::NotAPod(format!("it has no {path}"))));
    };
    let mut asked = pod.clone();
    if let Some(owner) = &owner {
        let metadata = fields(&mut asked, "metadata");
        metadata.insert("ownerReferences".to_owned(), owner.clone());
    }
    match inject(&asked, namespace, Scope::Named, settings).map_err(|refusal| (named.clone(), refusal))? {
        Outcome::Skipped(why) => {
            notes.push(format!("{named} is not injected: {why}"));
            Ok(false)
        }
        Outcome::Injected {
            pod: mut injected,
            warnings,
        } => {
            notes.extend(warnings.into_iter().map(|warning| format!("{named}: {warning}")));
            if owner.is_some() {
                fields(&mut injected, "metadata").shift_remove("ownerReferences");
            }
            *pod = injected;
            Ok(true)
        }
    }
}

/// The map of that name, made where there is none.
fn fields<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object[name].is_object() {
        object[name] = json!({});
    }
    object[name].as_object_mut().expect("it was made an object above")
}
