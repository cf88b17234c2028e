//! The containers and volumes that a pod gets.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, ObjectFieldSelector, Probe,
    ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecurityContext, ServiceAccountTokenProjection,
    Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::capture::Capture;
use super::names;
use super::settings::Resources;

/// Where a pod's labels are, for the proxy.
const LABELS_FILE: &str = "/etc/istio/pod/labels";

/// Lifetime of the token that the proxy shows to the authority, in seconds (Istio: 12 hours).
const TOKEN_SECONDS: i64 = 43_200;

/// Audience of that token.
const TOKEN_AUDIENCE: &str = "istio-ca";

/// The proxy in its image.
const PROGRAM: &str = "/usr/local/bin/weft-proxy";

/// How long a proxy may take to get ready before its pod is started again, in seconds (Istio: 600).
const STARTUP_SECONDS: i32 = 600;

/// Everything about one proxy, decided.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) discovery_address: String,
    pub(super) discovery_account: String,
    pub(super) ca_address: String,
    pub(super) trust_domain: String,
    pub(super) workload_name: String,
    pub(super) log_level: String,
    pub(super) concurrency: u32,
    pub(super) drain: Option<Duration>,
    /// How long others have to hear of the pod's end, from its beginning.
    pub(super) termination_drain: Duration,
    /// Longest wait for the application, for an ordinary sidecar.
    pub(super) grace: Duration,
    pub(super) status_port: u16,
    pub(super) resources: Resources,
    pub(super) native: bool,
    pub(super) hold_application: bool,
    pub(super) readiness: (i32, i32, i32),
    pub(super) capture: Option<Capture>,
    /// Metadata of the proxy for pilot.
    pub(super) metadata: BTreeMap<String, String>,
    /// Further variables: original probes, annotations for scrapes.
    pub(super) variables: Vec<(String, String)>,
    pub(super) mounts: Vec<VolumeMount>,
}

