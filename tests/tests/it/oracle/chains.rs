//! Chains of filters made up by a fixed seed: random filters in a random order, some of them disabled, told things by random levels of the
//! routes. Nobody says what comes of them but Envoy.

use serde_json::{Map, Value, json};

use super::row::{Request, Row};
use crate::support::script::Answer;

const CHAINS: u64 = 30;

/// Where the numbers begin.
const SEED: u64 = 0x5eed_0014;

/// What every request is logged with.
const LOG: &str = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                   %DYNAMIC_METADATA(chain:names)% %FILTER_STATE(last:PLAIN)%";

/// Kinds of filters; what they do is seen in answers, upstream or in the log.
const KINDS: [&str; 14] = [
    "buffer",
    "compressor",
    "cors",
    "csrf",
    "decompressor",
    "ext_authz",
    "fault",
    "grpc_web",
    "header_mutation",
    "health_check",
    "local_ratelimit",
    "rbac",
    "set_filter_state",
    "set_metadata",
];

/// Numbers that follow from a seed (xorshift, Marsaglia 2003).
struct Numbers(u64);

/// A filter of a chain.
struct Listed {
    kind: &'static str,
    name: String,
}

pub(crate) fn rows() -> Vec<Row> {
    (0..CHAINS).map(row).collect()
}

fn row(index: u64) -> Row {
    let mut numbers = Numbers(SEED.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let count = 3 + numbers.below(7);
    let mut filters: Vec<Listed> = (0..count)
        .map(|at| {
            let kind = KINDS[numbers.below(KINDS.len())];
            let name = format!("{at}-{kind}");
            Listed { kind, name }
        })
        .collect();
    // Of requests alone the limit of `buffer` is one; Envoy's bounds what `grpc_web` keeps of answers, too.
    if filters.iter().any(|filter| filter.kind == "grpc_web") {
        filters.retain(|filter| filter.kind != "buffer");
    }
    let mut list: Vec<Value> = filters
        .iter()
        .map(|filter| {
            json!({
                "name": filter.name,
                "disabled": numbers.below(5) == 0,
                "is_optional": numbers.below(5) == 0,
                "typed_config": config(filter.kind, &filter.name),
            })
        })
        .collect();
    list.push(json!({
        "name": "router",
        "typed_config": {"@type": type_url("router.v3.Router")},
    }));
    let routes = ["/one", "/two", "/weighted", "/"].map(|prefix| {
        let mut route = json!({"match": {"prefix": prefix}, "route": {"cluster": "a"}});
        if prefix == "/weighted" {
            let mut cluster = json!({"name": "a", "weight": 1});
            cluster["typed_per_filter_config"] = overrides(&filters, "cluster", &mut numbers);
            route["route"] = json!({"weighted_clusters": {"clusters": [cluster]}});
        }
        route["typed_per_filter_config"] = overrides(&filters, prefix, &mut numbers);
        route
    });
    Row {
        name: format!("chain {index}: {}", names(&filters)),
        hcm: object(json!({"http_filters": list})),
        routes: routes.to_vec(),
        virtual_host: object(json!({"typed_per_filter_config": overrides(&filters, "host", &mut numbers)})),
        route_config: object(json!({"typed_per_filter_config": overrides(&filters, "config", &mut numbers)})),
        backends: [("a".to_owned(), vec![answer()])].into(),
        requests: requests(),
        log: Some(LOG.to_owned()),
        generated: true,
        ..Row::default()
    }
}

fn names(filters: &[Listed]) -> String {
    let names: Vec<&str> = filters.iter().map(|filter| filter.name.as_str()).collect();
    names.join(", ")
}

fn answer() -> Answer {
    Answer {
        headers: vec!["content-type: text/plain".to_owned()],
        body: Some("0123456789".repeat(4)),
        ..Answer::default()
    }
}

fn requests() -> Vec<Request> {
    let request = |method: &str, get: &str, headers: &[&str], body: &str| Request {
        method: method.to_owned(),
        get: get.to_owned(),
        headers: headers.iter().map(|line| (*line).to_owned()).collect(),
        body: body.to_owned(),
        ..Request::default()
    };
    let preflight = ["origin: https://a.example", "access-control-request-method: PUT"];
    let zipped = [
        "origin: http://example.com",
        "content-encoding: gzip",
        "content-type: text/plain",
    ];
    vec![
        request("GET", "/one", &["accept-encoding: gzip"], ""),
        request("GET", "/two?q=1", &["origin: https://a.example"], ""),
        request("OPTIONS", "/one", &preflight, ""),
        request("OPTIONS", "/weighted", &preflight, ""),
        request("POST", "/two", &["origin: https://evil.example"], "short"),
        request("POST", "/weighted", &["origin: http://example.com"], "short"),
        Request {
            chunked: true,
            ..request("POST", "/one", &["origin: http://example.com"], "longer than ten bytes")
        },
        request("GET", "/healthz", &[], ""),
        Request {
            encoded: true,
            ..request("POST", "/", &zipped, "hello")
        },
        Request {
            http2: true,
            ..request(
                "POST",
                "/two",
                &["content-type: application/grpc-web", "origin: http://example.com"],
                "x",
            )
        },
        request("GET", "/", &["accept-encoding: gzip"], ""),
    ]
}

/// What a level says about the filters.
fn overrides(filters: &[Listed], level: &str, numbers: &mut Numbers) -> Value {
    let mut said = Map::new();
    for filter in filters {
        let value = match numbers.below(8) {
            0 => json!({"@type": FILTER_CONFIG, "disabled": true}),
            1 => json!({"@type": FILTER_CONFIG, "config": {}}),
            2 | 3 => match route_config(filter.kind, level) {
                Some(config) => config,
                None => continue,
            },
            4 => match route_config(filter.kind, level) {
                Some(config) => json!({"@type": FILTER_CONFIG, "config": config}),
                None => continue,
            },
            _ => continue,
        };
        said.insert(filter.name.clone(), value);
    }
    Value::Object(said)
}

const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.filters.http.{name}")
}

