//! Rules of DestinationRule.

use crate::rule::Test::{All, Any, AnySet, Filled, Is, Not, Some, True, Twice, Unlike};
use crate::rule::{Format, Rule, Test, invalid, missing};

/// Of `spec`.
pub(in crate::parse) const SPEC: &[Rule] = &[
    invalid(
        "subsets[]",
        Twice("subsets", &["name"]),
        "two subsets have the same name",
        "give each subset its own name",
    ),
    invalid(
        "subsets[].name",
        Some("subsets", &All(&[Filled("name"), Unlike("name", Format::DnsLabel)])),
        "is not a subset name",
        "use lower-case letters, digits and dashes",
    )
    .quoting(),
];

/// Of `trafficPolicy`.
pub(in crate::parse) const TRAFFIC_POLICY: &[Rule] = &[invalid(
    "portLevelSettings[]",
    Twice("portLevelSettings", &["port.number"]),
    "two settings are for the same port",
    "join the two",
)
.costly()];

/// Of `portLevelSettings[]`.
pub(in crate::parse) const PORT_SETTINGS: &[Rule] = &[missing(
    "port",
    Not(&AnySet(&["port"])),
    "name the port that the settings are for",
)];

/// Of `connectionPool.http`.
pub(in crate::parse) const HTTP_POOL: &[Rule] = &[invalid(
    "useClientProtocol",
    All(&[True("useClientProtocol"), Is("h2UpgradePolicy", &["UPGRADE"])]),
    "excludes h2UpgradePolicy: UPGRADE",
    "keep one of them",
)];

const MUTUAL: Test = Is("mode", &["MUTUAL"]);
const NOT_MUTUAL: Test = Is("mode", &["DISABLE", "SIMPLE", "ISTIO_MUTUAL"]);

/// Of `tls`.
pub(in crate::parse) const TLS: &[Rule] = &[
    missing(
        "mode",
        Not(&AnySet(&["mode"])),
        "use DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL",
    ),
    needed(
        "clientCertificate",
        All(&[MUTUAL, Not(&AnySet(&["clientCertificate", "credentialName"]))]),
    ),
    needed(
        "privateKey",
        All(&[MUTUAL, Not(&AnySet(&["privateKey", "credentialName"]))]),
    ),
    unused("clientCertificate", All(&[NOT_MUTUAL, AnySet(&["clientCertificate"])])),
    unused("privateKey", All(&[NOT_MUTUAL, AnySet(&["privateKey"])])),
    unused(
        "caCertificates",
        All(&[Is("mode", &["ISTIO_MUTUAL"]), AnySet(&["caCertificates"])]),
    ),
    invalid(
        "insecureSkipVerify",
        All(&[
            True("insecureSkipVerify"),
            Any(&[AnySet(&["caCertificates"]), Filled("subjectAltNames")]),
        ]),
        "contradicts the other fields",
        "remove caCertificates and subjectAltNames, or verify",
    ),
];

const fn needed(field: &'static str, refused: Test) -> Rule {
    missing(field, refused, "MUTUAL needs a certificate and its key")
}

const fn unused(field: &'static str, refused: Test) -> Rule {
    invalid(
        field,
        refused,
        "has no effect in this mode",
        "remove it, or use mode MUTUAL",
    )
}
