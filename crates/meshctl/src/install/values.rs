//! What an installation can be told: a profile, changed by `--set` and value files. A name that does not exist is an error.

mod check;
mod given;
mod layers;

pub(crate) use self::given::listed;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_mesh::inject::{Resources, Settings};
use weft_proto::defaults::SYSTEM_NAMESPACE;

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
    /// Whether pilot serves discovery in plaintext as well, to anybody who reaches it; never key material.
    pub(crate) plaintext_discovery: bool,
    /// Further namespaces with gateways: pilot may read the Secrets there, as in its own.
    pub(crate) gateway_namespaces: Vec<String>,
    pub(crate) pilot: Component,
    pub(crate) citadel: Component,
    pub(crate) telemetry: Component,
    pub(crate) ingress_gateway: Gateway,
    /// Settings of the injector. Image, addresses, revision and trust domain follow from the values above.
    pub(crate) proxy: Settings,
    /// What was said, apart from the revision: the profile, and what differs from it.
    #[serde(skip)]
    pub(crate) given: Value,
}

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
        Self::over(Vec::new(), files, sets)
    }

    /// The same over layers that are there already, each with a name for people.
    pub(crate) fn over(mut layers: Vec<(String, Value)>, files: &[PathBuf], sets: &[String]) -> anyhow::Result<Self> {
        for path in files {
            layers.push((path.display().to_string(), layers::read(path)?));
        }
        let profile = layers::profile_of(&layers, sets).unwrap_or_else(|| "default".to_owned());
        let mut values = serde_json::to_value(Self::profile(&profile)?)?;
        let profiled = values.clone();
        for (file, layer) in layers {
            layers::merge(&mut values, layer, &file, "")?;
        }
        for set in sets {
            let (path, text) = set
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {set}: write it as key=value")))?;
            layers::assign(&mut values, path, text)?;
        }
        let given = given::given(&profiled, &values);
        let mut values: Self =
            serde_json::from_value(values).map_err(|error| Failure::usage(format!("values: {error}")))?;
        values.given = given;
        check::check(&values)?;
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
            namespace: SYSTEM_NAMESPACE.to_owned(),
            root_namespace: "istio-system".to_owned(),
            revision: "default".to_owned(),
            hub: "weft".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            image_pull_policy: String::new(),
            trust_domain: "cluster.local".to_owned(),
            log_level: "info".to_owned(),
            access_log_file: String::new(),
            trace_sampling: 1.0,
            plaintext_discovery: false,
            gateway_namespaces: Vec::new(),
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
            given: Value::Null,
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
            "traceSampling=0.5",
        ])
        .unwrap();
        assert!((set.trace_sampling - 0.5).abs() < f64::EPSILON);
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
        wrong(&["pilot.replicas=many"], "is not a whole number");
        wrong(&["traceSampling=NaN"], "is not a number");
        wrong(&["traceSampling=101"], "from 0 to 100");
        wrong(&["gatewayNamespaces=edge,weft-system"], "gatewayNamespaces[1]");
        wrong(&["pilot=3"], "name one of them");
        wrong(&["hub.x=3"], "has no fields");
        wrong(&["revision=A b"], "lower-case");
        wrong(&["pilot.enabled=false"], "nothing works without it");
        wrong(&["tag"], "key=value");
        wrong(
            &["pilot.replicas=3000000000"],
            "pilot.replicas: 3000000000 must be from 1 to 100",
        );
        wrong(&["citadel.replicas=0"], "citadel.replicas: 0");
        wrong(
            &["pilot.resources.cpu=banana"],
            "pilot.resources.cpu: \"banana\" is not a quantity such as 100m or 2",
        );
        wrong(
            &["ingressGateway.resources.memoryLimit="],
            "memoryLimit: \"\" is not a quantity",
        );
        wrong(&["telemetry.resources.memory=1Gi"], "is more than memoryLimit, 512Mi");
        wrong(&["pilot.resources.cpu=0"], "pilot.resources.cpu: 0 is nothing");
        wrong(&["pilot.resources.cpu=1Gi"], "is not a quantity");
        wrong(&["hub="], "hub: \"\" must be");
        wrong(&["hub=https://registry"], "hub: ");
        wrong(&["tag="], "tag: \"\" must be");
        wrong(&["tag=sha256:0"], "tag: ");
        wrong(&[&format!("tag={}", "1".repeat(64))], "at most 63");
        wrong(&["namespace=kube-system"], "namespace: kube-system is Kubernetes' own");
        wrong(&["namespace=default"], "such as weft-system");
        wrong(
            &["proxy.caAddress=a:1"],
            "proxy.caAddress cannot be set: it follows from namespace",
        );
        wrong(&["proxy.trustDomain=a"], "follows from trustDomain");
        wrong(&["proxy.nativeSidecar=maybe"], "is not true or false");
        assert!(
            values(&["proxy.resources.cpuLimit="]).is_ok(),
            "the injector leaves it out"
        );
    }

    /// What a file with this text makes of the values.
    fn filed(text: &str) -> anyhow::Result<Values> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("values.yaml");
        std::fs::write(&path, text).unwrap();
        Values::new(&[path], &[])
    }

    #[test]
    fn files_keep_types_and_may_be_empty() {
        for empty in ["", "# nothing\n", "---\n", "pilot:\n"] {
            assert_eq!(filed(empty).unwrap(), values(&[]).unwrap(), "{empty:?}");
        }
        let set = filed(
            "pilot: {replicas: 3}\ntraceSampling: 10\nproxy: {nativeSidecar: false}\ngatewayNamespaces: [edge]\n",
        );
        let set = set.unwrap();
        assert_eq!((set.pilot.replicas, set.proxy.native_sidecar), (3, false));
        assert_eq!(set.gateway_namespaces, ["edge"]);

        #[track_caller]
        fn wrong(text: &str, part: &str) {
            let error = filed(text).unwrap_err().to_string();
            assert!(error.contains("values.yaml: ") && error.contains(part), "{error}");
        }
        wrong("tag: 1.20\n", "tag: 1.2 is not text; put it in quotes");
        wrong(
            "pilot: {replicas: many}\n",
            "pilot.replicas: \"many\" is not a whole number",
        );
        wrong("pilot: {replicas: 1.5}\n", "is not a whole number");
        wrong(
            "pilot: {enabled: \"true\"}\n",
            "pilot.enabled: \"true\" is not true or false",
        );
        wrong("pilot: 3\n", "pilot: 3 is not a set of fields");
        wrong("gatewayNamespaces: edge\n", "is not a list of names");
        wrong("traceSampling: all\n", "is not a number");
        wrong("proxy: {revision: a}\n", "proxy.revision cannot be set");
        wrong("[a]\n", "is no set of fields");
    }
}
