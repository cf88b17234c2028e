//! What an installation can be told: a profile, changed by `--set` and value files. A name that does not exist is an error.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_api::suggest::nearest;
use weft_pilot::inject::{Resources, Settings};

use crate::exit::Failure;

/// Ready-made sets of values.
pub(crate) const PROFILES: [&str; 3] = ["default", "demo", "minimal"];

/// Everything about an installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Values {
    /// Name of the profile that the values started from.
    pub(crate) profile: String,
    /// Namespace of the control plane.
    pub(crate) namespace: String,
    /// Namespace of mesh-wide objects.
    pub(crate) root_namespace: String,
    /// Revision of the control plane.
    pub(crate) revision: String,
    /// Registry and folder of the images.
    pub(crate) hub: String,
    /// Tag of the images.
    pub(crate) tag: String,
    /// `Always`, `IfNotPresent` or `Never`; empty leaves it to Kubernetes.
    pub(crate) image_pull_policy: String,
    /// Trust domain of all identities.
    pub(crate) trust_domain: String,
    /// Log level of the control plane.
    pub(crate) log_level: String,
    /// File of the proxies' access logs; empty for none.
    pub(crate) access_log_file: String,
    /// Percentage of the requests without a trace of their own that are traced, where telemetry is enabled.
    pub(crate) trace_sampling: f64,
    pub(crate) pilot: Component,
    pub(crate) citadel: Component,
    pub(crate) telemetry: Component,
    pub(crate) ingress_gateway: Gateway,
    /// Settings of the injector. Image, addresses, revision and trust domain follow from the values above.
    pub(crate) proxy: Settings,
}

/// One Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Component {
    pub(crate) enabled: bool,
    pub(crate) replicas: u32,
    pub(crate) resources: Resources,
}

/// The ingress gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Gateway {
    pub(crate) enabled: bool,
    pub(crate) replicas: u32,
    pub(crate) resources: Resources,
    /// Type of its Service: `LoadBalancer`, `NodePort` or `ClusterIP`.
    pub(crate) service_type: String,
}

// === impl Values ===

