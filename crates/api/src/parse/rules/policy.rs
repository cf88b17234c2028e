//! Rules of PeerAuthentication and RequestAuthentication.

use crate::rule::Test::{All, Filled, NoPort, Not, TwoSet};
use crate::rule::{Rule, invalid};

/// Of `spec` of a PeerAuthentication.
pub(in crate::parse) const PEER_AUTHENTICATION: &[Rule] = &[
    invalid(
        "portLevelMtls",
        All(&[Filled("portLevelMtls"), Not(&Filled("selector.matchLabels"))]),
        "needs a selector",
        "select the workloads that the ports belong to",
    ),
    invalid(
        "portLevelMtls{}",
        NoPort("portLevelMtls"),
        "the key is not a port",
        "use the workload's port, from 1 to 65535",
    ),
];

/// Of `jwtRules[]` of a RequestAuthentication.
pub(in crate::parse) const JWT_RULE: &[Rule] = &[invalid(
    "jwks",
    TwoSet(&["jwks", "jwksUri"]),
    "excludes jwksUri",
    "keep one of them",
)];
