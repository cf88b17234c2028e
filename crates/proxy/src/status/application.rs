//! What the injector tells of the application: its probes and its metrics, as JSON in the variables that Istio's injector writes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::fetch::{self, Target};
use super::place::Place;
use super::probe::{Probe, Probes};
use crate::config::Mesh;

/// Largest page of an application's metrics.
const METRICS_BYTES_MAX: usize = 16 << 20;

/// The application beside the proxy.
#[derive(Debug)]
pub(crate) struct Application {
    probes: BTreeMap<String, Probe>,
    metrics: Option<Target>,
    scrapes: AtomicU64,
    failures: AtomicU64,
}

/// A variable that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}")]
pub(crate) struct ApplicationError {
    pub variable: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// `ISTIO_PROMETHEUS_ANNOTATIONS`: the annotations of the pod, so values are text.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    #[serde(default)]
    scrape: Value,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: Value,
}

// === impl Application ===

impl Application {
    /// Reads both variables.
    pub(crate) fn parse(options: &Mesh) -> Result<Self, ApplicationError> {
        let probes = options.app_probers.as_deref().unwrap_or("{}");
        let wrong = |reason: String| ApplicationError {
            variable: "ISTIO_KUBE_APP_PROBERS",
            reason,
        };
        let probes: Probes = serde_json::from_str(probes).map_err(|error| wrong(error.to_string()))?;
        let checked = probes.into_iter().map(|(path, probe)| {
            let probe = Probe::new(probe, options.ip).map_err(|reason| wrong(format!("{path}: {reason}")))?;
            is_probe_path(&path).then_some((path.clone(), probe)).ok_or_else(|| {
                wrong(format!(
                    "{path:?} is not of the form /app-health/<container>/<livez|readyz|startupz>"
                ))
            })
        });
        Ok(Self {
            probes: checked.collect::<Result<_, _>>()?,
            metrics: annotations(options.prometheus_annotations.as_deref(), options.ip)?,
            scrapes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// The probe of a path.
    pub(crate) fn probe(&self, path: &str) -> Option<&Probe> {
        self.probes.get(path)
    }

    /// The application's metrics within `limit`, and what became of asking for them; empty where it has none.
    pub(crate) async fn metrics(&self, limit: Duration) -> String {
        let Some(target) = &self.metrics else {
            return String::new();
        };
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        let mut headers = HeaderMap::new();
        // Of what it may answer only this can stand beside the proxy's own.
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
        let got = fetch::fetch(target, &Method::GET, headers, METRICS_BYTES_MAX, limit).await;
        let page = match got {
            Ok((StatusCode::OK, body)) => plain(&String::from_utf8_lossy(&body)),
            Ok((status, _)) => self.failed(&format!("it answered {status}")),
            Err(error) => self.failed(&error.to_string()),
        };
        self.own() + &page
    }

    fn failed(&self, reason: &str) -> String {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(reason, "cannot get the application's metrics");
        String::new()
    }

    /// What Istio's agent counts of its scrapes.
    fn own(&self) -> String {
        let mut out = String::new();
        let (scrapes, failures) = (
            self.scrapes.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        );
        let _ = writeln!(
            out,
            "# HELP istio_agent_scrapes_total Scrapes of the application.\n# TYPE istio_agent_scrapes_total counter\n\
             istio_agent_scrapes_total {scrapes}\n\
             # HELP istio_agent_scrape_failures_total Scrapes that failed.\n# TYPE istio_agent_scrape_failures_total counter\n\
             istio_agent_scrape_failures_total{{type=\"application\"}} {failures}"
        );
        out
    }
}

/// A page that ends with its last line: nothing may follow the end mark of OpenMetrics, and here nothing does.
fn plain(page: &str) -> String {
    let page = page.trim_end();
    let page = page.strip_suffix("# EOF").unwrap_or(page).trim_end();
    if page.is_empty() {
        String::new()
    } else {
        format!("{page}\n")
    }
}

fn annotations(text: Option<&str>, ip: IpAddr) -> Result<Option<Target>, ApplicationError> {
    let wrong = |reason: String| ApplicationError {
        variable: "ISTIO_PROMETHEUS_ANNOTATIONS",
        reason,
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let found: Annotations = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let scraped = match &found.scrape {
        Value::Bool(value) => *value,
        Value::String(text) => text == "true",
        Value::Null => false,
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(wrong("scrape must be true or false".to_owned()));
        }
    };
    if !scraped {
        return Ok(None);
    }
    // Istio's default of the port.
    let port = match &found.port {
        Value::Null => Some(80),
        Value::String(text) if text.is_empty() => Some(80),
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let path = if found.path.is_empty() { "/metrics" } else { &found.path };
    let port = port.ok_or_else(|| wrong(format!("port {} is not a port", found.port)))?;
    Ok(Some(Target {
        place: Place::new((ip, port).into(), ip),
        tls: match found.scheme.to_ascii_lowercase().as_str() {
            "" | "http" => false,
            "https" => true,
            other => return Err(wrong(format!("scheme {other:?} is neither http nor https"))),
        },
        path: path
            .parse()
            .map_err(|_| wrong(format!("path {path:?} is not a path")))?,
    }))
}

fn is_probe_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["", "app-health", container, probe] => {
            !container.is_empty() && matches!(*probe, "livez" | "readyz" | "startupz")
        }
        ["", "app-lifecycle", container, hook] => !container.is_empty() && matches!(*hook, "prestopz" | "poststartz"),
        _ => false,
    }
}

/// Headers of one connection or of the request that is not passed on.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    crate::http::headers::strip_hop_by_hop(&mut headers);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::ACCEPT_ENCODING,
        header::TE,
    ] {
        headers.remove(HeaderName::clone(&name));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn annotations_name_the_metrics() {
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let got = annotations(Some(text), HERE).map_err(|error| error.to_string());
            let got = got.map(|target| target.map(|t| format!("{} {} {}", t.place.address(), t.path, t.tls)));
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got.as_deref(), expected, "{text}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check(
            r#"{"scrape":"true","path":"/m","port":"8080"}"#,
            Ok(Some("127.0.0.1:8080 /m false")),
        );
        check(
            r#"{"scrape":true,"port":9090,"scheme":"https"}"#,
            Ok(Some("127.0.0.1:9090 /metrics true")),
        );
        check(
            r#"{"scrape":"true","scheme":"http","port":"","path":""}"#,
            Ok(Some("127.0.0.1:80 /metrics false")),
        );
        check(r#"{"scrape":"false","port":"8080"}"#, Ok(None));
        check("", Ok(None));
        check(r#"{"scrape":"true","port":"http"}"#, Err("is not a port"));
        check(r#"{"scrape":"true","scheme":"ftp"}"#, Err("scheme \"ftp\""));
        check(r#"{"scrap":"true"}"#, Err("scrap"));
    }

    #[test]
    fn the_end_mark_goes() {
        for (page, expected) in [("a 1\n# EOF\n", "a 1\n"), ("a 1", "a 1\n"), ("# EOF", ""), ("", "")] {
            assert_eq!(plain(page), expected);
        }
    }

    #[test]
    fn probe_paths_are_istios() {
        for (path, fits) in [
            ("/app-health/app/livez", true),
            ("/app-health/app/readyz", true),
            ("/app-lifecycle/app/prestopz", true),
            ("/app-health/app/prestopz", false),
            ("/app-health//livez", false),
            ("/healthz", false),
        ] {
            assert_eq!(is_probe_path(path), fits, "{path}");
        }
    }
}
