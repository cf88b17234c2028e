//! Reader of `fault` and `corsPolicy` of HTTP rules.

use super::fields::Fields;
use super::rules::virtual_service as rules;
use super::trace::Question;
use super::{check, values};
use crate::matching::{Percent, StringMatch};
use crate::virtual_service::{CorsPolicy, Fault, FaultAbort};

/// Names of gRPC's status codes (<https://grpc.io/docs/guides/status-codes/>), by number.
const GRPC_STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn fault(fields: &mut Fields<'_, '_>) -> Fault {
    fields.rules(rules::FAULT);
    Fault {
        delay: fields
            .map("delay", |f| {
                f.rules(rules::DELAY);
                f.typed("exponentialDelay", Question::Text);
                f.pass_over("exponentialDelay", "no request is delayed by it; fixedDelay is");
                let time = f.positive_duration("fixedDelay");
                let share = share(f);
                time.map(|time| (time, share))
            })
            .flatten(),
        abort: fields
            .map("abort", |f| {
                f.rules(rules::ABORT);
                f.typed("http2Error", Question::Text);
                f.pass_over(
                    "http2Error",
                    "no request is aborted by it; httpStatus and grpcStatus do that",
                );
                let http = f.number("httpStatus", 200, 599);
                let http = http.and_then(|status| u16::try_from(status).ok()).map(FaultAbort::Http);
                let grpc = grpc_status(f).map(FaultAbort::Grpc);
                let share = share(f);
                http.or(grpc).map(|answer| (answer, share))
            })
            .flatten(),
    }
}

/// `percentage: {value}`, or the older whole number `percent`. None hits nothing, as in Istio, which is hardly what was meant.
fn share(fields: &mut Fields<'_, '_>) -> Percent {
    let new = fields.map("percentage", |f| values::percent(f, "value")).flatten();
    let old = fields.number("percent", 0, 100).map(|whole| Percent(f64::from(whole)));
    if fields.set_of(&["percentage", "percent"]).is_empty() {
        fields.warn(
            "percentage",
            "is not set, so no request is hit",
            "say how many, for example percentage: {value: 100}",
        );
    }
    new.or(old).unwrap_or(Percent(0.0))
}

fn grpc_status(fields: &mut Fields<'_, '_>) -> Option<u32> {
    let text = fields.text("grpcStatus")?;
    let wanted = text.to_ascii_uppercase();
    let by_name = GRPC_STATUS.iter().position(|name| *name == wanted);
    let code = by_name.or_else(|| text.parse().ok().filter(|code| *code < GRPC_STATUS.len()));
    if code.is_none() {
        let hint = match crate::suggest::nearest(&wanted, GRPC_STATUS.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "use a name such as UNAVAILABLE".to_owned(),
        };
        fields.invalid("grpcStatus", format!("{text:?} is not a gRPC status"), hint);
    }
    code.and_then(|code| u32::try_from(code).ok())
}

pub(super) fn cors(fields: &mut Fields<'_, '_>) -> CorsPolicy {
    let mut allow_origins = fields.list("allowOrigins", values::string_match);
    // The older list of exact origins; `*` stands for every one.
    allow_origins.extend(fields.texts("allowOrigin").into_iter().map(|origin| {
        if origin == "*" {
            StringMatch::Regex(".*".to_owned())
        } else {
            StringMatch::Exact(origin)
        }
    }));
    fields.rules(rules::CORS);
    let methods = tokens(fields, "allowMethods");
    let allow_headers = tokens(fields, "allowHeaders");
    let expose_headers = tokens(fields, "exposeHeaders");
    CorsPolicy {
        allow_origins,
        allow_methods: methods,
        allow_headers,
        expose_headers,
        max_age: fields.duration("maxAge"),
        allow_credentials: fields.flag("allowCredentials"),
        forward_unmatched: fields
            .choice(
                "unmatchedPreflights",
                &[("UNSPECIFIED", None), ("FORWARD", Some(true)), ("IGNORE", Some(false))],
            )
            .flatten(),
    }
}

/// Methods or header names; `*` is one too.
fn tokens(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<String> {
    fields.list(name, |report, node| {
        let text = report.text(node)?;
        if !check::is_header_name(&text) || text.starts_with(':') {
            report.invalid(
                node.at,
                format!("{text:?} is not a name"),
                "use letters, digits and dashes",
            );
            return None;
        }
        Some(text)
    })
}
