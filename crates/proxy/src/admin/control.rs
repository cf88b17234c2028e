//! Paths that change something: log level, health, listeners, the end.

use std::sync::atomic::Ordering;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{Admin, stopping};

/// Envoy's levels with ours.
const LEVELS: [(&str, &str); 8] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// `/logging`: tells the level, `?level=LEVEL` changes it, `?paths=MODULE:LEVEL,...` or `?MODULE=LEVEL` that of modules.
pub(super) async fn logging(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    if !query.is_empty() {
        let changed = filter(&query, &admin.log.level());
        let changed = changed.and_then(|filter| admin.log.change(&filter).map_err(|error| error.to_string()));
        if let Err(reason) = changed {
            return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response();
        }
    }
    format!("active loggers:\n  {}\n", admin.log.level()).into_response()
}

/// The filter, in `RUST_LOG` syntax, that a query asks for; `current` is what there is.
fn filter(query: &str, current: &str) -> Result<String, String> {
    let level = |name: &str| {
        let found = LEVELS.iter().find(|(envoys, _)| *envoys == name);
        found.map(|(_, ours)| *ours).ok_or_else(|| {
            let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
            format!("unknown level {name:?}, expected one of {}", names.join(", "))
        })
    };
    let mut parts: Vec<String> = current.split(',').map(str::to_owned).collect();
    let mut set = |module: &str, level: &str| {
        let prefix = format!("{module}=");
        parts.retain(|part| !part.starts_with(&prefix));
        parts.push(format!("{prefix}{level}"));
    };
    for word in query.split('&') {
        match word
            .split_once('=')
            .ok_or_else(|| format!("{word:?} is not of the form name=level"))?
        {
            ("level", name) => return level(name).map(str::to_owned),
            ("paths", list) => {
                for pair in list.split(',') {
                    let wrong = || format!("{pair:?} is not of the form module:level");
                    let (module, name) = pair.rsplit_once(':').ok_or_else(wrong)?;
                    set(module, level(name)?);
                }
            }
            (module, name) => set(module, level(name)?),
        }
    }
    Ok(parts.join(","))
}

/// `/healthcheck/fail`: the proxy says that it is not ready, and goes on serving.
pub(super) async fn fail_health(State(admin): State<Admin>) -> &'static str {
    admin.health_failed.store(true, Ordering::Relaxed);
    "OK\n"
}

/// `/healthcheck/ok`: the proxy says again what it is.
pub(super) async fn pass_health(State(admin): State<Admin>) -> &'static str {
    admin.health_failed.store(false, Ordering::Relaxed);
    "OK\n"
}

/// `/drain_listeners`: stops listening; with `?graceful` clients are sent away first, for the drain time; `?inboundonly` leaves the others.
pub(super) async fn drain_listeners(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let Some(proxy) = admin.proxy() else {
        return stopping();
    };
    let (mut inbound_only, mut graceful) = (false, false);
    for word in query
        .iter()
        .flat_map(|query| query.split('&'))
        .filter(|word| !word.is_empty())
    {
        match word.split('=').next().unwrap_or_default() {
            "inboundonly" => inbound_only = true,
            "graceful" => graceful = true,
            other => {
                let reason = format!("{other:?} is not supported: inboundonly and graceful are\n");
                return (StatusCode::BAD_REQUEST, reason).into_response();
            }
        }
    }
    proxy.drain_listeners(inbound_only, graceful);
    "OK\n".into_response()
}

/// `/quitquitquit`: ends the process in order.
pub(super) async fn quit(State(admin): State<Admin>) -> &'static str {
    admin.quit();
    "OK\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_envoys() {
        for (query, expected) in [
            ("level=debug", Ok("debug")),
            ("level=warning", Ok("warn")),
            (
                "paths=weft_proxy::xds:trace,h2:off",
                Ok("info,a=warn,weft_proxy::xds=trace,h2=off"),
            ),
            ("a=critical", Ok("info,a=error")),
            ("level=loud", Err("unknown level \"loud\"")),
            ("paths=a", Err("\"a\" is not of the form module:level")),
            ("level", Err("\"level\" is not of the form name=level")),
        ] {
            match (filter(query, "info,a=warn"), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{query}"),
                (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}"),
                (got, _) => panic!("{query}: {got:?}"),
            }
        }
    }
}
