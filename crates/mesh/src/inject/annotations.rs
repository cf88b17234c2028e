//! The annotations of a pod that change its proxy, parsed into checked values. A value that does not parse refuses the pod.
//!
//! Names and meanings are Istio's (istio.io, "Resource Annotations").

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Volume, VolumeMount};

use super::names;
use super::proxy_config::{self, ProxyConfig};
use super::quantity::Quantity;
use super::resources::OwnResources;
use super::volumes::named_list;

/// Prefixes of annotations that are meant for the proxy.
const PROXY_PREFIXES: [&str; 8] = [
    "sidecar.istio.io/",
    "status.sidecar.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "proxy.istio.io/",
    "inject.istio.io/",
    "prometheus.istio.io/",
    names::VIRTUAL_INTERFACES,
];

/// Annotations that this proxy needs no value for: nothing is lost when they are left out, which a warning says.
const NO_EFFECT: &[(&str, &str)] = &[
    (
        "sidecar.istio.io/agentLogLevel",
        "there is no agent beside the proxy; use sidecar.istio.io/logLevel",
    ),
    (
        "sidecar.istio.io/componentLogLevel",
        "it names parts of Envoy; use sidecar.istio.io/logLevel",
    ),
    ("sidecar.istio.io/proxyImageType", "there is one image for all purposes"),
    (
        "sidecar.istio.io/statsCompression",
        "the proxy decides by what the scraper accepts",
    ),
    (
        "sidecar.istio.io/statsEvictionInterval",
        "unused statistics go with the configuration",
    ),
    (
        "sidecar.istio.io/statsFlushInterval",
        "statistics are read when they are scraped",
    ),
    ("sidecar.istio.io/statsInclusionPrefixes", "all statistics are kept"),
    ("sidecar.istio.io/statsInclusionRegexps", "all statistics are kept"),
    ("sidecar.istio.io/statsInclusionSuffixes", "all statistics are kept"),
    (
        "readiness.status.sidecar.istio.io/applicationPorts",
        "Istio ignores it as well; readiness needs no ports",
    ),
];

/// Annotations that this mesh cannot carry out; a pod that depends on one must not start without it.
const REFUSED: &[(&str, &str)] = &[
    (
        "sidecar.istio.io/bootstrapOverride",
        "the proxy has no bootstrap file to override",
    ),
    ("sidecar.istio.io/extraStatTags", "use a Telemetry with tagOverrides"),
    (
        "sidecar.istio.io/statsHistogramBuckets",
        "buckets of histograms are fixed",
    ),
    ("sidecar.istio.io/statsHistogramBins", "buckets of histograms are fixed"),
];

/// Why a pod is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{annotation}: {reason}")]
pub struct BadAnnotation {
    pub annotation: String,
    /// What is wrong with its value.
    pub reason: String,
}

/// How traffic comes to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InterceptionMode {
    /// By rules in the pod's network namespace.
    Redirect,
    /// Not at all: the application addresses the proxy.
    None,
}

/// Which ports or addresses: all, or those that are listed (possibly none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection<T> {
    All,
    These(Vec<T>),
}

/// What the annotations of one pod ask for. `None` leaves the installation's default.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) image: Option<String>,
    pub(super) resources: OwnResources,
    pub(super) interception_mode: Option<InterceptionMode>,
    pub(super) include_outbound_ranges: Option<Selection<IpNet>>,
    pub(super) exclude_outbound_ranges: Option<Selection<IpNet>>,
    pub(super) include_outbound_ports: Option<Selection<u16>>,
    pub(super) exclude_outbound_ports: Option<Selection<u16>>,
    pub(super) include_inbound_ports: Option<Selection<u16>>,
    pub(super) exclude_inbound_ports: Option<Selection<u16>>,
    pub(super) exclude_interfaces: Option<Vec<String>>,
    /// Interfaces of virtual machines in the pod.
    pub(super) virtual_interfaces: Option<Vec<String>>,
    /// 0 means that there is no status port, hence no readiness probe.
    pub(super) status_port: Option<u16>,
    pub(super) log_level: Option<String>,
    pub(super) native_sidecar: Option<bool>,
    pub(super) rewrite_probes: Option<bool>,
    pub(super) merge_metrics: Option<bool>,
    pub(super) readiness_initial_delay: Option<i32>,
    pub(super) readiness_period: Option<i32>,
    pub(super) readiness_failures: Option<i32>,
    pub(super) volumes: Vec<Volume>,
    pub(super) volume_mounts: Vec<VolumeMount>,
    pub(super) discovery_address: Option<String>,
    pub(super) proxy_config: ProxyConfig,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

