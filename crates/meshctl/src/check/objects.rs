//! Users' objects: those that the control plane cannot use, as their statuses say, and those of kinds that it does not carry out.

use kube::api::{Api, ApiResource, ListParams};
use kube::core::DynamicObject;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::Value;
use weft_api::kind::{Admission, Group, Kind, Status, UNREAD};

use super::NAMED_MAX;
use super::unserved::Unserved;
use crate::install::{Finding, Mark};

const CATEGORY: &str = "objects";

/// Objects of one answer of the server.
const PAGE: u32 = 500;

/// The condition that the control plane writes (Istio's type).
const CONDITION: &str = "Reconciled";

/// What the statuses say, over all namespaces.
#[derive(Debug, Default)]
struct Seen {
    objects: usize,
    refused: Vec<Finding>,
    /// What is carried out and was probably meant otherwise.
    doubtful: Vec<Finding>,
    /// Objects whose status speaks of an earlier generation, or that have none.
    waiting: Vec<String>,
}

/// What there is to say of the objects, and whether the control plane has looked at each of them.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    pub(super) settled: bool,
}

/// Looks at every object of Istio's kinds and of the Gateway API's. None of them is no finding.
pub(super) async fn objects(client: &Client) -> anyhow::Result<Looked> {
    let groups = Discovery::new(client.clone()).filter(&groups()).run().await?;
    let (mut seen, mut unserved) = (Seen::default(), Unserved::default());
    for group in groups.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let known = Kind::named(&resource.group, &resource.kind);
            let is_told = known.is_some_and(|kind| kind.facts().status == Status::Written);
            each(client, &resource, |object| {
                if is_told && capabilities.scope == Scope::Namespaced {
                    seen.look(&resource.kind, object);
                } else {
                    unserved.take(&resource, object);
                }
            })
            .await?;
        }
    }
    let settled = seen.waiting.is_empty();
    let mut findings = seen.findings();
    findings.extend(unserved.findings());
    Ok(Looked { findings, settled })
}

/// API groups whose objects are looked at: those that the webhook is asked about, and Istio's others.
fn groups() -> Vec<&'static str> {
    let read = Group::all().into_iter();
    let read = read.filter(|group| group.admission() != Admission::Unasked);
    let mut groups: Vec<&str> = read.map(Group::name).collect();
    groups.extend(UNREAD.iter().map(|(group, _)| *group));
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Shows all objects of a kind, a page after the other.
async fn each(client: &Client, resource: &ApiResource, mut look: impl FnMut(&DynamicObject)) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        list.items.iter().for_each(&mut look);
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok(()),
        }
    }
}

// === impl Seen ===

impl Seen {
    fn look(&mut self, kind: &str, object: &DynamicObject) {
        self.objects += 1;
        let name = format!(
            "{kind} {}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        );
        let conditions = object.data["status"]["conditions"].as_array();
        let ours = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == CONDITION));
        let generation = object.metadata.generation.unwrap_or_default();
        match ours {
            Some(ours) if ours["observedGeneration"].as_i64().unwrap_or(generation) >= generation => {
                let status = &object.data["status"];
                if ours["status"] == "False" {
                    let reason = ours["message"].as_str().unwrap_or("its status does not say why");
                    let hint = hint(status);
                    self.refused
                        .push(Finding::new(CATEGORY, Mark::Bad, format!("{name}: {reason}"), hint));
                }
                self.doubtful.extend(
                    warnings(status).map(|text| Finding::new(CATEGORY, Mark::Doubtful, format!("{name}: {text}"), "")),
                );
            }
            _ => self.waiting.push(name),
        }
    }

    fn findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.objects > self.refused.len() + self.waiting.len() {
            let used = self.objects - self.refused.len() - self.waiting.len();
            let text = format!("{used} of {} objects are in use", self.objects);
            findings.push(Finding::new(CATEGORY, Mark::Good, text, ""));
        }
        if let Some(first) = self.waiting.first() {
            let text = format!("{} objects have no status yet, {first} among them", self.waiting.len());
            let hint = "one of the pilots writes it within seconds; see meshctl logs pilot";
            findings.push(Finding::new(CATEGORY, Mark::Doubtful, text, hint));
        }
        for (mark, named) in [(Mark::Bad, self.refused), (Mark::Doubtful, self.doubtful)] {
            let more = named.len().saturating_sub(NAMED_MAX);
            findings.extend(named.into_iter().take(NAMED_MAX));
            if more > 0 {
                let hint = "kubectl get with -o yaml shows the status of each";
                findings.push(Finding::new(CATEGORY, mark, format!("and {more} more"), hint));
            }
        }
        findings
    }
}

/// What a status warns of.
fn warnings(status: &Value) -> impl Iterator<Item = String> {
    let messages = status["validationMessages"].as_array().into_iter().flatten();
    let warnings = messages.filter(|message| message["level"] == "WARNING");
    warnings.filter_map(|message| message["type"]["name"].as_str().map(str::to_owned))
}

/// The part of the first error's message behind the reason, which says what to do.
fn hint(status: &Value) -> String {
    let messages = status["validationMessages"].as_array();
    let first = messages.and_then(|all| all.iter().find(|message| message["level"] == "ERROR"));
    let text = first
        .and_then(|message| message["type"]["name"].as_str())
        .unwrap_or_default();
    text.splitn(3, ": ").nth(2).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn object(name: &str, generation: i64, status: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "shop", "generation": generation}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn status(state: &str, generation: i64) -> Value {
        json!({
            "conditions": [
                {"type": "Other", "status": "False"},
                {"type": "Reconciled", "status": state, "observedGeneration": generation,
                    "message": "spec.http[0].timeot: is not known"},
            ],
            "validationMessages": [
                {"level": "WARNING", "type": {"name": "spec.http: hm"}},
                {"level": "ERROR", "type": {"name": "spec.http[0].timeot: is not known: did you mean timeout?"}},
            ],
        })
    }

    #[test]
    fn refused_objects_are_named_with_field_and_reason() {
        let mut seen = Seen::default();
        seen.look("VirtualService", &object("good", 2, &status("True", 2)));
        seen.look("VirtualService", &object("broken", 2, &status("False", 2)));
        seen.look("VirtualService", &object("late", 3, &status("False", 2)));
        seen.look("VirtualService", &object("new", 1, &Value::Null));
        let lines: Vec<String> = seen.findings().iter().map(Finding::line).collect();
        expect![[r#"
            √ 1 of 4 objects are in use
            ‼ 2 objects have no status yet, VirtualService shop/late among them; one of the pilots writes it within seconds; see meshctl logs pilot
            × VirtualService shop/broken: spec.http[0].timeot: is not known; did you mean timeout?
            ‼ VirtualService shop/good: spec.http: hm
            ‼ VirtualService shop/broken: spec.http: hm"#]]
        .assert_eq(&lines.join("\n"));
        assert!(Seen::default().findings().is_empty());
    }
}