/// The init container that programs capture.
pub(super) fn init(proxy: &Proxy, capture: &Capture) -> Container {
    Container {
        name: names::INIT_CONTAINER.to_owned(),
        image: Some(proxy.image.clone()),
        image_pull_policy: some(&proxy.image_pull_policy),
        args: Some(capture.arguments()),
        env: Some(vec![variable("WEFT_LOG_LEVEL", &proxy.log_level)]),
        resources: Some(resources(&proxy.resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            // Rules of the pod's network namespace are the root user's, with these rights and no others.
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            read_only_root_filesystem: Some(false),
            run_as_user: Some(0),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

pub(super) fn proxy(proxy: &Proxy) -> Container {
    let mut mounts = vec![
        mount("istiod-ca-cert", "/var/run/secrets/istio"),
        mount("istio-token", "/var/run/secrets/tokens"),
        mount("istio-podinfo", "/etc/istio/pod"),
    ];
    mounts.extend(proxy.mounts.iter().cloned());
    let has_status = proxy.status_port != 0;
    Container {
        name: names::PROXY_CONTAINER.to_owned(),
        image: Some(proxy.image.clone()),
        image_pull_policy: some(&proxy.image_pull_policy),
        args: Some(vec!["sidecar".to_owned()]),
        env: Some(variables(proxy)),
        ports: has_status.then(|| {
            vec![ContainerPort {
                name: Some("http-envoy-prom".to_owned()),
                container_port: i32::from(proxy.status_port),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        }),
        readiness_probe: has_status.then(|| readiness(proxy)),
        startup_probe: has_status.then(startup),
        lifecycle: Some(lifecycle(proxy)),
        resources: Some(resources(&proxy.resources)),
        restart_policy: proxy.native.then(|| "Always".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(vec!["ALL".to_owned()]),
            }),
            read_only_root_filesystem: Some(true),
            run_as_user: Some(names::PROXY_UID),
            run_as_group: Some(names::PROXY_UID),
            run_as_non_root: Some(true),
            // The Pod Security level `restricted` asks for it; the pod need not name it for all its containers.
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn variables(proxy: &Proxy) -> Vec<EnvVar> {
    let mut all = vec![
        from_pod("WEFT_NAME", "metadata.name"),
        from_pod("WEFT_NAMESPACE", "metadata.namespace"),
        from_pod("WEFT_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        from_pod("WEFT_IP", "status.podIP"),
        from_pod("WEFT_NODE_NAME", "spec.nodeName"),
        variable("WEFT_WORKLOAD_NAME", &proxy.workload_name),
        variable("WEFT_LABELS_FILE", LABELS_FILE),
        variable("WEFT_DISCOVERY_ADDRESS", &proxy.discovery_address),
        variable("WEFT_DISCOVERY_ACCOUNT", &proxy.discovery_account),
        variable("WEFT_CA_ADDRESS", &proxy.ca_address),
        variable("WEFT_CA_ROOT_CERT", "/var/run/secrets/istio/root-cert.pem"),
        variable("WEFT_TOKEN_FILE", "/var/run/secrets/tokens/istio-token"),
        variable("WEFT_TRUST_DOMAIN", &proxy.trust_domain),
        variable("WEFT_LOG_LEVEL", &proxy.log_level),
        variable("WEFT_STATUS_LISTEN", &format!("[::]:{}", status_port(proxy))),
        variable("WEFT_READINESS_LISTEN", &format!("[::]:{}", names::READINESS_PORT)),
    ];
    if proxy.capture.as_ref().is_some_and(Capture::dns) {
        all.push(variable("WEFT_DNS_LISTEN", names::DNS_LISTEN));
    }
    if !proxy.native {
        // The kubelet does not end an ordinary container after the others: discovery tells it when they have ended.
        all.push(from_pod("WEFT_POD_UID", "metadata.uid"));
    }
    if proxy.concurrency > 0 {
        all.push(variable("WEFT_CONCURRENCY", &proxy.concurrency.to_string()));
    }
    if let Some(drain) = proxy.drain {
        all.push(variable("WEFT_DRAIN_TIME", &milliseconds(drain)));
    }
    all.push(variable(
        "WEFT_MINIMUM_DRAIN_TIME",
        &milliseconds(proxy.termination_drain),
    ));
    if !proxy.metadata.is_empty() {
        let text = serde_json::to_string(&proxy.metadata).unwrap_or_default();
        all.push(variable("WEFT_METADATA", &text));
    }
    all.extend(proxy.variables.iter().map(|(name, value)| variable(name, value)));
    all
}

/// A pod without a status port still has one inside, for its own hooks.
fn status_port(proxy: &Proxy) -> u16 {
    if proxy.status_port == 0 {
        names::STATUS_PORT
    } else {
        proxy.status_port
    }
}

fn readiness(proxy: &Proxy) -> Probe {
    let (initial, period, failures) = proxy.readiness;
    Probe {
        http_get: Some(ready_request()),
        initial_delay_seconds: Some(initial),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// Asks every second while the proxy starts, so that a pod is ready as soon as it can be.
fn startup() -> Probe {
    Probe {
        http_get: Some(ready_request()),
        period_seconds: Some(1),
        timeout_seconds: Some(3),
        failure_threshold: Some(STARTUP_SECONDS),
        ..Probe::default()
    }
}

fn ready_request() -> HTTPGetAction {
    HTTPGetAction {
        path: Some("/healthz/ready".to_owned()),
        port: IntOrString::Int(i32::from(names::READINESS_PORT)),
        ..HTTPGetAction::default()
    }
}

/// The kubelet runs `preStop` of every container at once when a pod ends, and sends SIGTERM to a container when its hook is over: to a
/// native sidecar after the others have ended (KEP-753), so that its hook only passes the news on. An ordinary container holds SIGTERM back
/// by its hook, and others by `postStart`: the kubelet starts the next container only when this one's is over.
fn lifecycle(proxy: &Proxy) -> Lifecycle {
    let run = |words: &[&str]| LifecycleHandler {
        exec: Some(ExecAction {
            command: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        }),
        ..LifecycleHandler::default()
    };
    let address = format!("127.0.0.1:{}", status_port(proxy));
    let drain = [PROGRAM, "drain", "--address", &address];
    if proxy.native {
        return Lifecycle {
            pre_stop: Some(run(&drain)),
            ..Lifecycle::default()
        };
    }
    let ready = [PROGRAM, "wait", "--timeout", &format!("{STARTUP_SECONDS}s")];
    let (at_least, timeout) = (milliseconds(proxy.termination_drain), milliseconds(proxy.grace));
    let idle = ["--until-idle", "--at-least", &at_least, "--timeout", &timeout];
    Lifecycle {
        post_start: proxy.hold_application.then(|| run(&ready)),
        pre_stop: Some(run(&[&drain[..], &idle[..]].concat())),
        ..Lifecycle::default()
    }
}

fn milliseconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// The volumes of the proxy: the mesh's root, a token for the authority, and what the pod is.
pub(super) fn volumes() -> Vec<Volume> {
    let root = Volume {
        name: "istiod-ca-cert".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: "istio-ca-root-cert".to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let token = Volume {
        name: "istio-token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(TOKEN_AUDIENCE.to_owned()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "istio-token".to_owned(),
                }),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    };
    let file = |path: &str, field: &str| DownwardAPIVolumeFile {
        path: path.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: None,
            field_path: field.to_owned(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let pod = Volume {
        name: "istio-podinfo".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![
                file("labels", "metadata.labels"),
                file("annotations", "metadata.annotations"),
            ]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    };
    vec![root, token, pod]
}

fn resources(resources: &Resources) -> ResourceRequirements {
    let map = |cpu: &str, memory: &str| {
        let pairs = [("cpu", cpu), ("memory", memory)];
        let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let map: BTreeMap<String, Quantity> = set
            .map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())))
            .collect();
        (!map.is_empty()).then_some(map)
    };
    ResourceRequirements {
        requests: map(&resources.cpu, &resources.memory),
        limits: map(&resources.cpu_limit, &resources.memory_limit),
        ..ResourceRequirements::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn from_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
