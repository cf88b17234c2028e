//! Rules of what several kinds have.

use crate::rule::Test::{All, AnySet, Empty, More, Not, Positive, Some, TwoSet, Unlike, Wild};
use crate::rule::{Format, Rule, invalid, missing};

const HOST: &str = "is not a host name";
const HOST_HINT: &str = "write a name such as reviews.prod.svc.cluster.local";

/// `{exact|prefix|regex}`, or nothing.
pub(in crate::parse) const VALUE_MATCH: &[Rule] = &[invalid(
    "",
    TwoSet(&["exact", "prefix", "regex"]),
    "exact, prefix and regex exclude each other",
    "keep one of them",
)];

/// One of `exact`, `prefix`, `regex`, besides [`VALUE_MATCH`].
pub(in crate::parse) const STRING_MATCH: &[Rule] = &[invalid(
    "",
    Not(&AnySet(&["exact", "prefix", "regex"])),
    "is empty",
    "set one of exact, prefix, regex",
)];

pub(in crate::parse) const HOSTS: &[Rule] = &[
    invalid("hosts", Empty("hosts"), "names no host", "name at least one"),
    invalid("hosts[]", Some("hosts", &Unlike("", Format::Host)), HOST, HOST_HINT)
        .quoting()
        .costly(),
];

pub(in crate::parse) const SNI_HOSTS: &[Rule] = &[
    invalid("sniHosts", Empty("sniHosts"), "names no host", "name at least one"),
    invalid(
        "sniHosts[]",
        Some("sniHosts", &Unlike("", Format::Host)),
        HOST,
        HOST_HINT,
    )
    .quoting()
    .costly(),
];

/// Where traffic goes, in rules of any protocol.
pub(in crate::parse) const WEIGHTS: &[Rule] = &[invalid(
    "route",
    All(&[More("route", 1), Not(&Some("route", &Positive("weight")))]),
    "the weights of the destinations add up to 0",
    "give each destination a weight",
)];

/// Rules of TLS and TCP have nothing but destinations.
pub(in crate::parse) const DESTINATIONS: &[Rule] = &[missing(
    "route",
    Not(&AnySet(&["route"])),
    "name at least one destination",
)];

const WILD: &str = "the label is empty or has a wildcard";
const WILD_HINT: &str = "write labels out";

const LABELS: &[Rule] = &[invalid("labels{}", Wild("labels"), WILD, WILD_HINT).costly()];
const MATCH_LABELS: &[Rule] = &[invalid("matchLabels{}", Wild("matchLabels"), WILD, WILD_HINT).costly()];
const SELECTOR: &[Rule] = &[invalid("selector{}", Wild("selector"), WILD, WILD_HINT).costly()];
const SOURCE_LABELS: &[Rule] = &[invalid("sourceLabels{}", Wild("sourceLabels"), WILD, WILD_HINT).costly()];

/// Labels are written out, under whatever name.
pub(in crate::parse) fn labels(name: &'static str) -> &'static [Rule] {
    match name {
        "matchLabels" => MATCH_LABELS,
        "selector" => SELECTOR,
        "sourceLabels" => SOURCE_LABELS,
        _ => LABELS,
    }
}
