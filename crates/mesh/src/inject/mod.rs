//! Injection: a pod in, the same pod with a proxy out. A pure function of the pod, its namespace and the installation's settings.
//!
//! The pod is read as a typed object and changed as JSON, so that fields which are younger than our types stay. What is added consists of
//! typed objects; no text of the user becomes structure.

mod annotations;
mod capture;
mod check;
mod containers;
mod decide;
mod documents;
pub mod names;
mod patch;
mod paths;
mod probes;
mod prometheus;
mod proxy_config;
mod quantity;
mod resources;
mod settings;
mod volumes;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Map, Value, json};

use self::annotations::{InterceptionMode, Options};
use self::capture::Capture;
use self::containers::Proxy;
use self::workload::Workload;

pub use self::annotations::BadAnnotation;
pub use self::capture::BadDefault;
pub use self::decide::{Decision, Scope, decide};
pub use self::documents::{DocumentError, inject_documents};
pub use self::patch::{Operation, patch};
pub use self::probes::BadProbe;
pub use self::quantity::Quantity;
pub use self::settings::{Resources, Settings};

/// How long a pod may take to end where it does not say (Kubernetes: 30 s).
const GRACE_SECONDS: i64 = 30;

/// Seconds between two questions whether the proxy is ready. Kubernetes asks for the first time somewhere within this period, so that
/// Istio's 15 make a pod wait for seven seconds more (median) after its proxy has started.
const READINESS_PERIOD: i32 = 1;

/// How long the proxy keeps taking requests after its pod was asked to end (Istio: 5 s).
const TERMINATION_DRAIN: Duration = Duration::from_secs(5);

/// Time that is left for the proxy's own end within the pod's grace period, of which half is more where it is short.
const LAST_SECONDS: Duration = Duration::from_secs(3);

