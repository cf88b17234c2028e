//! Readers of the Kubernetes kinds that describe what runs: Pod, EndpointSlice.
//!
//! Kubernetes itself checks these objects, and they have many more fields than the mesh needs, so unknown ones are passed over.

use std::net::IpAddr;

use super::fields::Fields;
use super::report::Report;
use super::tree::{Node, Value};
use crate::endpoint_slice::{EndpointSlice, SliceEndpoint, SlicePort};
use crate::local_workload::Role;
use crate::meta::Meta;
use crate::pod::{ContainerPort, Pod, PodProxy};

/// Container of the injected proxy (Istio's name, which tools look for).
const PROXY_CONTAINER: &str = "istio-proxy";

/// Label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the metadata of a pod say beyond name and labels.
#[derive(Debug, Default)]
struct Ownership {
    uid: String,
    controller: Option<(String, String)>,
    terminating: bool,
}

/// What the containers of a pod say together.
#[derive(Debug, Default)]
struct Containers {
    ports: Vec<ContainerPort>,
    /// The proxy container and whether it runs as a gateway.
    proxy: Option<Role>,
    /// The proxy is an ordinary container.
    ordinary_proxy: bool,
    /// Names of the application's containers.
    applications: Vec<String>,
    /// One of them has rules of its own for when it is started again.
    own_restarts: bool,
}

/// What the status of a pod says.
#[derive(Debug, Default)]
struct Status {
    ips: Vec<IpAddr>,
    ready: bool,
    finished: bool,
    /// Containers that have ended, by name, with their exit codes.
    ended: Vec<(String, i64)>,
}

/// Reads a Pod from the whole document.
pub(super) fn pod(fields: &mut Fields<'_, '_>, meta: &Meta) -> Pod {
    let ownership = fields.with("metadata", ownership).flatten().unwrap_or_default();
    let spec = lenient(fields, "spec", |f| {
        let mut containers = Containers::default();
        for list in ["initContainers", "containers"] {
            f.list(list, |report, node| {
                report.map(node, |f| containers.read(f, list == "containers"))
            });
        }
        let account = f.text("serviceAccountName").filter(|name| !name.is_empty());
        (
            containers,
            account.unwrap_or_else(|| "default".to_owned()),
            f.text("nodeName").unwrap_or_default(),
            f.flag("hostNetwork") == Some(true),
            f.text("restartPolicy").unwrap_or_default(),
        )
    });
    let (containers, service_account, node, host_network, restarts) = spec.unwrap_or_else(|| {
        (
            Containers::default(),
            "default".to_owned(),
            String::new(),
            false,
            String::new(),
        )
    });
    let status = lenient(fields, "status", status).unwrap_or_default();
    let pod = Pod {
        uid: ownership.uid.clone(),
        application_ended: containers.application_ended(&restarts, &status.ended),
        ips: status.ips,
        node,
        service_account,
        workload_name: workload_name(meta, &ownership),
        proxy: proxy(meta, &containers, host_network),
        ports: containers.ports,
        host_network,
        ready: status.ready,
        terminating: ownership.terminating,
        finished: status.finished,
    };
    fields.ignore_rest();
    pod
}

/// A nested map of which only some fields are of interest.
fn lenient<T>(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
) -> Option<T> {
    fields.map(name, |f| {
        let result = read(f);
        f.ignore_rest();
        result
    })
}

fn ownership(report: &mut Report, node: &Node) -> Option<Ownership> {
    report.map(node, |f| {
        let mut controller = None;
        f.list("ownerReferences", |report, node| {
            report.map(node, |f| {
                let (kind, name) = (f.text("kind").unwrap_or_default(), f.text("name").unwrap_or_default());
                if f.flag("controller") == Some(true) {
                    controller = Some((kind, name));
                }
                f.ignore_rest();
            })
        });
        let terminating = f.get("deletionTimestamp").is_some();
        let uid = f.text("uid").unwrap_or_default();
        f.ignore_rest();
        Ownership {
            uid,
            controller,
            terminating,
        }
    })
}