type Parsed<T> = Result<T, String>;

/// Reads all annotations of a pod. All bad values are reported, not only the first.
pub(super) fn parse(annotations: &BTreeMap<String, String>) -> Result<Options, Vec<BadAnnotation>> {
    let mut options = Options::default();
    let mut bad = Vec::new();
    for (annotation, value) in annotations {
        if !PROXY_PREFIXES.iter().any(|prefix| annotation.starts_with(prefix)) {
            continue;
        }
        if let Err(reason) = read(&mut options, annotation, value) {
            bad.push(BadAnnotation {
                annotation: annotation.clone(),
                reason,
            });
        }
    }
    bad.extend(options.resources.contradictions());
    if bad.is_empty() { Ok(options) } else { Err(bad) }
}

fn read(options: &mut Options, annotation: &str, value: &str) -> Parsed<()> {
    match annotation {
        "sidecar.istio.io/proxyImage" => options.image = Some(image(value)?),
        "sidecar.istio.io/proxyCPU" => options.resources.cpu = Some(Quantity::cpu(value)?),
        "sidecar.istio.io/proxyCPULimit" => options.resources.cpu_limit = Some(Quantity::cpu(value)?),
        "sidecar.istio.io/proxyMemory" => options.resources.memory = Some(Quantity::memory(value)?),
        "sidecar.istio.io/proxyMemoryLimit" => options.resources.memory_limit = Some(Quantity::memory(value)?),
        names::INTERCEPTION_MODE => options.interception_mode = Some(interception_mode(value)?),
        "sidecar.istio.io/logLevel" => options.log_level = Some(log_level(value)?),
        "sidecar.istio.io/nativeSidecar" => options.native_sidecar = Some(boolean(value)?),
        "sidecar.istio.io/rewriteAppHTTPProbers" => options.rewrite_probes = Some(boolean(value)?),
        "sidecar.istio.io/userVolume" => options.volumes = named_list(value)?,
        "sidecar.istio.io/userVolumeMount" => options.volume_mounts = named_list(value)?,
        "sidecar.istio.io/discoveryAddress" => options.discovery_address = Some(proxy_config::host_port(value)?),
        "status.sidecar.istio.io/port" => options.status_port = Some(status_port(value)?),
        "readiness.status.sidecar.istio.io/initialDelaySeconds" => {
            options.readiness_initial_delay = Some(count(value, 0)?);
        }
        "readiness.status.sidecar.istio.io/periodSeconds" => options.readiness_period = Some(count(value, 1)?),
        "readiness.status.sidecar.istio.io/failureThreshold" => options.readiness_failures = Some(count(value, 1)?),
        "traffic.sidecar.istio.io/includeOutboundIPRanges" => {
            options.include_outbound_ranges = Some(ranges(value, true)?)
        }
        "traffic.sidecar.istio.io/excludeOutboundIPRanges" => {
            options.exclude_outbound_ranges = Some(ranges(value, false)?);
        }
        "traffic.sidecar.istio.io/includeOutboundPorts" => options.include_outbound_ports = Some(ports(value, true)?),
        "traffic.sidecar.istio.io/excludeOutboundPorts" => options.exclude_outbound_ports = Some(ports(value, false)?),
        "traffic.sidecar.istio.io/includeInboundPorts" => options.include_inbound_ports = Some(ports(value, true)?),
        "traffic.sidecar.istio.io/excludeInboundPorts" => options.exclude_inbound_ports = Some(ports(value, false)?),
        "traffic.sidecar.istio.io/excludeInterfaces" => options.exclude_interfaces = Some(interfaces(value)?),
        names::VIRTUAL_INTERFACES => options.virtual_interfaces = Some(interfaces(value)?),
        "traffic.sidecar.istio.io/kubevirtInterfaces" => {
            // The older name; the newer one is read first.
            let named = interfaces(value)?;
            options.virtual_interfaces.get_or_insert(named);
        }
        "inject.istio.io/templates" => template(value)?,
        names::PROXY_CONFIG => options.proxy_config = proxy_config::parse(value, &mut options.warnings)?,
        names::MERGE_METRICS => options.merge_metrics = Some(boolean(value)?),
        names::INJECT | names::STATUS => {}
        other => return other_annotation(options, other),
    }
    Ok(())
}