/// Why a pod is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a pod.
    #[error("this is not a pod: {0}")]
    NotAPod(String),
    /// Annotations have values that do not parse.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Annotations(Vec<BadAnnotation>),
    /// A probe cannot be led through the proxy.
    #[error(transparent)]
    Probe(#[from] BadProbe),
    /// Annotations for Prometheus cannot be merged.
    #[error("{0}")]
    Prometheus(String),
    /// A container would be mistaken for the proxy.
    #[error("container {container} runs as {kind} {uid}, which is the proxy's: its traffic would bypass the mesh; use \
             another {kind}, or sidecar.istio.io/interceptionMode: NONE", uid = names::PROXY_UID)]
    ProxyUser {
        container: String,
        /// Whether it is the user or the group.
        kind: &'static str,
    },
    /// A name that the injector needs is taken.
    #[error("{kind} {name} exists already: rename it, or set {inject}: \"false\" if the pod brings its own proxy", inject = names::INJECT)]
    Taken {
        /// Container or volume.
        kind: &'static str,
        name: String,
    },
    /// The installation is wrong, not the pod.
    #[error(transparent)]
    Settings(#[from] BadDefault),
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The pod with its proxy, and what the user should know.
    Injected {
        /// The whole pod.
        pod: Value,
        /// Warnings, one sentence each.
        warnings: Vec<String>,
    },
    /// It stays as it is, for this reason.
    Skipped(&'static str),
}

/// Injects one pod, or the template of one.
pub fn inject(pod: &Value, namespace: &str, scope: Scope<'_>, settings: &Settings) -> Result<Outcome, Refusal> {
    let typed: Pod = serde_json::from_value(pod.clone()).map_err(|error| Refusal::NotAPod(error.to_string()))?;
    if let Decision::Skip(why) = decide(&typed, namespace, scope, settings) {
        return Ok(Outcome::Skipped(why));
    }
    let none = BTreeMap::new();
    let annotations = typed.metadata.annotations.as_ref().unwrap_or(&none);
    let options = annotations::parse(annotations).map_err(Refusal::Annotations)?;
    let Some(spec) = &typed.spec else {
        return Err(Refusal::NotAPod("it has no spec".to_owned()));
    };
    let workload = workload::workload(&typed);
    let mut changed = pod.clone();
    let mut proxy = decide_proxy(spec, &options, settings, &workload)?;
    check::names(spec, &options)?;
    check::users(spec, &proxy)?;
    let mut new_annotations = annotations.clone();
    adopt_probes(&mut changed, spec, &options, settings, &mut proxy)?;
    adopt_metrics(&mut new_annotations, &options, settings, &mut proxy)?;
    add_containers(&mut changed, &proxy, &options, settings);
    add_metadata(&mut changed, &typed, new_annotations, &proxy, &workload, settings);
    Ok(Outcome::Injected {
        pod: changed,
        warnings: options.warnings,
    })
}

/// Puts the pod's wishes over the installation's settings.
fn decide_proxy(spec: &PodSpec, options: &Options, settings: &Settings, workload: &Workload) -> Result<Proxy, Refusal> {
    let config = &options.proxy_config;
    let status_port = options.status_port.or(config.status_port).unwrap_or(names::STATUS_PORT);
    let of_config = config.no_capture.map(|none| {
        if none {
            InterceptionMode::None
        } else {
            InterceptionMode::Redirect
        }
    });
    let mode = options.interception_mode.or(of_config);
    let capture = match mode.unwrap_or(InterceptionMode::Redirect) {
        InterceptionMode::Redirect => Some(Capture::new(options, settings, status_port)?),
        InterceptionMode::None => None,
    };
    let of = |own: &Option<String>, default: &str| own.clone().unwrap_or_else(|| default.to_owned());
    let grace = usable_grace(spec);
    let resources = options.resources.over(&settings.resources, spec.resources.as_ref());
    let resources = resources.map_err(Refusal::Annotations)?;
    let proxy = Proxy {
        image: of(&options.image, &settings.image),
        image_pull_policy: settings.image_pull_policy.clone(),
        discovery_address: options
            .discovery_address
            .clone()
            .unwrap_or_else(|| of(&config.discovery_address, &settings.discovery_address)),
        discovery_account: settings.discovery_account.clone(),
        ca_address: settings.ca_address.clone(),
        trust_domain: settings.trust_domain.clone(),
        workload_name: workload.name.clone(),
        log_level: of(&options.log_level, &settings.log_level),
        concurrency: config.concurrency.unwrap_or(settings.concurrency),
        drain: config.drain,
        termination_drain: config.termination_drain.unwrap_or(TERMINATION_DRAIN).min(grace),
        grace,
        status_port,
        resources,
        native: options.native_sidecar.unwrap_or(settings.native_sidecar),
        hold_application: config.hold_application.unwrap_or(settings.hold_application),
        readiness: (
            options.readiness_initial_delay.unwrap_or(0),
            options.readiness_period.unwrap_or(READINESS_PERIOD),
            options.readiness_failures.unwrap_or(4),
        ),
        metadata: metadata(options, settings, workload, capture.as_ref()),
        capture,
        variables: Vec::new(),
        mounts: options.volume_mounts.clone(),
    };
    Ok(proxy)
}

/// The part of the pod's grace period before the proxy's own end.
fn usable_grace(spec: &PodSpec) -> Duration {
    let seconds = spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS);
    let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    grace.saturating_sub(LAST_SECONDS).max(grace / 2)
}

/// What the proxy tells pilot beyond its name and labels.
fn metadata(
    options: &Options,
    settings: &Settings,
    workload: &Workload,
    capture: Option<&Capture>,
) -> BTreeMap<String, String> {
    let mode = if capture.is_some() { "REDIRECT" } else { "NONE" };
    let mut metadata = BTreeMap::from([
        ("CLUSTER_ID".to_owned(), settings.cluster_id.clone()),
        ("INTERCEPTION_MODE".to_owned(), mode.to_owned()),
    ]);
    if capture.is_some_and(Capture::dns) {
        metadata.insert("DNS_CAPTURE".to_owned(), "true".to_owned());
    }
    if !settings.network.is_empty() {
        metadata.insert("NETWORK".to_owned(), settings.network.clone());
    }
    let plural = format!("{}s", workload.kind.to_ascii_lowercase());
    metadata.insert(
        "OWNER_KIND".to_owned(),
        format!("{}/{plural}/{}", workload.api_version, workload.name),
    );
    metadata.extend(options.proxy_config.metadata.clone());
    metadata
}

fn adopt_probes(
    pod: &mut Value,
    spec: &PodSpec,
    options: &Options,
    settings: &Settings,
    proxy: &mut Proxy,
) -> Result<(), Refusal> {
    if proxy.status_port == 0 || !options.rewrite_probes.unwrap_or(settings.rewrite_probes) {
        return Ok(());
    }
    let mut originals = Map::new();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (place, typed) in [
        ("/spec/containers", spec.containers.as_slice()),
        ("/spec/initContainers", init),
    ] {
        let containers = pod.pointer_mut(place).and_then(Value::as_array_mut);
        for (container, typed) in containers.into_iter().flatten().zip(typed) {
            let before = place == "/spec/initContainers";
            if before && !check::is_native(typed) {
                continue;
            }
            let waited_for = before && !proxy.native;
            probes::rewrite(container, typed, proxy.status_port, waited_for, &mut originals)?;
        }
    }
    if !originals.is_empty() {
        let text = Value::Object(originals).to_string();
        proxy.variables.push((probes::VARIABLE.to_owned(), text));
    }
    Ok(())
}

fn adopt_metrics(
    annotations: &mut BTreeMap<String, String>,
    options: &Options,
    settings: &Settings,
    proxy: &mut Proxy,
) -> Result<(), Refusal> {
    if proxy.status_port == 0 || !options.merge_metrics.unwrap_or(settings.merge_metrics) {
        return Ok(());
    }
    if let Some(application) = prometheus::merge(annotations, proxy.status_port).map_err(Refusal::Prometheus)? {
        proxy.variables.push((prometheus::VARIABLE.to_owned(), application));
    }
    Ok(())
}

/// Adds containers and volumes. A native sidecar follows the init container; an ordinary one is the first container, so that the kubelet
/// starts it before the others.
fn add_containers(pod: &mut Value, proxy: &Proxy, options: &Options, settings: &Settings) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let mut first_init = Vec::new();
    if let Some(capture) = &proxy.capture {
        first_init.push(json!(containers::init(proxy, capture)));
    }
    let sidecar = json!(containers::proxy(proxy));
    if proxy.native {
        first_init.push(sidecar);
    } else {
        let at = if proxy.hold_application { 0 } else { usize::MAX };
        let containers = list(spec, "containers");
        containers.insert(at.min(containers.len()), sidecar);
    }
    // The rules hold from here on, so an init container of the application that needs the network must come before.
    // Before a native sidecar there is none to lose: what follows it finds the proxy running.
    let init = list(spec, "initContainers");
    let at = if proxy.native { 0 } else { init.len() };
    init.splice(at..at, first_init);
    if init.is_empty() {
        spec.shift_remove("initContainers");
    }
    let volumes = list(spec, "volumes");
    volumes.extend(
        containers::volumes()
            .iter()
            .chain(&options.volumes)
            .map(|volume| json!(volume)),
    );
    if !settings.image_pull_secrets.is_empty() {
        let secrets = list(spec, "imagePullSecrets");
        for name in &settings.image_pull_secrets {
            let secret = json!({"name": name});
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
    }
}

/// The list of that name, made where there is none.
fn list<'a>(spec: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = spec.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("it was made an array above")
}