impl Values {
    /// The values of a profile, changed by files and then by `key=value` pairs.
    pub(crate) fn new(files: &[PathBuf], sets: &[String]) -> anyhow::Result<Self> {
        let mut layers = Vec::new();
        for path in files {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Failure::bad_data(format!("cannot read {}: {error}", path.display())))?;
            let layer: Value = serde_saphyr::from_str(&text)
                .map_err(|error| Failure::bad_data(format!("{}: {error}", path.display())))?;
            layers.push((path.display().to_string(), layer));
        }
        let profile = profile_of(&layers, sets).unwrap_or_else(|| "default".to_owned());
        let mut values = serde_json::to_value(Self::profile(&profile)?)?;
        for (file, layer) in layers {
            merge(&mut values, layer, &file, "")?;
        }
        for set in sets {
            let (path, text) = set
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {set}: write it as key=value")))?;
            assign(&mut values, path, text)?;
        }
        let values: Self =
            serde_json::from_value(values).map_err(|error| Failure::usage(format!("values: {error}")))?;
        values.check()?;
        Ok(values.settled())
    }

    fn profile(name: &str) -> anyhow::Result<Self> {
        let component = |enabled, replicas, cpu: &str, memory: &str, memory_limit: &str| Component {
            enabled,
            replicas,
            resources: Resources {
                cpu: cpu.to_owned(),
                cpu_limit: "2".to_owned(),
                memory: memory.to_owned(),
                memory_limit: memory_limit.to_owned(),
            },
        };
        let mut values = Self {
            profile: name.to_owned(),
            namespace: "weft-system".to_owned(),
            root_namespace: "istio-system".to_owned(),
            revision: "default".to_owned(),
            hub: "weft".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            image_pull_policy: String::new(),
            trust_domain: "cluster.local".to_owned(),
            log_level: "info".to_owned(),
            access_log_file: String::new(),
            trace_sampling: 1.0,
            pilot: component(true, 2, "200m", "128Mi", "2Gi"),
            citadel: component(true, 2, "50m", "32Mi", "256Mi"),
            telemetry: component(true, 1, "50m", "64Mi", "512Mi"),
            ingress_gateway: Gateway {
                enabled: true,
                replicas: 2,
                resources: Resources::default(),
                service_type: "LoadBalancer".to_owned(),
            },
            proxy: Settings::default(),
        };
        match name {
            "default" => {}
            "minimal" => {
                values.pilot.replicas = 1;
                values.citadel.replicas = 1;
                values.telemetry.enabled = false;
                values.ingress_gateway.enabled = false;
            }
            "demo" => {
                values.access_log_file = "/dev/stdout".to_owned();
                values.trace_sampling = 100.0;
                values.pilot.replicas = 1;
                values.citadel.replicas = 1;
                values.ingress_gateway.replicas = 1;
                for resources in [
                    &mut values.pilot.resources,
                    &mut values.citadel.resources,
                    &mut values.telemetry.resources,
                    &mut values.ingress_gateway.resources,
                    &mut values.proxy.resources,
                ] {
                    resources.cpu = "10m".to_owned();
                    resources.memory = "32Mi".to_owned();
                }
            }
            _ => {
                let message = format!("{name:?} is no profile; there are {}", PROFILES.join(", "));
                return Err(Failure::usage(message).into());
            }
        }
        Ok(values)
    }

    fn check(&self) -> anyhow::Result<()> {
        let label = |field: &str, text: &str| {
            let fits = (1..=40).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !text.starts_with('-')
                && !text.ends_with('-');
            fits.then_some(()).ok_or_else(|| {
                Failure::usage(format!(
                    "{field}: {text:?} must be lower-case letters, digits and dashes"
                ))
            })
        };
        label("namespace", &self.namespace)?;
        label("rootNamespace", &self.root_namespace)?;
        label("revision", &self.revision)?;
        if !["", "Always", "IfNotPresent", "Never"].contains(&self.image_pull_policy.as_str()) {
            return Err(Failure::usage("imagePullPolicy must be Always, IfNotPresent or Never").into());
        }
        if !["LoadBalancer", "NodePort", "ClusterIP"].contains(&self.ingress_gateway.service_type.as_str()) {
            return Err(
                Failure::usage("ingressGateway.serviceType must be LoadBalancer, NodePort or ClusterIP").into(),
            );
        }
        if !(0.0..=100.0).contains(&self.trace_sampling) {
            return Err(Failure::usage("traceSampling must be a percentage, from 0 to 100").into());
        }
        if self.trust_domain.parse::<weft_base::identity::TrustDomain>().is_err() {
            return Err(Failure::usage(format!("trustDomain: {:?} is no trust domain", self.trust_domain)).into());
        }
        if !self.pilot.enabled {
            return Err(Failure::usage("pilot cannot be left out: nothing works without it").into());
        }
        Ok(())
    }

    /// Fills in what follows from other values.
    fn settled(mut self) -> Self {
        let namespace = &self.namespace;
        self.proxy.revision.clone_from(&self.revision);
        self.proxy.trust_domain.clone_from(&self.trust_domain);
        self.proxy.image_pull_policy.clone_from(&self.image_pull_policy);
        self.proxy.discovery_address = format!("{}.{namespace}.svc:15012", self.revisioned("weft-pilot"));
        self.proxy.discovery_account = format!("{namespace}/weft-pilot");
        self.proxy.ca_address = format!("weft-citadel.{namespace}.svc:15012");
        if self.proxy.image == Settings::default().image {
            self.proxy.image = self.image("proxy");
        }
        self
    }

    /// Reference of one of our images.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.hub, self.tag)
    }

    /// A name with the revision, which the default revision has not.
    pub(crate) fn revisioned(&self, name: &str) -> String {
        match self.revision.as_str() {
            "default" => name.to_owned(),
            revision => format!("{name}-{revision}"),
        }
    }
}

