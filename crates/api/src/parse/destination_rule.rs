//! Reader of DestinationRule.

use super::fields::Fields;
use super::{check, traffic_policy, values};
use crate::destination_rule::{DestinationRule, Subset};

/// Reads `spec`.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> DestinationRule {
    let rule = DestinationRule {
        host: values::host(fields, "host", true),
        export_to: values::export_to(fields),
        workload_selector: values::selector(fields, "workloadSelector", "matchLabels"),
        traffic_policy: fields.map("trafficPolicy", traffic_policy::read),
        subsets: fields.list("subsets", |report, node| report.map(node, subset)),
    };
    for (i, subset) in rule.subsets.iter().enumerate() {
        if !subset.name.is_empty() && rule.subsets[..i].iter().any(|earlier| earlier.name == subset.name) {
            fields.report().field(&format!("subsets[{i}]"), |report| {
                let message = format!("a subset named {} exists already", subset.name);
                report.invalid(subset.at, message, "give each subset its own name");
            });
        }
    }
    rule
}

fn subset(fields: &mut Fields<'_, '_>) -> Subset {
    let name = fields.required_text("name", "routes refer to subsets by name");
    if !name.is_empty() && !check::is_dns_label(&name) {
        fields.invalid(
            "name",
            format!("{name:?} is not a subset name"),
            "use lower-case letters, digits and dashes",
        );
    }
    Subset {
        at: fields.at,
        name,
        labels: values::labels(fields, "labels"),
        traffic_policy: fields.map("trafficPolicy", traffic_policy::read),
    }
}