fn status(fields: &mut Fields<'_, '_>) -> Status {
    let mut ips = Vec::new();
    let primary = fields.text("podIP");
    let all = fields.list("podIPs", |report, node| {
        report.map(node, |f| f.text("ip").unwrap_or_default())
    });
    for ip in primary.into_iter().chain(all).filter_map(|text| text.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    let mut ready = false;
    fields.list("conditions", |report, node| {
        report.map(node, |f| {
            if f.text("type").as_deref() == Some("Ready") {
                ready = f.text("status").as_deref() == Some("True");
            }
            f.ignore_rest();
        })
    });
    let finished = matches!(fields.text("phase").as_deref(), Some("Succeeded" | "Failed"));
    let statuses = fields.list("containerStatuses", |report, node| {
        report.map(node, container_status).flatten()
    });
    Status {
        ips,
        ready,
        finished,
        ended: statuses.into_iter().collect(),
    }
}

/// Name and exit code of a container that has ended and not been started again yet.
fn container_status(fields: &mut Fields<'_, '_>) -> Option<(String, i64)> {
    let name = fields.text("name").unwrap_or_default();
    let code = lenient(fields, "state", |f| scalar(f.get("terminated")?, "exitCode"));
    fields.ignore_rest();
    Some((name, code.flatten()?.parse().ok()?))
}

impl Containers {
    fn read(&mut self, fields: &mut Fields<'_, '_>, application: bool) {
        let name = fields.text("name").unwrap_or_default();
        let args = fields.texts("args");
        let command = fields.texts("command");
        let ports = fields.list("ports", |report, node| report.map(node, container_port).flatten());
        if application && name != PROXY_CONTAINER {
            self.own_restarts |= fields.get("restartPolicy").is_some() || fields.get("restartPolicyRules").is_some();
            self.applications.push(name.clone());
        }
        if name == PROXY_CONTAINER {
            self.ordinary_proxy = application;
            let gateway = command
                .iter()
                .chain(&args)
                .any(|word| matches!(word.as_str(), "gateway" | "router"));
            self.proxy = Some(if gateway { Role::Gateway } else { Role::Sidecar });
        }
        // An init container that is restarted always runs beside the others (Kubernetes, "Sidecar Containers").
        let runs_on = application || fields.text("restartPolicy").as_deref() == Some("Always");
        if runs_on {
            self.ports.extend(ports);
        }
        fields.ignore_rest();
    }

    /// Whether all containers but the proxy have ended for good: under `Never` in any way, under `OnFailure` without an error, as
    /// one that failed is started again. Under `Always`, the default, none ever does.
    fn application_ended(&self, restarts: &str, ended: &[(String, i64)]) -> bool {
        let for_good = |code: i64| match restarts {
            "Never" => true,
            "OnFailure" => code == 0,
            _ => false,
        };
        let has_ended = |name: &String| ended.iter().any(|(own, code)| own == name && for_good(*code));
        self.ordinary_proxy
            && !self.own_restarts
            && !self.applications.is_empty()
            && self.applications.iter().all(has_ended)
    }
}

fn container_port(fields: &mut Fields<'_, '_>) -> Option<ContainerPort> {
    let name = fields.text("name").unwrap_or_default();
    let port = fields.port("containerPort");
    let tcp = fields.text("protocol").is_none_or(|protocol| protocol == "TCP");
    fields.ignore_rest();
    Some(ContainerPort { name, port: port? }).filter(|_| tcp)
}

/// Whether a proxy stands in front: its container is there. A pod on the node's network is never redirected.
fn proxy(meta: &Meta, containers: &Containers, host_network: bool) -> Option<PodProxy> {
    let role = containers.proxy?;
    let mode = meta.annotations.get("sidecar.istio.io/interceptionMode");
    let redirected = mode.is_none_or(|mode| mode == "REDIRECT");
    Some(PodProxy {
        role,
        captured: role == Role::Sidecar && redirected && !host_network,
    })
}

/// The name of the controller as people know it: a Deployment's ReplicaSet and a CronJob's Job lose what was appended.
fn workload_name(meta: &Meta, ownership: &Ownership) -> String {
    let explicit = meta.labels.get("service.istio.io/workload-name");
    if let Some(name) = explicit.filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let Some((kind, name)) = &ownership.controller else {
        return meta.name.to_string();
    };
    let hash = meta.labels.get("pod-template-hash");
    let shortened = match (kind.as_str(), hash) {
        ("ReplicaSet", Some(hash)) => name.strip_suffix(hash.as_str()).and_then(|name| name.strip_suffix('-')),
        // A CronJob's Jobs end in the minute for which they were made.
        ("Job", _) => name
            .rsplit_once('-')
            .filter(|(_, time)| time.len() >= 8 && time.bytes().all(|b| b.is_ascii_digit()))
            .map(|(name, _)| name),
        _ => None,
    };
    shortened.filter(|name| !name.is_empty()).unwrap_or(name).to_owned()
}

/// Reads an EndpointSlice from the whole document. Slices of names (`FQDN`) have no addresses and so no endpoints.
pub(super) fn endpoint_slice(fields: &mut Fields<'_, '_>, meta: &Meta) -> EndpointSlice {
    let ports = fields.list("ports", |report, node| report.map(node, slice_port).flatten());
    let endpoints = fields.list("endpoints", |report, node| report.map(node, slice_endpoints));
    fields.ignore_rest();
    EndpointSlice {
        service: meta.labels.get(SERVICE_NAME).cloned().unwrap_or_default(),
        ports,
        endpoints: endpoints.into_iter().flatten().collect(),
    }
}

fn slice_port(fields: &mut Fields<'_, '_>) -> Option<SlicePort> {
    let name = fields.text("name").unwrap_or_default();
    let port = fields.port("port");
    let tcp = fields.text("protocol").is_none_or(|protocol| protocol == "TCP");
    fields.ignore_rest();
    Some(SlicePort { name, port: port? }).filter(|_| tcp)
}

fn slice_endpoints(fields: &mut Fields<'_, '_>) -> Vec<SliceEndpoint> {
    let addresses = fields.texts("addresses");
    let node = fields.text("nodeName").unwrap_or_default();
    let (ready, serving, terminating) = lenient(fields, "conditions", |f| {
        (f.flag("ready"), f.flag("serving"), f.flag("terminating"))
    })
    .unwrap_or_default();
    let ready = ready.unwrap_or(true);
    let pod = lenient(fields, "targetRef", |f| {
        let name = f.text("name");
        name.filter(|_| f.text("kind").as_deref() == Some("Pod"))
    })
    .flatten();
    fields.ignore_rest();
    addresses
        .iter()
        .filter_map(|address| address.parse().ok())
        .map(|address| SliceEndpoint {
            address,
            ready,
            serving: serving.unwrap_or(ready),
            terminating: terminating.unwrap_or(false),
            pod: pod.clone(),
            node: node.clone(),
        })
        .collect()
}

/// A scalar field of a map.
fn scalar(node: &Node, name: &str) -> Option<String> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let found = entries.iter().find(|entry| entry.key == name)?;
    match &found.node.value {
        Value::Scalar { text, .. } => Some(text.clone()),
        Value::List(_) | Value::Map(_) => None,
    }
}
