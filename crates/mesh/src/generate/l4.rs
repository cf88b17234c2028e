//! Where connections go by the `tcp` and `tls` rules of VirtualServices.

use weft_api::meta::selects;
use weft_api::virtual_service::{L4Destination, L4Match};

use super::route::{Scope, destination_cluster};
use crate::snapshot::MeshVirtualService;

/// Clusters with their weights; none of them has the weight 0.
pub(super) type Split = Vec<(String, u32)>;

/// The destinations of the first `tcp` rule that takes connections in this scope.
pub(super) fn tcp_split(scope: Scope<'_>, rules: &MeshVirtualService) -> Option<Split> {
    let fits = |matches: &[L4Match]| matches.is_empty() || matches.iter().any(|one| applies(scope, rules, one));
    let rule = rules.object.spec.tcp.iter().find(|rule| fits(&rule.matches))?;
    let split = split(scope, rules, &rule.route);
    (!split.is_empty()).then_some(split)
}

/// Server names and the destinations of every `tls` rule that takes connections in this scope.
pub(super) fn tls_splits(scope: Scope<'_>, rules: &MeshVirtualService) -> Vec<(Vec<String>, Split)> {
    let mut found = Vec::new();
    for rule in &rules.object.spec.tls {
        let matches = rule.matches.iter().filter(|one| applies(scope, rules, &one.l4));
        let names: Vec<String> = matches.flat_map(|one| one.sni_hosts.iter().cloned()).collect();
        let split = split(scope, rules, &rule.route);
        if !names.is_empty() && !split.is_empty() {
            found.push((names, split));
        }
    }
    found
}

/// Whether a match can hold at all for this proxy and port.
fn applies(scope: Scope<'_>, rules: &MeshVirtualService, matched: &L4Match) -> bool {
    let workload = &scope.view.workload;
    !matched.never
        && matched.port.is_none_or(|port| port == scope.port)
        && rules.match_applies(&matched.gateways, scope.gateway)
        && selects(&matched.source_labels, &workload.labels)
        && matched
            .source_namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == *workload.key.namespace)
}

fn split(scope: Scope<'_>, rules: &MeshVirtualService, route: &[L4Destination]) -> Split {
    let weighted = route.iter().filter(|entry| entry.weight > 0);
    weighted
        .map(|entry| (destination_cluster(scope, rules, &entry.destination), entry.weight))
        .collect()
}
