//! Rules of ServiceEntry and WorkloadEntry (istio.io, "Service Entry").

use crate::rule::Test::{All, Any, AnySet, Contains, Filled, Is, More, Not, Some, Starts, Twice, Unlike};
use crate::rule::{Format, Rule, Test, invalid, missing};

const STATIC: Test = Is("resolution", &["STATIC"]);
const DNS: Test = Is("resolution", &["DNS", "DNS_ROUND_ROBIN"]);
const NONE: Test = Any(&[Not(&AnySet(&["resolution"])), Is("resolution", &["NONE"])]);
const SAME_PORT: &str = "numbers and names of ports are unique";

/// Of `spec` of a ServiceEntry.
pub(in crate::parse) const SERVICE_ENTRY: &[Rule] = &[
    missing(
        "ports",
        Not(&AnySet(&["ports"])),
        "give at least one port with number, name and protocol",
    ),
    invalid(
        "ports[]",
        Twice("ports", &["number"]),
        "two ports have the same number",
        SAME_PORT,
    ),
    invalid(
        "ports[]",
        Twice("ports", &["name"]),
        "two ports have the same name",
        SAME_PORT,
    ),
    invalid(
        "hosts[]",
        Some("hosts", &Is("", &["*"])),
        "is every host, so no service of its own",
        "name a domain, as in *.example.com",
    )
    .quoting(),
    invalid(
        "addresses[]",
        Some("addresses", &Unlike("", Format::Prefix)),
        "is neither an IP address nor a CIDR prefix",
        "names belong into hosts",
    )
    .quoting(),
    invalid(
        "addresses[]",
        All(&[DNS, Some("addresses", &Contains("", "/"))]),
        "is a CIDR prefix, which resolution DNS cannot have",
        "give single addresses, or use resolution NONE or STATIC",
    )
    .quoting(),
    invalid(
        "workloadSelector",
        All(&[Filled("workloadSelector.labels"), Filled("endpoints")]),
        "excludes endpoints",
        "keep one of them",
    ),
    invalid(
        "endpoints",
        All(&[NONE, Filled("endpoints")]),
        "have no effect with resolution NONE",
        "use resolution STATIC or DNS",
    ),
    missing(
        "endpoints",
        All(&[
            STATIC,
            Not(&Filled("endpoints")),
            Not(&Filled("workloadSelector.labels")),
        ]),
        "resolution STATIC needs endpoints or a workloadSelector",
    ),
    missing(
        "endpoints[].address",
        All(&[Not(&DNS), Some("endpoints", &Not(&Filled("address")))]),
        "give an IP address, or a name with resolution DNS",
    ),
    invalid(
        "endpoints[].address",
        All(&[
            STATIC,
            Some("endpoints", &All(&[Filled("address"), Unlike("address", Format::Ip)])),
        ]),
        "is not an IP address",
        "use resolution DNS for names",
    )
    .quoting(),
    invalid(
        "hosts",
        All(&[DNS, Some("hosts", &Starts("", "*")), Not(&Filled("endpoints"))]),
        "have a wildcard, but no endpoints",
        "DNS cannot resolve a wildcard: name endpoints",
    ),
    invalid(
        "endpoints",
        All(&[Is("resolution", &["DNS_ROUND_ROBIN"]), More("endpoints", 1)]),
        "has more than one with DNS_ROUND_ROBIN",
        "use resolution DNS",
    ),
];

/// Of `spec` of a WorkloadEntry.
pub(in crate::parse) const WORKLOAD_ENTRY: &[Rule] = &[missing(
    "address",
    Not(&Filled("address")),
    "give an IP address or a name",
)];

/// Of a WorkloadEntry and of `endpoints[]`.
pub(in crate::parse) const ENDPOINT: &[Rule] = &[invalid(
    "address",
    Starts("address", "unix:"),
    "Unix sockets are not supported",
    "use an IP address or a name",
)];
