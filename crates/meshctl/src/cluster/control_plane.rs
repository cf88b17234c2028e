//! Finding the mesh's processes among the pods of a cluster.

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::pods::is_ready;
use crate::exit::Failure;
use crate::fetch::Server;
use crate::output;
use crate::pod_port::PodPort;

/// Selector of pilots of all revisions.
const PILOT: &str = "istio=pilot";
/// Selector of the collector.
const TELEMETRY: &str = "app=weft-telemetry";

/// `/debug/*`, `/version`, `/ready` and `/metrics` of pilot.
const PILOT_PORT: u16 = 15014;
/// Page and `/api/*` of telemetry.
const TELEMETRY_PORT: u16 = 20001;
/// Admin pages of a proxy, on loopback of its pod.
const ADMIN_PORT: u16 = 15000;

/// The container that is a proxy, injected or a gateway.
pub(crate) const PROXY_CONTAINER: &str = "istio-proxy";

/// The mesh of a cluster.
pub(crate) struct ControlPlane {
    pub(crate) client: Client,
    /// Where its Deployments are.
    pub(crate) namespace: String,
}

/// A pod as a user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

// === impl ControlPlane ===

impl ControlPlane {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self { client, namespace }
    }

    /// The pilots that are ready, by pod.
    pub(crate) async fn pilots(&self) -> anyhow::Result<Vec<(String, Server)>> {
        let pods = self.ready(PILOT, "pilot").await?;
        let server = |pod: Pod| (pod.name_any(), Server::Pod(self.port(&pod, PILOT_PORT)));
        Ok(pods.into_iter().map(server).collect())
    }

    /// A collector that is ready.
    pub(crate) async fn telemetry(&self) -> anyhow::Result<PodPort> {
        let pods = self.ready(TELEMETRY, "telemetry").await?;
        let pod = pods.first().context("no pod")?;
        Ok(self.port(pod, TELEMETRY_PORT))
    }

    /// Admin pages of the proxy in a pod.
    pub(crate) async fn admin(&self, name: &str, namespace: Option<&str>) -> anyhow::Result<PodPort> {
        let pod = self.proxied(name, namespace).await?;
        Ok(self.port(&pod, ADMIN_PORT))
    }

    /// Admin pages of the proxy in a pod of that name.
    pub(crate) fn admin_of(&self, namespace: &str, pod: &str) -> PodPort {
        PodPort {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            port: ADMIN_PORT,
        }
    }

    /// The pod with a proxy that a user means: by its own name, or by that of its workload.
    pub(crate) async fn proxied(&self, text: &str, namespace: Option<&str>) -> anyhow::Result<Pod> {
        let meant = PodName::new(text, namespace, self.client.default_namespace());
        let mut found = self.pods_named(&meant).await?;
        found.retain(|pod| containers(pod).any(|name| name == PROXY_CONTAINER));
        if found.len() > 1 {
            let names: Vec<String> = found.iter().map(Pod::name_any).collect();
            output::say(&format!(
                "{text} has several pods ({}); showing {}",
                names.join(", "),
                names[0]
            ));
        }
        match found.into_iter().next() {
            Some(pod) => Ok(pod),
            None => bail!(
                "there is no pod or workload {} with a proxy in namespace {}; name another by NAME.NAMESPACE or -n, and see \
                 which proxies there are with meshctl proxy-status",
                meant.name,
                meant.namespace
            ),
        }
    }

    /// The pod of that name, or all pods of the workload of that name, those that are ready first.
    pub(crate) async fn pods_named(&self, meant: &PodName) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &meant.namespace);
        let pods = api.list(&ListParams::default()).await;
        let pods = pods.with_context(|| format!("cannot list the pods of namespace {}", meant.namespace))?;
        Ok(select(pods.items, &meant.name))
    }

    /// All pods of a selector in the namespace of the control plane, by name.
    pub(crate) async fn part(&self, selector: &str) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = api.list(&ListParams::default().labels(selector)).await;
        let list = list.with_context(|| format!("cannot list the pods of namespace {}", self.namespace))?;
        let mut pods = list.items;
        pods.sort_by_key(Pod::name_any);
        Ok(pods)
    }

    /// [`Self::part`], those that are ready; none is an error.
    async fn ready(&self, selector: &str, what: &str) -> anyhow::Result<Vec<Pod>> {
        let namespace = &self.namespace;
        let all = self.part(selector).await?;
        let count = all.len();
        let ready: Vec<Pod> = all.into_iter().filter(is_ready).collect();
        if !ready.is_empty() {
            return Ok(ready);
        }
        let message = match count {
            0 => format!(
                "no {what} runs in namespace {namespace} of the cluster; install the mesh with meshctl install, or name the \
                 namespace of its control plane by --system-namespace"
            ),
            count => format!("none of {count} pods of {what} in namespace {namespace} is ready; see meshctl check"),
        };
        Err(Failure::failed(message).into())
    }

    fn port(&self, pod: &Pod, port: u16) -> PodPort {
        PodPort {
            client: self.client.clone(),
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            port,
        }
    }
}

