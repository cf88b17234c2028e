//! What became of users' objects, written into their `status`: a condition, and a message for each finding.
//!
//! Done by the leader, a few writes a second, and only where something changed. An object's status speaks of the generation
//! that was looked at: the object is read first, and one that the snapshot has not caught up with is left for later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use weft_api::diagnostic::{Diagnostic, Severity};
use weft_api::kind::{Kind, Status};
use weft_api::meta::ObjectKey;
use weft_api::parse::parse_json;
use weft_api::resource::Resource;
use weft_base::kubernetes::is_status;
use weft_mesh::snapshot::MeshSnapshot;

use crate::source::kube::{Served, document, scoped_api};
use crate::xds::connections::Connections;
use crate::xds::findings::refusals;

/// Pause between two objects.
const PACE: Duration = Duration::from_millis(50);

/// Pause before objects are looked at again that could not be written, or that were ahead of the snapshot.
const RETRY: Duration = Duration::from_secs(5);

/// Longest time that one object may take. A leader whose requests hang must not be held up by one of them.
const TIMEOUT: Duration = Duration::from_secs(4);

/// How often objects that cannot be used are looked at again: one may have been changed into one that is broken in the same way, of
/// which no snapshot tells.
const SWEEP_BROKEN: Duration = Duration::from_secs(30);

/// The same for all objects, whose status somebody else may have written over.
const SWEEP: Duration = Duration::from_secs(300);

/// Our condition (Istio's type).
const CONDITION: &str = "Reconciled";

/// Most findings that one status names.
const MESSAGES_MAX: usize = 20;

/// An object as the snapshot has it, nothing if it is broken, and what was found about it.
type Said = (Option<Resource>, Vec<Diagnostic>);

/// What is to be said of the objects of one snapshot.
type Wanted = BTreeMap<ObjectKey, Said>;

/// How an attempt to write one status ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It says what it should, or the object is gone.
    Done,
    /// The snapshot does not know the object as it is yet, or it changed while it was looked at.
    Ahead,
}

/// The writer of one term of leadership: what is to be said, what was said, and what has to be looked at.
struct Writer<'a> {
    client: &'a Client,
    served: watch::Receiver<Served>,
    wanted: Wanted,
    written: Wanted,
    pending: BTreeSet<ObjectKey>,
    /// What is tried again after a pause.
    later: BTreeSet<ObjectKey>,
}

/// Writes statuses while `leads` says so; ends with its sender, or with that of the snapshots. Each term starts from nothing:
/// another replica may have written meanwhile.
pub async fn run(
    client: Client,
    served: watch::Receiver<Served>,
    snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    connections: Connections,
    mut leads: watch::Receiver<bool>,
) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let lost = async { leads.wait_for(|leads| !*leads).await.is_ok() };
        tokio::select! {
            biased;
            known = lost => if !known {
                return;
            },
            () = follow(&client, served.clone(), snapshots.clone(), &connections) => return,
        }
    }
}

/// Follows the snapshots, and what proxies refuse of them, until they end.
async fn follow(
    client: &Client,
    served: watch::Receiver<Served>,
    mut snapshots: watch::Receiver<Arc<MeshSnapshot>>,
    connections: &Connections,
) {
    let mut refused = connections.refusals();
    let mut writer = Writer {
        client,
        served,
        wanted: Wanted::new(),
        written: Wanted::new(),
        pending: BTreeSet::new(),
        later: BTreeSet::new(),
    };
    let mut pace = tokio::time::interval(PACE);
    // Ticks that nobody waited for are no credit: else a quiet minute would be followed by a thousand writes at once.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = tokio::time::interval(RETRY);
    let mut sweep_broken = tokio::time::interval(SWEEP_BROKEN);
    let mut sweep = tokio::time::interval(SWEEP);
    snapshots.mark_changed();
    loop {
        tokio::select! {
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                writer.take(&snapshot, &refusals(&connections.all()));
            }
            Ok(()) = refused.changed() => {
                let snapshot = snapshots.borrow().clone();
                writer.take(&snapshot, &refusals(&connections.all()));
            }
            _ = retry.tick() => writer.pending.append(&mut writer.later),
            _ = sweep_broken.tick() => {
                let broken = writer.wanted.iter().filter(|(_, (resource, _))| resource.is_none());
                writer.pending.extend(broken.map(|(key, _)| key.clone()));
            }
            _ = sweep.tick() => writer.pending.extend(writer.wanted.keys().cloned()),
            _ = pace.tick(), if !writer.pending.is_empty() => writer.write_next().await,
        }
    }
}

// === impl Writer ===

