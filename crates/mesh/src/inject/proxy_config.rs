//! The annotation `proxy.istio.io/config`: the fields of Istio's ProxyConfig that a pod may set for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::names;

/// Longest duration of a drain.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Fields that have no counterpart here and lose nothing by being left out.
const NO_EFFECT: &[(&str, &str)] = &[
    ("binaryPath", "the image has one program"),
    ("configPath", "the proxy writes no files"),
    ("customConfigFile", "the proxy has no bootstrap file"),
    ("image", "there is one image for all purposes"),
    ("proxyStatsMatcher", "all statistics are kept"),
    ("serviceCluster", "it follows from the workload"),
    (
        "tracing",
        "tracing is the Telemetry API's; use a Telemetry that selects the workload",
    ),
    ("statNameLength", "names are never cut"),
];

/// What a pod may set for its proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProxyConfig {
    pub(super) concurrency: Option<u32>,
    pub(super) drain: Option<Duration>,
    pub(super) termination_drain: Option<Duration>,
    pub(super) hold_application: Option<bool>,
    pub(super) discovery_address: Option<String>,
    pub(super) status_port: Option<u16>,
    /// Whether DNS questions of the application go to the proxy.
    pub(super) dns_capture: Option<bool>,
    /// Whether no traffic is captured.
    pub(super) no_capture: Option<bool>,
    /// What the proxy says about itself beyond its name and labels.
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    concurrency: Option<u32>,
    drain_duration: Option<String>,
    termination_drain_duration: Option<String>,
    hold_application_until_proxy_starts: Option<bool>,
    discovery_address: Option<String>,
    status_port: Option<u16>,
    interception_mode: Option<String>,
    #[serde(default)]
    proxy_metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Reads the annotation's YAML.
pub(super) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<ProxyConfig, String> {
    if text.trim().is_empty() {
        return Ok(ProxyConfig::default());
    }
    let raw: Raw = serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        format!("does not parse: {}", text.lines().next().unwrap_or_default())
    })?;
    for field in raw.others.keys() {
        match NO_EFFECT.iter().find(|(name, _)| name == field) {
            Some((_, why)) => warnings.push(format!("proxy.istio.io/config: {field} has no effect: {why}")),
            None => return Err(format!("field {field} is not supported here")),
        }
    }
    if raw.concurrency.is_some_and(|concurrency| concurrency > 512) {
        return Err("concurrency is more than 512".to_owned());
    }
    let of_port = |reason: String| format!("statusPort: {reason}");
    let mut config = ProxyConfig {
        concurrency: raw.concurrency,
        drain: duration("drainDuration", raw.drain_duration.as_deref())?,
        termination_drain: duration("terminationDrainDuration", raw.termination_drain_duration.as_deref())?,
        hold_application: raw.hold_application_until_proxy_starts,
        discovery_address: raw.discovery_address.as_deref().map(host_port).transpose()?,
        status_port: raw.status_port.map(status_port).transpose().map_err(of_port)?,
        no_capture: interception_mode(raw.interception_mode.as_deref())?,
        ..ProxyConfig::default()
    };
    metadata(&mut config, raw.proxy_metadata)?;
    Ok(config)
}

fn interception_mode(mode: Option<&str>) -> Result<Option<bool>, String> {
    match mode {
        None => Ok(None),
        Some("REDIRECT") => Ok(Some(false)),
        Some("NONE") => Ok(Some(true)),
        Some(other) => Err(format!(
            "interceptionMode {other:?} is not supported; use REDIRECT or NONE"
        )),
    }
}