// === impl PodName ===

impl PodName {
    /// Reads `NAME`, `NAME.NAMESPACE` or `deploy/NAME`. A namespace beside it leaves the dots of the name alone.
    pub(crate) fn new(text: &str, namespace: Option<&str>, default: &str) -> Self {
        let text = text.rsplit_once('/').map_or(text, |(_, name)| name);
        let (name, namespace) = match (namespace, text.rsplit_once('.')) {
            (Some(namespace), _) => (text, namespace),
            (None, Some((name, namespace))) => (name, namespace),
            (None, None) => (text, default),
        };
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        }
    }
}

fn select(pods: Vec<Pod>, name: &str) -> Vec<Pod> {
    if let Some(pod) = pods.iter().find(|pod| pod.name_any() == name) {
        return vec![pod.clone()];
    }
    let mut of_workload: Vec<Pod> = pods
        .into_iter()
        .filter(|pod| workload(pod).as_deref() == Some(name))
        .collect();
    of_workload.sort_by_key(|pod| (!is_ready(pod), pod.name_any()));
    of_workload
}

/// Name of the Deployment, or of what else controls a pod.
fn workload(pod: &Pod) -> Option<String> {
    owner(pod).map(|(_, name)| name)
}

/// Kind and name of what controls a pod; a Deployment rather than its ReplicaSet, whose name has a hash at the end.
pub(crate) fn owner(pod: &Pod) -> Option<(String, String)> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    let hash = pod.labels().get("pod-template-hash");
    match hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())) {
        Some(rest) => Some(("Deployment".to_owned(), rest.trim_end_matches('-').to_owned())),
        None => Some((owner.kind.clone(), owner.name.clone())),
    }
}

/// Names of all containers that run as long as the pod; native sidecars are among those that start it.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.as_ref();
    let of_init = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let of_init = of_init.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let others = spec.into_iter().flat_map(|spec| &spec.containers);
    of_init.chain(others).map(|container| container.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_pods() {
        #[track_caller]
        fn check(text: &str, namespace: Option<&str>, expected: (&str, &str)) {
            let found = PodName::new(text, namespace, "default");
            assert_eq!((found.name.as_str(), found.namespace.as_str()), expected, "{text}");
        }
        check("caller", None, ("caller", "default"));
        check("caller.prod", None, ("caller", "prod"));
        check("caller.v1.prod", None, ("caller.v1", "prod"));
        check("caller.v1", Some("prod"), ("caller.v1", "prod"));
        check("deploy/caller", None, ("caller", "default"));
        check("deployment/caller.prod", None, ("caller", "prod"));
    }

    fn pod(name: &str, owner: &str, ready: &str) -> Pod {
        let pod = json!({
            "metadata": {"name": name, "labels": {"pod-template-hash": "7d9f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "1", "controller": true}]},
            "spec": {"containers": [{"name": "app"}],
                "initContainers": [{"name": "istio-init"}, {"name": "istio-proxy", "restartPolicy": "Always"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn pods_are_found_by_name_or_workload() {
        let pods = vec![
            pod("caller-7d9f-a", "caller-7d9f", "False"),
            pod("caller-7d9f-b", "caller-7d9f", "True"),
            pod("callme-v1-7d9f-c", "callme-v1-7d9f", "True"),
            pod("db-0", "db", "True"),
        ];
        #[track_caller]
        fn check(pods: &[Pod], name: &str, expected: &[&str]) {
            let found: Vec<String> = select(pods.to_vec(), name).iter().map(Pod::name_any).collect();
            assert_eq!(found, expected, "{name}");
        }
        check(&pods, "caller-7d9f-a", &["caller-7d9f-a"]);
        check(&pods, "caller", &["caller-7d9f-b", "caller-7d9f-a"]);
        check(&pods, "callme-v1", &["callme-v1-7d9f-c"]);
        check(&pods, "callme", &[]);
        check(&pods, "db", &["db-0"]);
    }

    #[test]
    fn native_sidecars_are_containers() {
        let pod = pod("a", "b", "True");
        assert_eq!(containers(&pod).collect::<Vec<_>>(), ["istio-proxy", "app"]);
    }
}
