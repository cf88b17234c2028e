//! Rules of Sidecar.

use crate::rule::Test::{All, Any, AnySet, Is, IsUpper, Not, Twice, Two};
use crate::rule::{Rule, invalid, missing};

/// Of `spec`.
pub(in crate::parse) const SPEC: &[Rule] = &[
    invalid(
        "egress[]",
        Two("egress", &Not(&AnySet(&["port"]))),
        "two listeners have no port",
        "join the two",
    ),
    invalid(
        "egress[]",
        Twice("egress", &["port.number", "bind"]),
        "two listeners have the same port",
        "join the two",
    ),
];

/// Of `egress[]`.
pub(in crate::parse) const EGRESS: &[Rule] = &[
    missing(
        "port",
        All(&[
            Not(&AnySet(&["port"])),
            Any(&[AnySet(&["bind"]), Is("captureMode", &["NONE"])]),
        ]),
        "bind and captureMode NONE need a port to bind",
    ),
    invalid(
        "port",
        IsUpper("port.protocol", &["UDP"]),
        "UDP is not carried",
        "use TCP, TLS, HTTP, HTTP2, GRPC or another protocol over TCP",
    ),
];