fn add_metadata(
    pod: &mut Value,
    typed: &Pod,
    mut annotations: BTreeMap<String, String>,
    proxy: &Proxy,
    workload: &Workload,
    settings: &Settings,
) {
    let mut labels = typed.metadata.labels.clone().unwrap_or_default();
    let mut missing = |key: &str, value: String| {
        labels.entry(key.to_owned()).or_insert(value);
    };
    missing(names::TLS_MODE, "istio".to_owned());
    missing(
        names::CANONICAL_NAME,
        label_value(&workload::canonical_name(typed, workload)),
    );
    missing(names::CANONICAL_REVISION, workload::canonical_revision(typed));

    let first = typed.spec.iter().flat_map(|spec| &spec.containers).next();
    if let Some(first) = first {
        let default = || first.name.clone();
        annotations
            .entry(names::DEFAULT_CONTAINER.to_owned())
            .or_insert_with(default);
    }
    annotations.insert(names::REVISION.to_owned(), settings.revision.clone());
    let init = proxy.capture.as_ref().map(|_| names::INIT_CONTAINER);
    let native = proxy.native.then_some(names::PROXY_CONTAINER);
    let ordinary = (!proxy.native).then_some(names::PROXY_CONTAINER);
    let volumes: Vec<String> = containers::volumes().into_iter().map(|volume| volume.name).collect();
    let status = json!({
        "initContainers": init.into_iter().chain(native).collect::<Vec<_>>(),
        "containers": ordinary.into_iter().collect::<Vec<_>>(),
        "volumes": volumes,
        "imagePullSecrets": settings.image_pull_secrets,
        "revision": settings.revision,
    });
    annotations.insert(names::STATUS.to_owned(), status.to_string());
    if proxy.capture.is_none() {
        // Discovery reads it, wherever it was said.
        annotations.insert(names::INTERCEPTION_MODE.to_owned(), "NONE".to_owned());
    }

    if pod.get("metadata").is_none_or(|metadata| !metadata.is_object()) {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["labels"] = json!(labels);
    pod["metadata"]["annotations"] = json!(annotations);
}

/// A name as value of a label: 63 characters at most, and a letter or digit at the end.
fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}