impl Writer<'_> {
    /// Takes in a snapshot, and what proxies refuse: what is said anew is to be written.
    fn take(&mut self, snapshot: &MeshSnapshot, refused: &[Diagnostic]) {
        self.wanted = wanted(snapshot, refused);
        self.written.retain(|key, _| self.wanted.contains_key(key));
        let news = self
            .wanted
            .iter()
            .filter(|(key, said)| self.written.get(*key) != Some(*said));
        // Those of a sweep stay, however often the mesh changes.
        self.pending.retain(|key| self.wanted.contains_key(key));
        self.pending.extend(news.map(|(key, _)| key.clone()));
    }

    /// Looks at the next object. One that cannot be written waits for the next retry, and holds no other up for long.
    async fn write_next(&mut self) {
        // Whose object does not apply waits for nobody else.
        let has_error = |key: &&ObjectKey| {
            let said = self.wanted.get(*key);
            said.is_some_and(|(_, found)| found.iter().any(|found| found.severity == Severity::Error))
        };
        let urgent = self.pending.iter().find(has_error).cloned();
        let Some(key) = urgent.or_else(|| self.pending.first().cloned()) else {
            return;
        };
        self.pending.remove(&key);
        let Some(said) = self.wanted.get(&key) else {
            return;
        };
        let version = self.served.borrow().get(&key.kind).cloned();
        let Some(version) = version else {
            // What a server lists may be incomplete for a moment.
            self.later.insert(key);
            return;
        };
        match tokio::time::timeout(TIMEOUT, write(self.client, &version, &key, said)).await {
            Ok(Ok(Outcome::Done)) => {
                self.written.insert(key, said.clone());
                return;
            }
            Ok(Ok(Outcome::Ahead)) => {}
            Ok(Err(error)) => tracing::warn!(object = %key, %error, "cannot write the status, trying again"),
            Err(_) => tracing::warn!(object = %key, "no answer about the status, trying again"),
        }
        self.later.insert(key);
    }
}

/// Every object that has a status, with its findings. The object is part of what is compared, because a new generation is
/// observed even if nothing else is to be said of it. Of an object with a finding that may be gone in a moment nothing is said yet, so that
/// its status is written once and says what holds; unless a proxy refuses something of it, which is said at once.
fn wanted(snapshot: &MeshSnapshot, refused: &[Diagnostic]) -> Wanted {
    let objects = snapshot.inputs.istio();
    let mut wanted: Wanted = objects
        .map(|object| (object.key(), (Some(object), Vec::new())))
        .collect();
    let names: BTreeMap<String, ObjectKey> = wanted.keys().map(|key| (key.to_string(), key.clone())).collect();
    for found in snapshot.all_diagnostics() {
        let known = names.get(&found.object).cloned();
        if let Some(key) = known.or_else(|| broken(&found.object)) {
            wanted.entry(key).or_default().1.push(found.clone());
        }
    }
    let is_refused = |object: &str| refused.iter().any(|found| found.object == object);
    for found in snapshot.unsettled().filter(|found| found.severity > Severity::Info) {
        if let Some(key) = names.get(&found.object)
            && !is_refused(&found.object)
        {
            wanted.remove(key);
        }
    }
    for found in refused {
        let said = names.get(&found.object).and_then(|key| wanted.get_mut(key));
        if let Some((_, findings)) = said {
            findings.push(found.clone());
        }
    }
    wanted
}

/// The key of an object that is broken, so that no snapshot has it.
fn broken(object: &str) -> Option<ObjectKey> {
    let mut parts = object.splitn(3, '/');
    let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    let mut told = Kind::ALL.iter().filter(|known| known.facts().status == Status::Written);
    let kind = *told.find(|known| known.unique_name() == kind)?;
    Some(ObjectKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    })
}

async fn write(client: &Client, version: &str, key: &ObjectKey, said: &Said) -> kube::Result<Outcome> {
    let api = scoped_api(client.clone(), key, version);
    let Some(object) = api.get_opt(&key.name).await? else {
        return Ok(Outcome::Done);
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let seen = object.metadata.resource_version.clone();
    let old = object.data.get("status").cloned().unwrap_or_default();
    let parsed = parse_json(&document(key.kind, version, object));
    let findings = match (parsed.resources.first(), &said.0) {
        (Some(current), Some(known)) if current == known => &said.1,
        (Some(_), _) => return Ok(Outcome::Ahead),
        (None, _) => &parsed.diagnostics,
    };
    let new = status(&old, findings, generation, Timestamp::now());
    if new == old {
        return Ok(Outcome::Done);
    }
    patch(&api, key, seen, &new).await
}

/// Writes the status into the object as it was seen: the list of conditions has those of others, and a leader whose request was
/// long on its way must not put an old one in place of its successor's.
async fn patch(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    seen: Option<String>,
    status: &Value,
) -> kube::Result<Outcome> {
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": seen}, "status": status}));
    match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(Outcome::Done),
        // Gone meanwhile, or a kind whose definition has no status.
        Err(error) if is_status(&error, 404) => Ok(Outcome::Done),
        Err(error) if is_status(&error, 409) => Ok(Outcome::Ahead),
        Err(error) => Err(error),
    }
}