fn other_annotation(options: &mut Options, annotation: &str) -> Parsed<()> {
    let find = |table: &[(&str, &'static str)]| table.iter().find(|(name, _)| *name == annotation).map(|(_, why)| *why);
    if let Some(why) = find(REFUSED) {
        return Err(format!("is not supported: {why}"));
    }
    options.warnings.push(match find(NO_EFFECT) {
        Some(why) => format!("annotation {annotation} has no effect: {why}"),
        None => format!("annotation {annotation} is not known and has no effect; is it misspelt?"),
    });
    Ok(())
}

/// `true` or `false`, in the spellings that Go's `strconv.ParseBool` takes, since Istio parses them by that.
fn boolean(value: &str) -> Parsed<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{value:?} is neither true nor false")),
    }
}

/// A reference to an image: no white space, no control characters.
fn image(value: &str) -> Parsed<String> {
    let fits = !value.is_empty() && value.len() <= 512 && value.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| value.to_owned())
        .ok_or_else(|| format!("{value:?} is not the name of an image"))
}

fn interception_mode(value: &str) -> Parsed<InterceptionMode> {
    match value {
        "REDIRECT" => Ok(InterceptionMode::Redirect),
        "NONE" => Ok(InterceptionMode::None),
        "TPROXY" => Err("TPROXY is not supported; use REDIRECT".to_owned()),
        _ => Err(format!("{value:?} is not an interception mode; use REDIRECT or NONE")),
    }
}

/// Envoy's names of levels.
fn log_level(value: &str) -> Parsed<String> {
    match value {
        "trace" | "debug" | "info" | "error" | "off" => Ok(value.to_owned()),
        "warning" | "warn" => Ok("warn".to_owned()),
        "critical" => Ok("error".to_owned()),
        _ => Err(format!(
            "{value:?} is not a log level; use trace, debug, info, warning, error, critical or off"
        )),
    }
}

fn port(text: &str) -> Parsed<u16> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port; use a number from 1 to 65535")),
    }
}

fn status_port(value: &str) -> Parsed<u16> {
    let port = value.parse::<u16>();
    let port = port.map_err(|_| format!("{value:?} is not a port; use 1024 to 65535, or 0 for no probe"))?;
    proxy_config::status_port(port)
}

fn count(value: &str, least: i32) -> Parsed<i32> {
    match value.parse::<i32>() {
        Ok(count) if count >= least => Ok(count),
        _ => Err(format!("{value:?} is not a number from {least} on")),
    }
}

/// The parts of a list with commas; spaces around them do not matter.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Ports in a list with commas; `*` means all where that makes sense.
pub(super) fn ports(value: &str, wildcard: bool) -> Parsed<Selection<u16>> {
    if wildcard && value.trim() == "*" {
        return Ok(Selection::All);
    }
    parts(value)
        .map(port)
        .collect::<Parsed<Vec<u16>>>()
        .map(Selection::These)
}

