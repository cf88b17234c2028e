//! A snapshot built from the one before equals one built from scratch, and shares what did not change.

use std::sync::Arc;

use proptest::prelude::*;
use weft_api::parse::parse;
use weft_api::resource::Resource;
use weft_mesh::snapshot::{Change, Inputs, MeshSettings, MeshSnapshot, build};

use super::{service, workload};

/// One step: an object (variant `variant` of slot `slot`) is set or removed.
#[derive(Clone, Debug)]
struct Step {
    slot: usize,
    variant: usize,
    remove: bool,
}

/// The objects that a slot can hold.
fn variants(slot: usize) -> Vec<Resource> {
    let rule = |name: &str, host: &str, subset: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{host}]\n  http: [{{route: [{{destination: {{host: callme, subset: {subset}}}}}]}}]\n"
        )
    };
    let policy = |name: &str, subset: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
             spec: {{host: callme, subsets: [{{name: {subset}, labels: {{version: {subset}}}}}]}}\n"
        )
    };
    let strict = |mode: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
        )
    };
    let texts = match slot {
        0 => vec![
            service("callme", "default"),
            service("callme", "default").replace("80", "81"),
        ],
        1 => vec![
            workload("callme", "v1", "default", 41000, true),
            workload("callme", "v1", "default", 41000, false),
            workload("callme", "v1", "default", 42000, true),
        ],
        2 => vec![
            workload("callme", "v2", "default", 41010, true),
            workload("callme", "v2", "default", 41010, false),
        ],
        3 => vec![rule("a", "callme", "v1"), rule("a", "other", "v1")],
        4 => vec![rule("b", "callme", "v2"), rule("b", "callme", "v3")],
        5 => vec![policy("a", "v1"), policy("a", "v2")],
        6 => vec![policy("b", "v1"), policy("b", "v2")],
        7 => vec![strict("STRICT"), strict("DISABLE")],
        _ => vec![
            service("other", "default"),
            service("other", "default").replace("http", "tcp"),
        ],
    };
    texts
        .iter()
        .flat_map(|text| parse(&format!("slot{slot}.yaml"), text).resources)
        .collect()
}

const SLOTS: usize = 9;

fn assert_equal(incremental: &MeshSnapshot, scratch: &MeshSnapshot) {
    assert_eq!(incremental.services, scratch.services);
    assert_eq!(incremental.workloads, scratch.workloads);
    assert_eq!(incremental.backends, scratch.backends);
    assert_eq!(incremental.endpoints, scratch.endpoints);
    assert_eq!(incremental.inbound, scratch.inbound);
    assert_eq!(incremental.virtual_services, scratch.virtual_services);
    assert_eq!(incremental.destination_rules, scratch.destination_rules);
    assert_eq!(incremental.peer_authentications, scratch.peer_authentications);
    assert_eq!(incremental.gateways, scratch.gateways);
    assert_eq!(incremental.secrets, scratch.secrets);
    assert_eq!(incremental.sidecars, scratch.sidecars);
    assert_eq!(incremental.diagnostics, scratch.diagnostics);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn incremental_equals_from_scratch(
        steps in proptest::collection::vec(
            (0..SLOTS, 0..3_usize, proptest::bool::weighted(0.2))
                .prop_map(|(slot, variant, remove)| Step { slot, variant, remove }),
            1..30,
        )
    ) {
        let objects: Vec<Vec<Resource>> = (0..SLOTS).map(variants).collect();
        let settings = Arc::new(MeshSettings::default());
        let mut inputs = Inputs::default();
        let mut last: Option<MeshSnapshot> = None;
        for (generation, step) in (1..).zip(steps) {
            let slot = &objects[step.slot];
            let object = &slot[step.variant % slot.len()];
            if step.remove {
                inputs.remove(&object.key());
            } else {
                inputs.apply(object);
            }
            let next = build(inputs.clone(), &settings, generation, last.as_ref());
            assert_equal(&next, &build(inputs.clone(), &settings, generation, None));
            if let Some(last) = &last {
                let same = last.services == next.services
                    && last.workloads == next.workloads
                    && last.backends == next.backends
                    && last.virtual_services == next.virtual_services
                    && last.destination_rules == next.destination_rules
                    && last.peer_authentications == next.peer_authentications;
                let expected = match (same, last.endpoints == next.endpoints) {
                    (false, _) => Change::Config,
                    (true, false) => Change::Endpoints,
                    (true, true) => Change::Nothing,
                };
                prop_assert_eq!(next.change, expected);
            }
            last = Some(next);
        }
    }
}

#[test]
fn a_workload_that_becomes_ready_changes_endpoints_only() {
    let settings = Arc::new(MeshSettings::default());
    let mut inputs = Inputs::default();
    for resource in parse("a.yaml", &service("callme", "default")).resources {
        inputs.apply(&resource);
    }
    for resource in parse("b.yaml", &workload("callme", "v1", "default", 41000, false)).resources {
        inputs.apply(&resource);
    }
    let before = build(inputs.clone(), &settings, 1, None);
    for resource in parse("b.yaml", &workload("callme", "v1", "default", 41000, true)).resources {
        inputs.apply(&resource);
    }
    let after = build(inputs, &settings, 2, Some(&before));
    assert_eq!(after.change, Change::Endpoints);
    assert!(Arc::ptr_eq(&before.services, &after.services));
    assert!(Arc::ptr_eq(&before.workloads, &after.workloads));
    assert!(Arc::ptr_eq(&before.backends, &after.backends));
    assert!(Arc::ptr_eq(&before.diagnostics, &after.diagnostics));
    assert_eq!(
        after
            .endpoints
            .iter()
            .map(|(_, found)| found.port(80).len())
            .sum::<usize>(),
        1
    );
}