/// `proxyMetadata` holds environment variables of Istio's agent; those with a meaning here are taken over.
fn metadata(config: &mut ProxyConfig, variables: BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in variables {
        let flag = || match value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("proxyMetadata {name}: {value:?} is neither true nor false")),
        };
        match name.as_str() {
            "ISTIO_META_DNS_CAPTURE" => config.dns_capture = Some(flag()?),
            // Names of ServiceEntries without addresses always get one; connections are always waited for.
            "ISTIO_META_DNS_AUTO_ALLOCATE" | "EXIT_ON_ZERO_ACTIVE_CONNECTIONS" => drop(flag()?),
            "MINIMUM_DRAIN_DURATION" => {
                config.termination_drain = duration("proxyMetadata MINIMUM_DRAIN_DURATION", Some(&value))?;
            }
            other => {
                let Some(key) = other.strip_prefix("ISTIO_META_").filter(|key| is_key(key)) else {
                    return Err(format!("proxyMetadata {other} is not supported"));
                };
                config.metadata.insert(key.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// `host:port` of a server.
pub(super) fn host_port(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not of the form host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let fits = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b))
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// A status port that the proxy can have, or 0 for none.
pub(super) fn status_port(port: u16) -> Result<u16, String> {
    match port {
        0 | 1024.. if !names::OWN_PORTS.contains(&port) => Ok(port),
        1024.. => Err(format!(
            "{port} is the proxy's own port for another purpose; use {}, or 0 for no probe",
            names::STATUS_PORT
        )),
        _ => Err(format!(
            "{port} is not a port that the proxy may bind; use 1024 to 65535, or 0 for no probe"
        )),
    }
}

/// A duration of a day at most, such as `45s`, `1.5s` or `1m30s`.
fn duration(field: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else {
        return Ok(None);
    };
    let found = weft_api::duration::parse(text).filter(|found| *found <= DURATION_MAX);
    match found {
        Some(found) => Ok(Some(found)),
        None => Err(format!(
            "{field}: {text:?} is not a duration such as 45s, 1.5s or 1m30s"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_quietly(text: &str) -> Result<ProxyConfig, String> {
        parse(text, &mut Vec::new())
    }

    #[test]
    fn known_fields_are_taken() {
        let text = "concurrency: 4\ndrainDuration: 1m30s\nterminationDrainDuration: 500ms\n\
                    holdApplicationUntilProxyStarts: false\nproxyMetadata:\n  ISTIO_META_DNS_CAPTURE: \"false\"\n  \
                    ISTIO_META_NETWORK: east\n";
        let config = parse_quietly(text).unwrap();
        assert_eq!(config.concurrency, Some(4));
        assert_eq!(config.drain, Some(Duration::from_secs(90)));
        assert_eq!(config.termination_drain, Some(Duration::from_millis(500)));
        assert_eq!(config.hold_application, Some(false));
        assert_eq!(config.dns_capture, Some(false));
        assert_eq!(config.metadata, [("NETWORK".to_owned(), "east".to_owned())].into());
        let config = parse_quietly("drainDuration: 1.5s\nterminationDrainDuration: 0.000000001s").unwrap();
        assert_eq!(config.drain, Some(Duration::from_millis(1500)));
        assert_eq!(config.termination_drain, Some(Duration::from_nanos(1)));
        assert_eq!(parse_quietly(""), Ok(ProxyConfig::default()));
    }

    #[test]
    fn others_are_refused_or_warned_about() {
        #[track_caller]
        fn refused(text: &str, part: &str) {
            let reason = parse_quietly(text).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
        refused("concurency: 1", "concurency");
        refused("drainDuration: 45", "drainDuration");
        refused("drainDuration: 45 s", "drainDuration");
        for text in ["s", ".s", "1..5s", "1.5", "1s5", "-1s", "25h", "1x"] {
            refused(&format!("drainDuration: {text}"), "drainDuration");
        }
        refused("interceptionMode: TPROXY", "TPROXY");
        refused("proxyMetadata: {BOOTSTRAP_XDS_AGENT: \"true\"}", "BOOTSTRAP_XDS_AGENT");
        refused("proxyMetadata: {ISTIO_META_DNS_CAPTURE: yes please}", "true nor false");
        refused("discoveryAddress: nowhere", "host:port");
        let mut warnings = Vec::new();
        parse("statNameLength: 200", &mut warnings).unwrap();
        parse("tracing: {sampling: 100}", &mut warnings).unwrap();
        assert_eq!(warnings.len(), 2);
    }
}
