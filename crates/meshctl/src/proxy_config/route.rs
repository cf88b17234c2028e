//! The table of routes: one row for each route of each virtual host.

use serde_json::Value;

use crate::output::Table;
use crate::proxy_config::dump::{list, origin, text};

/// How many domains of a virtual host are shown.
const DOMAINS: usize = 2;

/// The columns are those of Istio's tool.
pub(crate) fn table(configs: &[&Value]) -> String {
    let mut table = Table::new(&["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]);
    for config in configs {
        let name = text(config, "name").unwrap_or_default();
        for host in list(config, "virtual_hosts") {
            let vhost = text(host, "name").unwrap_or_default();
            for route in list(host, "routes") {
                table.row([
                    name.to_owned(),
                    vhost.to_owned(),
                    domains(host),
                    conditions(route),
                    virtual_service(route),
                ]);
            }
        }
    }
    table.render()
}

/// What a request must be like (config.route.v3.RouteMatch).
pub(crate) fn conditions(route: &Value) -> String {
    let Some(wanted) = route.get("match") else {
        return "/*".to_owned();
    };
    let path = if let Some(prefix) = text(wanted, "prefix") {
        format!("{prefix}*")
    } else if let Some(path) = text(wanted, "path") {
        path.to_owned()
    } else if let Some(prefix) = text(wanted, "path_separated_prefix") {
        format!("PathPrefix:{prefix}")
    } else if let Some(regex) = wanted.get("safe_regex").and_then(|regex| text(regex, "regex")) {
        format!("regex:{regex}")
    } else {
        "/*".to_owned()
    };
    let mut parts = vec![path];
    for header in list(wanted, "headers") {
        parts.push(format!("{}{}", text(header, "name").unwrap_or_default(), value(header)));
    }
    for parameter in list(wanted, "query_parameters") {
        parts.push(format!("?{}", text(parameter, "name").unwrap_or_default()));
    }
    parts.join(" ")
}

/// The value that a header matcher asks for, where it asks for one text.
fn value(header: &Value) -> String {
    let Some(wanted) = header.get("string_match") else {
        return String::new();
    };
    for (field, before, after) in [
        ("exact", "", ""),
        ("prefix", "", "*"),
        ("suffix", "*", ""),
        ("contains", "*", "*"),
    ] {
        if let Some(text) = text(wanted, field) {
            return format!("={before}{text}{after}");
        }
    }
    wanted
        .get("safe_regex")
        .and_then(|regex| text(regex, "regex"))
        .map_or_else(String::new, |regex| format!("~{regex}"))
}

/// The first domains that carry no port, and how many more there are.
fn domains(host: &Value) -> String {
    let all: Vec<&str> = list(host, "domains").filter_map(Value::as_str).collect();
    if let [only] = all[..] {
        return only.to_owned();
    }
    let bare: Vec<&str> = all.into_iter().filter(|domain| !domain.contains(':')).collect();
    let shown = bare[..bare.len().min(DOMAINS)].join(", ");
    match bare.len().saturating_sub(DOMAINS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// The object behind the route; for an answer that the proxy gives itself, its status.
fn virtual_service(route: &Value) -> String {
    if let Some(object) = origin(route, "virtual-service", "VirtualService") {
        return object;
    }
    let status = route
        .get("direct_response")
        .and_then(|answer| answer.get("status")?.as_u64());
    status.map(|status| status.to_string()).unwrap_or_default()
}