fn always() -> Value {
    json!({"default_value": {"numerator": 100}})
}

/// What the list tells a filter; those that add something add their name.
fn config(kind: &str, name: &str) -> Value {
    match kind {
        "buffer" => json!({"@type": type_url("buffer.v3.Buffer"), "max_request_bytes": 10}),
        "compressor" => json!({
            "@type": type_url("compressor.v3.Compressor"),
            "compressor_library": {"name": "gz", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip",
            }},
            "request_direction_config": {"common_config": {"min_content_length": 1}},
            "response_direction_config": {"common_config": {"min_content_length": 1}},
        }),
        "cors" => json!({"@type": type_url("cors.v3.Cors")}),
        "csrf" => json!({"@type": type_url("csrf.v3.CsrfPolicy"), "filter_enabled": always()}),
        "decompressor" => json!({
            "@type": type_url("decompressor.v3.Decompressor"),
            "decompressor_library": {"name": "gz", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip",
            }},
        }),
        "ext_authz" => json!({
            "@type": type_url("ext_authz.v3.ExtAuthz"),
            "http_service": {
                "server_uri": {"uri": "http://b", "cluster": "b", "timeout": "5s"},
                "authorization_request": {"headers_to_add": [{"key": "x-chain", "value": name}]},
            },
            "allowed_headers": {"patterns": [{"prefix": "x-"}]},
            "disallowed_headers": {"patterns": [{"exact": "x-request-id"}]},
        }),
        "fault" => json!({"@type": type_url("fault.v3.HTTPFault")}),
        "grpc_web" => json!({"@type": type_url("grpc_web.v3.GrpcWeb")}),
        "header_mutation" => json!({
            "@type": type_url("header_mutation.v3.HeaderMutation"),
            "mutations": mutations(name),
        }),
        "health_check" => json!({
            "@type": type_url("health_check.v3.HealthCheck"),
            "pass_through_mode": false,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}],
        }),
        "local_ratelimit" => limit(name, 4),
        "rbac" => json!({"@type": type_url("rbac.v3.RBAC"), "rules": {"action": "DENY", "policies": {name: {
            "permissions": [{"header": {"name": "x-chain", "string_match": {"suffix": "cors"}}}],
            "principals": [{"any": true}],
        }}}}),
        "set_filter_state" => state(name),
        _ => metadata(name),
    }
}

/// What a level of the routes tells a filter of a kind, where it can.
fn route_config(kind: &str, level: &str) -> Option<Value> {
    Some(match kind {
        "buffer" => json!({"@type": type_url("buffer.v3.BufferPerRoute"), "buffer": {"max_request_bytes": 100}}),
        "compressor" => json!({"@type": type_url("compressor.v3.CompressorPerRoute"), "disabled": true}),
        "cors" => json!({
            "@type": type_url("cors.v3.CorsPolicy"),
            "allow_origin_string_match": [{"exact": "https://a.example"}],
            "allow_methods": level,
        }),
        "csrf" => json!({
            "@type": type_url("csrf.v3.CsrfPolicy"),
            "filter_enabled": always(),
            "additional_origins": [{"exact": "evil.example"}],
        }),
        "ext_authz" => json!({"@type": type_url("ext_authz.v3.ExtAuthzPerRoute"), "disabled": true}),
        // Elsewhere it would hide what other filters do.
        "fault" if matches!(level, "/two" | "cluster") => json!({
            "@type": type_url("fault.v3.HTTPFault"),
            "abort": {"http_status": 418, "percentage": {"numerator": 100}},
        }),
        "header_mutation" => json!({
            "@type": type_url("header_mutation.v3.HeaderMutationPerRoute"),
            "mutations": mutations(level),
        }),
        "local_ratelimit" => limit(level, 1),
        "rbac" if level != "cluster" => json!({"@type": type_url("rbac.v3.RBACPerRoute")}),
        "set_filter_state" => state(level),
        "set_metadata" => metadata(level),
        _ => return None,
    })
}

fn mutations(name: &str) -> Value {
    let append = json!([{"append": {"header": {"key": "x-chain", "value": name}}}]);
    json!({"request_mutations": append, "response_mutations": append})
}

fn limit(name: &str, tokens: u32) -> Value {
    json!({
        "@type": type_url("local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": name.replace('/', "_"),
        "token_bucket": {"max_tokens": tokens, "fill_interval": "3600s"},
        "filter_enabled": always(),
        "filter_enforced": always(),
    })
}

fn state(name: &str) -> Value {
    json!({
        "@type": type_url("set_filter_state.v3.Config"),
        "on_request_headers": [{
            "object_key": "last",
            "factory_key": "envoy.string",
            "format_string": {"text_format_source": {"inline_string": name}},
        }],
    })
}

fn metadata(name: &str) -> Value {
    json!({
        "@type": type_url("set_metadata.v3.Config"),
        "metadata": [{"metadata_namespace": "chain", "allow_overwrite": true, "value": {"names": [name]}}],
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

// === impl Numbers ===

impl Numbers {
    /// A number below a bound.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}