/// The status that an object should have: other writers' conditions stay, and a condition that says the same keeps its time.
fn status(old: &Value, findings: &[Diagnostic], generation: i64, now: Timestamp) -> Value {
    let errors: Vec<&Diagnostic> = findings
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .collect();
    let (state, reason, message) = match errors.as_slice() {
        [] => ("True", "Applied", String::new()),
        [first, rest @ ..] => {
            let mut message = format!("{}: {}", first.field, first.message);
            if !rest.is_empty() {
                message.push_str(&format!(" (and {} more)", rest.len()));
            }
            ("False", "NotApplied", message.trim_start_matches(": ").to_owned())
        }
    };
    let conditions = old["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let ours = conditions.iter().find(|condition| condition["type"] == CONDITION);
    let since = ours
        .filter(|ours| ours["status"] == state)
        .and_then(|ours| ours["lastTransitionTime"].as_str())
        .map_or_else(|| format!("{now:.0}"), str::to_owned);
    let others = conditions.iter().filter(|condition| condition["type"] != CONDITION);
    let mut conditions: Vec<Value> = others.cloned().collect();
    conditions.push(json!({
        "type": CONDITION, "status": state, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": generation,
    }));
    let messages: Vec<Value> = findings.iter().take(MESSAGES_MAX).map(message_of).collect();
    let mut status = old.as_object().cloned().unwrap_or_default();
    status.insert("conditions".to_owned(), conditions.into());
    status.insert("observedGeneration".to_owned(), generation.into());
    status.insert("validationMessages".to_owned(), messages.into());
    Value::Object(status)
}

/// A finding as Istio's `AnalysisMessageBase`.
fn message_of(found: &Diagnostic) -> Value {
    let level = match found.severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    };
    let text = [found.field.as_str(), found.message.as_str(), found.hint.as_str()];
    let text: Vec<&str> = text.into_iter().filter(|part| !part.is_empty()).collect();
    json!({"type": {"code": &*found.code, "name": text.join(": ")}, "level": level})
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_mesh::snapshot::{Inputs, MeshSettings, build};

    fn finding(severity: Severity, message: &str) -> Diagnostic {
        Diagnostic {
            file: "".into(),
            line: 0,
            column: 0,
            severity,
            code: "IST0106".into(),
            object: "VirtualService/default/a".to_owned(),
            field: "spec.hosts".to_owned(),
            message: message.to_owned(),
            hint: String::new(),
        }
    }

    #[test]
    fn a_status_says_what_was_found_and_keeps_its_time() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        let errors = [
            finding(Severity::Error, "is missing"),
            finding(Severity::Error, "is bad"),
        ];
        let first = status(&Value::Null, &errors, 3, at(0));
        let ours = &first["conditions"][0];
        assert_eq!(
            (&ours["status"], &ours["reason"]),
            (&json!("False"), &json!("NotApplied"))
        );
        assert_eq!(ours["message"], "spec.hosts: is missing (and 1 more)");
        assert_eq!(ours["lastTransitionTime"], "2023-11-14T22:13:20Z");
        assert_eq!(first["observedGeneration"], 3);
        assert_eq!(first["validationMessages"][0]["level"], "ERROR");
        // The same again is the same, whatever the time.
        assert_eq!(status(&first, &errors, 3, at(60)), first);
        // Mended: a transition.
        let second = status(&first, &[finding(Severity::Warning, "hm")], 4, at(60));
        let ours = &second["conditions"][0];
        assert_eq!((&ours["status"], &ours["message"]), (&json!("True"), &json!("")));
        assert_eq!(ours["lastTransitionTime"], "2023-11-14T22:14:20Z");
    }

    /// A rule whose host may still come has no status that would say otherwise a moment later.
    #[test]
    fn what_is_not_settled_is_not_said() {
        let text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\n\
                    spec: {host: gone.default.svc.cluster.local}\n";
        let parsed = weft_api::parse::parse("", text);
        let mut inputs = Inputs::default();
        for resource in &parsed.resources {
            inputs.apply(resource);
        }
        let mut snapshot = build(inputs, &Arc::new(MeshSettings::default()), 1, None);
        let said = wanted(&snapshot, &[]);
        assert_eq!(said.values().map(|(_, found)| found.len()).collect::<Vec<_>>(), [1]);
        snapshot.told = Arc::default();
        assert_eq!(wanted(&snapshot, &[]), Wanted::new());
        // A refusal is said at once, of objects that there are.
        let refused = |object: &str| Diagnostic {
            object: object.to_owned(),
            ..finding(Severity::Error, "refused by p.default")
        };
        let all = [
            refused("DestinationRule/default/a"),
            refused("DestinationRule/default/b"),
        ];
        let said = wanted(&snapshot, &all);
        let messages = said.values().flat_map(|(_, found)| found).map(|found| &*found.message);
        assert_eq!(messages.collect::<Vec<_>>(), ["refused by p.default"]);
    }

    #[test]
    fn other_conditions_and_fields_stay() {
        let old = json!({"conditions": [{"type": "Other", "status": "True"}], "addresses": ["10.0.0.1"]});
        let new = status(&old, &[], 1, Timestamp::UNIX_EPOCH);
        assert_eq!(new["conditions"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&new["conditions"][0], &new["addresses"]),
            (&old["conditions"][0], &old["addresses"])
        );
    }
}
