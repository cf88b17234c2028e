//! Objects of kinds that the mesh does not carry out: they change nothing, and no status of theirs says so.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::ApiResource;
use kube::core::DynamicObject;
use serde_json::json;
use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::kind::{Admission, Group};
use weft_api::parse::parse_json;
use weft_mesh::snapshot::{Inputs, MeshSettings, build};

use super::NAMED_MAX;
use crate::install::{Finding, Mark};

const CATEGORY: &str = "objects";

/// Objects as pilot reads them, and those of kinds that it does not read.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    inputs: Inputs,
    unread: Vec<Finding>,
}

// === impl Unserved ===

impl Unserved {
    pub(super) fn take(&mut self, resource: &ApiResource, object: &DynamicObject) {
        let group = Group::named(&resource.group);
        // Other controllers of the cluster may carry these out.
        let is_shared = group.is_some_and(|group| group.admission() == Admission::Warned);
        // The kinds that are read are understood as in v1, whatever version the server prefers.
        let v1 = format!("{}/v1", resource.group);
        let document = json!({
            "apiVersion": if is_shared { &v1 } else { &resource.api_version }, "kind": resource.kind,
            "metadata": {"name": object.name_any(), "namespace": object.namespace().unwrap_or_default()},
            "spec": object.data["spec"],
        });
        let parsed = parse_json(&document);
        for read in &parsed.resources {
            self.inputs.apply(read);
        }
        // Whether others carry them out is known only of the kinds that are read.
        let mark = if is_shared { Mark::Doubtful } else { Mark::Bad };
        let unread = parsed
            .diagnostics
            .iter()
            .filter(|found| *found.code == *code::UNHANDLED_KIND);
        let unread = unread.filter(|found| found.severity > Severity::Info);
        self.unread.extend(unread.map(|found| finding(found, mark)));
    }

    /// The rule is pilot's: of the Gateway API only what no other controller of the cluster carries out.
    pub(super) fn findings(self) -> Vec<Finding> {
        let snapshot = build(self.inputs, &Arc::new(MeshSettings::default()), 1, None);
        let read = snapshot
            .diagnostics
            .iter()
            .filter(|found| *found.code == *code::UNHANDLED_KIND);
        let mut findings: Vec<Finding> = read.map(|found| finding(found, Mark::Bad)).chain(self.unread).collect();
        let more = findings.len().saturating_sub(NAMED_MAX);
        findings.truncate(NAMED_MAX);
        if more > 0 {
            let hint = "mend those above, and check again";
            findings.push(Finding::new(
                CATEGORY,
                Mark::Bad,
                format!("and {more} more without effect"),
                hint,
            ));
        }
        findings
    }
}

fn finding(found: &Diagnostic, mark: Mark) -> Finding {
    Finding::new(
        CATEGORY,
        mark,
        format!("{}: {}", found.object, found.message),
        &found.hint,
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn take(unserved: &mut Unserved, version: &str, kind: &str, name: &str, spec: Value) {
        let (group, of_group) = version.split_once('/').unwrap();
        let resource = ApiResource {
            group: group.to_owned(),
            version: of_group.to_owned(),
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
        };
        let object = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        unserved.take(&resource, &serde_json::from_value(object).unwrap());
    }

    #[test]
    fn what_nobody_carries_out_is_named() {
        let mut unserved = Unserved::default();
        let api = |version: &str| format!("gateway.networking.k8s.io/{version}");
        let gateway = |class: &str| json!({"gatewayClassName": class, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]});
        take(&mut unserved, &api("v1"), "Gateway", "ours", gateway("istio"));
        take(&mut unserved, &api("v1"), "Gateway", "theirs", gateway("others"));
        let route = |parent: &str| json!({"parentRefs": [{"name": parent}]});
        take(&mut unserved, &api("v1"), "HTTPRoute", "a", route("ours"));
        take(&mut unserved, &api("v1"), "HTTPRoute", "b", route("theirs"));
        take(&mut unserved, &api("v1alpha2"), "TCPRoute", "c", route("ours"));
        take(&mut unserved, &api("v1alpha2"), "UDPRoute", "d", route("ours"));
        take(
            &mut unserved,
            &api("v1"),
            "GatewayClass",
            "others",
            json!({"controllerName": "example.com/others"}),
        );
        take(
            &mut unserved,
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "e",
            json!({}),
        );
        take(
            &mut unserved,
            "extensions.istio.io/v1alpha1",
            "WasmPlugin",
            "f",
            json!({}),
        );
        let lines: Vec<String> = unserved.findings().iter().map(Finding::line).collect();
        expect![[r#"
            × Gateway.gateway.networking.k8s.io/shop/ours: is not carried out by this mesh yet and has no effect; use a Gateway of networking.istio.io
            × HTTPRoute/shop/a: is not carried out by this mesh yet and has no effect; use a VirtualService
            × TCPRoute/shop/c: is not carried out by this mesh yet and has no effect; use a VirtualService
            ‼ UDPRoute/shop/d: UDPRoute is not carried out by this mesh yet and is passed over
            × EnvoyFilter/shop/e: EnvoyFilter is not carried out by this mesh yet and is passed over
            × WasmPlugin/shop/f: WasmPlugin is not carried out by this mesh yet and is passed over"#]].assert_eq(&lines.join("\n"));
        assert_eq!(Unserved::default().findings(), []);
    }
}
