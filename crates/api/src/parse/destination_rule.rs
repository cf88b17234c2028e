//! Reader of DestinationRule.

use super::fields::Fields;
use super::rules::destination_rule as rules;
use super::{traffic_policy, values};
use crate::destination_rule::{DestinationRule, Subset};

/// Most subsets of one host.
const SUBSETS_MAX: usize = 512;
/// Longest name of a subset: it is a label of a DNS name (RFC 1123).
const NAME_LENGTH_MAX: usize = 63;

/// Reads `spec`.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> DestinationRule {
    fields.rules(rules::SPEC);
    fields.at_most("subsets", SUBSETS_MAX);
    DestinationRule {
        host: values::host(fields, "host", true),
        export_to: values::export_to(fields),
        workload_selector: values::selector(fields, "workloadSelector", "matchLabels"),
        traffic_policy: fields.map("trafficPolicy", traffic_policy::read),
        subsets: fields.list("subsets", |report, node| report.map(node, subset)),
    }
}

fn subset(fields: &mut Fields<'_, '_>) -> Subset {
    fields.at_most("name", NAME_LENGTH_MAX);
    Subset {
        at: fields.at,
        name: fields.required_text("name", "routes refer to subsets by name"),
        labels: values::labels(fields, "labels"),
        traffic_policy: fields.map("trafficPolicy", traffic_policy::read),
    }
}
