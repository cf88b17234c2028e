//! Rules of VirtualService.

use crate::rule::Test::{All, AnySet, Is, Not, Number, Positive, Starts, TwoSet};
use crate::rule::{Rule, Test, invalid, missing};

/// Of `spec`.
pub(in crate::parse) const SPEC: &[Rule] = &[missing(
    "http",
    Not(&AnySet(&["http", "tls", "tcp"])),
    "give at least one http, tls or tcp rule",
)];

const ANSWERS: Test = AnySet(&["redirect", "directResponse"]);

/// Of `http[]`.
pub(in crate::parse) const HTTP: &[Rule] = &[
    missing(
        "route",
        Not(&AnySet(&["route", "redirect", "directResponse", "delegate"])),
        "set one of route, redirect, directResponse",
    ),
    invalid(
        "",
        TwoSet(&["route", "redirect", "directResponse"]),
        "route, redirect and directResponse exclude each other",
        "keep one of them",
    ),
    invalid("route", Test::Empty("route"), "has no destination", "name at least one"),
    alone("timeout", All(&[AnySet(&["timeout"]), ANSWERS])),
    alone("retries", All(&[AnySet(&["retries"]), ANSWERS])),
    alone("rewrite", All(&[AnySet(&["rewrite"]), ANSWERS])),
];

const fn alone(field: &'static str, refused: Test) -> Rule {
    invalid(
        field,
        refused,
        "has no effect beside redirect or directResponse",
        "remove it",
    )
}

const NO_PATH: &str = "does not start with /, so no request matches";
const NO_PATH_HINT: &str = "start the path with /";

/// Of `http[].match[].uri`.
pub(in crate::parse) const URI: &[Rule] = &[
    invalid(
        "",
        All(&[
            AnySet(&["exact"]),
            Not(&Starts("exact", "/")),
            Not(&Is("exact", &["*"])),
        ]),
        NO_PATH,
        NO_PATH_HINT,
    ),
    invalid(
        "",
        All(&[
            AnySet(&["prefix"]),
            Not(&Starts("prefix", "/")),
            Not(&Is("prefix", &["*"])),
        ]),
        NO_PATH,
        NO_PATH_HINT,
    ),
];

/// Of `http[].redirect`.
pub(in crate::parse) const REDIRECT: &[Rule] = &[
    invalid(
        "derivePort",
        TwoSet(&["port", "derivePort"]),
        "excludes port",
        "keep one of them",
    ),
    invalid(
        "prefixRewrite",
        TwoSet(&["uri", "prefixRewrite"]),
        "excludes uri",
        "keep one of them",
    ),
    invalid(
        "redirectCode",
        Number("redirectCode", &[304, 305, 306]),
        "is not supported",
        "use 301, 302, 303, 307 or 308",
    )
    .quoting(),
];

/// Of `http[].directResponse`.
pub(in crate::parse) const DIRECT_RESPONSE: &[Rule] =
    &[missing("status", Not(&AnySet(&["status"])), "give the HTTP status")];

/// Of `http[].directResponse.body`.
pub(in crate::parse) const BODY: &[Rule] = &[invalid(
    "bytes",
    TwoSet(&["string", "bytes"]),
    "excludes string",
    "keep one of them",
)];

/// Of `http[].rewrite`.
pub(in crate::parse) const REWRITE: &[Rule] = &[invalid(
    "uriRegexRewrite",
    TwoSet(&["uri", "uriRegexRewrite"]),
    "excludes uri",
    "keep one of them",
)];

/// Of `http[].rewrite.uriRegexRewrite`.
pub(in crate::parse) const REGEX_REWRITE: &[Rule] =
    &[missing("match", Not(&AnySet(&["match"])), "give a regular expression")];

/// Of `http[].retries`.
pub(in crate::parse) const RETRIES: &[Rule] = &[invalid(
    "attempts",
    All(&[
        Not(&Positive("attempts")),
        AnySet(&["perTryTimeout", "retryOn", "backoff"]),
    ]),
    "is 0 or missing, which turns retries off",
    "set attempts to at least 1",
)];

/// Of `http[].fault`.
pub(in crate::parse) const FAULT: &[Rule] = &[missing(
    "delay",
    Not(&AnySet(&["delay", "abort"])),
    "set delay, abort or both",
)];

/// Of `http[].fault.delay`.
pub(in crate::parse) const DELAY: &[Rule] = &[missing(
    "fixedDelay",
    Not(&AnySet(&["fixedDelay", "exponentialDelay"])),
    "say how long, for example 5s",
)];

/// Of `http[].fault.abort`.
pub(in crate::parse) const ABORT: &[Rule] = &[
    missing(
        "httpStatus",
        Not(&AnySet(&["httpStatus", "grpcStatus", "http2Error"])),
        "say what is answered, for example 503",
    ),
    invalid(
        "grpcStatus",
        TwoSet(&["httpStatus", "grpcStatus"]),
        "excludes httpStatus",
        "keep one of them",
    ),
];

/// Of `http[].corsPolicy`.
pub(in crate::parse) const CORS: &[Rule] = &[missing(
    "allowOrigins",
    Not(&AnySet(&["allowOrigins", "allowOrigin"])),
    "name the origins whose scripts may call",
)];
