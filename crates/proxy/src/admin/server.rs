//! Pages on the process itself: what it is, how long it runs, what it holds, which pages there are.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse};
use serde_json::{Value, json};

use super::Admin;

/// Version as Envoy shapes it: revision, version, state of the source tree, build, TLS library; what is unknown is left out.
pub(super) const VERSION: &str = concat!("weft-proxy/", env!("CARGO_PKG_VERSION"));

/// Paths with what they do; the first of a line says whether it needs POST.
const PAGES: &[(bool, &str, &str)] = &[
    (false, "/certs", "certificates in use"),
    (false, "/clusters", "clusters and their endpoints (?format=json)"),
    (false, "/config_dump", "configuration in use (?include_eds)"),
    (true, "/drain_listeners", "stop listening (?inboundonly, ?graceful)"),
    (true, "/healthcheck/fail", "say that the proxy is not ready"),
    (true, "/healthcheck/ok", "take that back"),
    (false, "/help", "this list"),
    (false, "/listeners", "listeners and their addresses (?format=json)"),
    (
        true,
        "/logging",
        "log level; change it with ?level=LEVEL or ?paths=MODULE:LEVEL,...; ?listener=NAME&level=debug or \
         ?header=NAME:VALUE&level=debug says what becomes of these requests, level=off ends that",
    ),
    (false, "/memory", "memory of the process"),
    (true, "/quitquitquit", "drain and end"),
    (false, "/ready", "200 while the proxy takes traffic"),
    (false, "/server_info", "version, state, uptime, node"),
    (
        false,
        "/stats",
        "statistics (?format=json|prometheus, ?filter=REGEX, ?usedonly)",
    ),
    (
        false,
        "/stats/prometheus",
        "statistics and Istio's metrics for Prometheus",
    ),
];

/// `/server_info` (`envoy.admin.v3.ServerInfo`).
pub(super) async fn info(State(admin): State<Admin>) -> Json<Value> {
    let uptime = format!("{}s", admin.started.elapsed().as_secs());
    let node = &admin.node;
    let workers = admin.proxy().map(|proxy| proxy.workers());
    Json(json!({
        "version": VERSION,
        "state": admin.state().0.name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {"concurrency": workers, "log_level": admin.log.level()},
        "node": {
            "id": *node.id,
            "cluster": *node.cluster,
            "metadata": node.metadata,
            "locality": {
                "region": *node.locality.region, "zone": *node.locality.zone, "sub_zone": *node.locality.sub_zone,
            },
        },
    }))
}

/// `/memory` (`envoy.admin.v3.Memory`), as far as the system tells: bytes, as text.
pub(super) async fn memory() -> Json<Value> {
    let resident = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| resident_bytes(&status));
    Json(json!({"total_physical_bytes": resident.map(|bytes| bytes.to_string())}))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// `/help`.
pub(super) async fn help() -> String {
    let mut text = String::from("admin commands are:\n");
    for (post, path, what) in PAGES {
        let _ = writeln!(text, "  {path}{}: {what}", if *post { " (POST)" } else { "" });
    }
    text
}

/// `/`: the same with links.
pub(super) async fn index() -> impl IntoResponse {
    let mut page = format!("<!doctype html><title>{VERSION}</title><h1>{VERSION}</h1><table>");
    for (post, path, what) in PAGES {
        let cell = if *post {
            format!("<form method=post action=\"{path}\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        let _ = write!(page, "<tr><td>{cell}<td>{what}");
    }
    Html(page + "</table>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        let status = "Name:\tweft-proxy\nVmHWM:\t   20000 kB\nVmRSS:\t   13312 kB\n";
        assert_eq!(resident_bytes(status), Some(13312 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
