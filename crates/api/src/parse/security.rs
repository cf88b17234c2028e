//! Reader of PeerAuthentication.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::report::Report;
use super::rules::policy as rules;
use super::tree::Node;
use super::values;
use crate::peer_authentication::{MtlsMode, PeerAuthentication};

/// Most ports with a mode of their own.
const PORTS_MAX: usize = 1024;

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
    fields.rules(rules::PEER_AUTHENTICATION);
    fields.at_most("portLevelMtls", PORTS_MAX);
    let mut ports = BTreeMap::new();
    for (text, mode) in fields.entries("portLevelMtls", |report, _, node| Some(mtls(report, node))) {
        ports.extend(text.parse::<u16>().ok().map(|port| (port, mode)));
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