/// Address ranges in a list with commas; `*` means all where that makes sense.
pub(super) fn ranges(value: &str, wildcard: bool) -> Parsed<Selection<IpNet>> {
    if wildcard && value.trim() == "*" {
        return Ok(Selection::All);
    }
    let range = |text: &str| -> Parsed<IpNet> {
        text.parse::<IpNet>()
            .map_err(|_| format!("{text:?} is not an address range; write it as 10.0.0.0/8"))
    };
    parts(value)
        .map(range)
        .collect::<Parsed<Vec<IpNet>>>()
        .map(Selection::These)
}

/// Names of network interfaces as `weft-proxy init` takes them (15 bytes at most: Linux, `IFNAMSIZ`). Patterns such as `veth+` are none.
fn interfaces(value: &str) -> Parsed<Vec<String>> {
    let interface = |text: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
        let name = text.len() < 16 && !text.starts_with('-') && text.bytes().all(fits);
        name.then(|| text.to_owned())
            .ok_or_else(|| format!("{text:?} is not the name of a network interface"))
    };
    parts(value).map(interface).collect()
}

fn template(value: &str) -> Parsed<()> {
    match value.trim() {
        "sidecar" => Ok(()),
        "gateway" => Err(
            "the gateway template is not supported; run weft-proxy gateway in a Deployment, as weft-ingressgateway"
                .to_owned(),
        ),
        _ => Err(format!("{value:?} is not a template; the only one is sidecar")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(annotation: &str, value: &str) -> Result<Options, Vec<BadAnnotation>> {
        parse(&[(annotation.to_owned(), value.to_owned())].into())
    }

    #[track_caller]
    fn refused(annotation: &str, value: &str, part: &str) {
        let bad = one(annotation, value).expect_err(value);
        let text = bad[0].to_string();
        assert!(text.starts_with(annotation) && text.contains(part), "{text}");
    }

    #[test]
    fn bad_values_refuse_with_name_and_reason() {
        for (annotation, value, part) in [
            ("sidecar.istio.io/proxyCPU", "a lot", "quantity"),
            ("sidecar.istio.io/proxyCPU", "-1", "quantity"),
            ("sidecar.istio.io/proxyMemory", "1Zi", "quantity"),
            ("sidecar.istio.io/proxyImage", "a b", "image"),
            ("sidecar.istio.io/proxyImage", "x\n    command: [sh]", "image"),
            ("sidecar.istio.io/interceptionMode", "TPROXY", "not supported"),
            ("sidecar.istio.io/interceptionMode", "redirect", "REDIRECT or NONE"),
            ("sidecar.istio.io/logLevel", "loud", "log level"),
            ("sidecar.istio.io/nativeSidecar", "maybe", "true nor false"),
            ("sidecar.istio.io/rewriteAppHTTPProbers", "", "true nor false"),
            ("sidecar.istio.io/userVolume", "{", "EOF"),
            ("sidecar.istio.io/userVolume", "[{\"emptyDir\": {}}]", "name"),
            (
                "sidecar.istio.io/userVolumeMount",
                "[{\"name\": \"a\", \"mountPath\": 1}]",
                "invalid type",
            ),
            ("sidecar.istio.io/discoveryAddress", "pilot", "host:port"),
            ("sidecar.istio.io/bootstrapOverride", "x", "not supported"),
            (
                "sidecar.istio.io/userVolumeMount",
                r#"{"c": {"mountPath": "/c", "readonly": true}}"#,
                "no field readonly",
            ),
            ("status.sidecar.istio.io/port", "80", "port"),
            ("status.sidecar.istio.io/port", "15006", "proxy's own"),
            ("status.sidecar.istio.io/port", "web", "not a port"),
            ("readiness.status.sidecar.istio.io/periodSeconds", "0", "from 1 on"),
            (
                "traffic.sidecar.istio.io/includeOutboundIPRanges",
                "10.0.0.0",
                "address range",
            ),
            ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*", "address range"),
            ("traffic.sidecar.istio.io/includeInboundPorts", "http", "port"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "*", "port"),
            ("traffic.sidecar.istio.io/excludeOutboundPorts", "70000", "port"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "eth0/1", "interface"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "veth+", "interface"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "eth0;x", "interface"),
            ("istio.io/reroute-virtual-interfaces", "vnet0;x", "interface"),
            ("inject.istio.io/templates", "gateway", "not supported"),
            ("proxy.istio.io/config", "statusPort: 15021", "proxy's own"),
            ("proxy.istio.io/config", "statusPort: 80", "port"),
            ("proxy.istio.io/config", "concurrency: -1", "line 1 column 14"),
            ("proxy.istio.io/config", "{", ""),
            ("prometheus.istio.io/merge-metrics", "no", "true nor false"),
        ] {
            refused(annotation, value, part);
        }
        let all = [
            ("sidecar.istio.io/proxyCPU".to_owned(), "x".to_owned()),
            ("sidecar.istio.io/logLevel".to_owned(), "x".to_owned()),
        ];
        assert_eq!(parse(&all.into()).unwrap_err().len(), 2, "all are reported at once");
    }

    #[test]
    fn a_request_above_its_limit_is_refused_and_one_annotation_replaces_all_defaults() {
        let of = |pairs: &[(&str, &str)]| {
            let full = |(name, value): &(&str, &str)| (format!("sidecar.istio.io/{name}"), (*value).to_owned());
            parse(&pairs.iter().map(full).collect())
        };
        let bad = of(&[("proxyCPU", "4"), ("proxyCPULimit", "2000m"), ("proxyMemory", "1Gi")]).unwrap_err();
        let expected = "sidecar.istio.io/proxyCPU: 4 is more than the limit 2000m of proxyCPULimit";
        assert_eq!(bad.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        let default = crate::inject::Resources::default();
        let over = |pairs| of(pairs).unwrap().resources.over(&default, None).unwrap();
        let resources = over(&[("proxyMemoryLimit", "64Mi")]);
        assert_eq!(
            (resources.memory.as_str(), resources.memory_limit.as_str()),
            ("", "64Mi")
        );
        assert_eq!((resources.cpu.as_str(), resources.cpu_limit.as_str()), ("", ""));
        assert_eq!(over(&[]), default);
    }

    #[test]
    fn unknown_ones_are_warned_about_and_foreign_ones_are_nobodys_business() {
        let options = one("sidecar.istio.io/proxyCpu", "1").unwrap();
        assert!(options.warnings[0].contains("misspelt"), "{:?}", options.warnings);
        let options = one("sidecar.istio.io/statsInclusionPrefixes", "x").unwrap();
        assert!(options.warnings[0].contains("all statistics"), "{:?}", options.warnings);
        assert!(one("example.com/sidecar", "x").unwrap().warnings.is_empty());
    }

    #[test]
    fn lists_parse() {
        let options = one("traffic.sidecar.istio.io/includeInboundPorts", "80, 8080").unwrap();
        assert_eq!(options.include_inbound_ports, Some(Selection::These(vec![80, 8080])));
        let options = one("traffic.sidecar.istio.io/includeInboundPorts", "").unwrap();
        assert_eq!(options.include_inbound_ports, Some(Selection::These(vec![])));
        let options = one("traffic.sidecar.istio.io/includeInboundPorts", "*").unwrap();
        assert_eq!(options.include_inbound_ports, Some(Selection::All));
        let newer = ("istio.io/reroute-virtual-interfaces".to_owned(), "vnet0".to_owned());
        let older = (
            "traffic.sidecar.istio.io/kubevirtInterfaces".to_owned(),
            "k6t-eth0".to_owned(),
        );
        let options = parse(&[older.clone()].into()).unwrap();
        assert_eq!(options.virtual_interfaces, Some(vec!["k6t-eth0".to_owned()]));
        let options = parse(&[older, newer].into()).unwrap();
        assert_eq!(options.virtual_interfaces, Some(vec!["vnet0".to_owned()]));
    }
}
