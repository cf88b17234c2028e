//! Reader of PeerAuthentication.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use super::values;
use crate::peer_authentication::{MtlsMode, PeerAuthentication};

/// A PeerAuthentication without `spec`: inherits everything.
pub(super) fn empty() -> PeerAuthentication {
    PeerAuthentication {
        selector: None,
        mode: None,
        ports: BTreeMap::new(),
    }
}

/// Reads `spec`.
pub(super) fn peer_authentication(fields: &mut Fields<'_, '_>) -> PeerAuthentication {
    let selector = values::selector(fields, "selector", "matchLabels");
    let mode = fields.with("mtls", mtls).flatten();
    let mut ports = BTreeMap::new();
    for (text, (at, mode)) in fields.entries("portLevelMtls", |report, _, node| Some((node.at, mtls(report, node)))) {
        match text.parse::<u16>() {
            Ok(port) if port > 0 => {
                ports.insert(port, mode);
            }
            _ => fields.report().field("portLevelMtls", |report| {
                report.invalid(
                    at,
                    format!("{text:?} is not a port"),
                    "use the workload's port, from 1 to 65535",
                );
            }),
        }
    }
    if !ports.is_empty() && selector.is_none() {
        fields.invalid(
            "portLevelMtls",
            "needs a selector",
            "select the workloads that the ports belong to",
        );
    }
    PeerAuthentication { selector, mode, ports }
}

fn mtls(report: &mut Report, node: &Node) -> Option<MtlsMode> {
    report
        .map(node, |f| {
            f.choice(
                "mode",
                &[
                    ("UNSET", None),
                    ("DISABLE", Some(MtlsMode::Disable)),
                    ("PERMISSIVE", Some(MtlsMode::Permissive)),
                    ("STRICT", Some(MtlsMode::Strict)),
                ],
            )
            .flatten()
        })
        .flatten()
}
