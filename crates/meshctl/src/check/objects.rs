//! Users' objects: those that the control plane cannot use, as their statuses say.

use kube::api::{Api, ListParams};
use kube::core::DynamicObject;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::install::{Finding, Mark};

const CATEGORY: &str = "objects";

/// API groups whose objects are looked at.
const GROUPS: [&str; 3] = ["networking.istio.io", "security.istio.io", "telemetry.istio.io"];

/// Objects of one answer of the server.
const PAGE: u32 = 500;

/// Most objects that are named.
const NAMED_MAX: usize = 50;

/// The condition that the control plane writes (Istio's type).
const CONDITION: &str = "Reconciled";

/// What the statuses say, over all namespaces.
#[derive(Debug, Default)]
struct Seen {
    objects: usize,
    refused: Vec<Finding>,
    /// Objects whose status speaks of an earlier generation, or that have none.
    waiting: Vec<String>,
}

/// Looks at the status of every object of Istio's kinds. None of them is no finding.
pub(super) async fn objects(client: &Client) -> anyhow::Result<Vec<Finding>> {
    let groups = Discovery::new(client.clone()).filter(&GROUPS).run().await?;
    let mut seen = Seen::default();
    for group in groups.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.scope != Scope::Namespaced || !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = api.list(&page).await?;
                list.items.iter().for_each(|object| seen.look(&resource.kind, object));
                match list.metadata.continue_ {
                    Some(token) if !token.is_empty() => page = page.continue_token(&token),
                    _ => break,
                }
            }
        }
    }
    Ok(seen.findings())
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
                if ours["status"] == "False" {
                    let reason = ours["message"].as_str().unwrap_or("its status does not say why");
                    let hint = hint(&object.data["status"]);
                    self.refused
                        .push(Finding::new(CATEGORY, Mark::Bad, format!("{name}: {reason}"), hint));
                }
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
        let more = self.refused.len().saturating_sub(NAMED_MAX);
        findings.extend(self.refused.into_iter().take(NAMED_MAX));
        if more > 0 {
            let hint = "kubectl get with -o yaml shows the status of each";
            findings.push(Finding::new(CATEGORY, Mark::Bad, format!("and {more} more"), hint));
        }
        findings
    }
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
            × VirtualService shop/broken: spec.http[0].timeot: is not known; did you mean timeout?"#]]
        .assert_eq(&lines.join("\n"));
        assert!(Seen::default().findings().is_empty());
    }
}