fn profile_of(layers: &[(String, Value)], sets: &[String]) -> Option<String> {
    let set = sets.iter().rev().find_map(|set| set.strip_prefix("profile="));
    let filed = || {
        layers
            .iter()
            .rev()
            .find_map(|(_, layer)| layer.get("profile")?.as_str())
    };
    set.or_else(filed).map(str::to_owned)
}

/// Puts a layer over the values, whose names it must have.
fn merge(values: &mut Value, layer: Value, file: &str, path: &str) -> anyhow::Result<()> {
    match (values, layer) {
        (Value::Object(fields), Value::Object(layer)) => {
            for (name, value) in layer {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let unknown = unknown(fields.keys().map(String::as_str), &name, &path);
                let field = fields
                    .get_mut(&name)
                    .ok_or_else(|| Failure::bad_data(format!("{file}: {unknown}")))?;
                merge(field, value, file, &path)?;
            }
        }
        (values, layer) => *values = layer,
    }
    Ok(())
}

/// Sets one value, read as what the value there is.
fn assign(values: &mut Value, path: &str, text: &str) -> anyhow::Result<()> {
    let mut at = values;
    for name in path.split('.') {
        let Some(fields) = at.as_object_mut() else {
            return Err(Failure::usage(format!("--set {path}: {name} is below a value that has no fields")).into());
        };
        let unknown = unknown(fields.keys().map(String::as_str), name, path);
        at = fields
            .get_mut(name)
            .ok_or_else(|| Failure::usage(format!("--set {unknown}")))?;
    }
    let wrong = |what: &str| Failure::usage(format!("--set {path}: {text:?} is not {what}"));
    *at = match at {
        Value::Bool(_) => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
        Value::Number(_) => Value::from(text.parse::<u32>().map_err(|_| wrong("a number"))?),
        Value::Array(_) => text.split(',').filter(|item| !item.is_empty()).collect(),
        Value::Object(_) => return Err(wrong("a set of fields; name one of them").into()),
        Value::Null | Value::String(_) => Value::String(text.to_owned()),
    };
    Ok(())
}

fn unknown<'a>(known: impl Iterator<Item = &'a str>, name: &str, path: &str) -> String {
    match nearest(name, known) {
        Some(similar) => format!("{path}: there is no such value; did you mean {similar}?"),
        None => format!("{path}: there is no such value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(sets: &[&str]) -> anyhow::Result<Values> {
        Values::new(&[], &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_set_by_path_and_follow_each_other() {
        let set = values(&[
            "profile=minimal",
            "revision=canary",
            "pilot.replicas=3",
            "hub=registry.example.com/weft",
            "tag=7",
            "proxy.resources.cpu=5m",
            "ingressGateway.enabled=true",
            "proxy.imagePullSecrets=a,b",
        ])
        .unwrap();
        assert_eq!(set.pilot.replicas, 3);
        assert_eq!(set.proxy.image, "registry.example.com/weft/proxy:7");
        assert_eq!(set.proxy.discovery_address, "weft-pilot-canary.weft-system.svc:15012");
        assert_eq!(set.proxy.image_pull_secrets, ["a", "b"]);
        assert!(set.ingress_gateway.enabled && !set.telemetry.enabled);
    }

    #[test]
    fn mistakes_are_named() {
        #[track_caller]
        fn wrong(sets: &[&str], part: &str) {
            let error = values(sets).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        wrong(&["profile=big"], "default, demo, minimal");
        wrong(&["pilot.replica=3"], "did you mean replicas?");
        wrong(&["pilot.replicas=many"], "is not a number");
        wrong(&["pilot=3"], "name one of them");
        wrong(&["hub.x=3"], "has no fields");
        wrong(&["revision=A b"], "lower-case");
        wrong(&["pilot.enabled=false"], "nothing works without it");
        wrong(&["tag"], "key=value");
    }
}
