//! Users' workloads that get proxies: those of which no replica, or not every one, is ready.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use weft_mesh::inject::{Decision, Scope, Settings, decide};

use super::NAMED_MAX;
use crate::cluster::{PROXY_CONTAINER, all, containers, stuck, trouble_of};
use crate::install::{Finding, Mark, OWNED};

const CATEGORY: &str = "workloads";

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug)]
struct Workload {
    kind: &'static str,
    namespace: String,
    name: String,
    ready: i32,
    wanted: i32,
    selector: LabelSelector,
    template: PodTemplateSpec,
    conditions: Vec<DeploymentCondition>,
    /// Part of an installation of the mesh, which has findings of its own.
    is_ours: bool,
}

/// What the injector chooses pods by: labels of the namespace, and of the pod.
#[derive(Debug)]
struct Hook {
    namespaces: Selector,
    pods: Selector,
}

/// Looks at all workloads whose pods get a proxy, or bring one.
pub(super) async fn findings(client: &Client) -> anyhow::Result<Vec<Finding>> {
    let hooks = hooks(client).await?;
    let of_namespaces: BTreeMap<String, BTreeMap<String, String>> = all::<Namespace>(client)
        .await?
        .into_iter()
        // What is in a namespace that is being deleted ends by intention, its pods first.
        .filter(|namespace| namespace.meta().deletion_timestamp.is_none())
        .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
        .collect();
    let mut workloads = workloads(client).await?;
    workloads.retain(|workload| {
        let labels = of_namespaces.get(&workload.namespace);
        let has_proxy = |labels| has_proxy(workload, labels, &hooks);
        !workload.is_ours && workload.wanted > 0 && labels.is_some_and(has_proxy)
    });
    let mut findings = Vec::new();
    let mut ready = 0;
    for workload in &workloads {
        if workload.ready >= workload.wanted {
            ready += 1;
        } else if findings.len() < NAMED_MAX {
            findings.push(unready(client, workload).await);
        }
    }
    let unnamed = workloads.len() - ready - findings.len();
    if unnamed > 0 {
        let hint = "kubectl get deployments,statefulsets,daemonsets -A shows them";
        findings.push(Finding::new(CATEGORY, Mark::Bad, format!("and {unnamed} more"), hint));
    }
    if ready > 0 {
        let text = match (ready, workloads.len()) {
            (1, 1) => "the workload with a proxy is ready".to_owned(),
            (ready, all) if ready == all => format!("all {all} workloads with proxies are ready"),
            (ready, all) => format!("{ready} of {all} workloads with proxies are ready"),
        };
        findings.insert(0, Finding::new(CATEGORY, Mark::Good, text, ""));
    }
    Ok(findings)
}

async fn unready(client: &Client, workload: &Workload) -> Finding {
    let Workload {
        kind,
        namespace,
        name,
        ready,
        wanted,
        ..
    } = workload;
    let text = format!("{kind} {namespace}/{name}: {ready} of {wanted} pods ready");
    let mark = if *ready == 0 { Mark::Bad } else { Mark::Doubtful };
    let reason = trouble_of(client, namespace, &workload.selector)
        .await
        .into_iter()
        .next();
    let reason = reason.or_else(|| stuck(&workload.conditions));
    let hint = reason.unwrap_or_else(|| format!("see kubectl describe {} -n {namespace} {name}", kind.to_lowercase()));
    Finding::new(CATEGORY, mark, text, hint)
}

/// Whether pods of a workload have a proxy: their template brings one, or the injector chooses them and they do not refuse.
fn has_proxy(workload: &Workload, namespace: &BTreeMap<String, String>, hooks: &[Hook]) -> bool {
    let pod = Pod {
        metadata: workload.template.metadata.clone().unwrap_or_default(),
        spec: workload.template.spec.clone(),
        status: None,
    };
    if containers(&pod).any(|name| name == PROXY_CONTAINER) {
        return true;
    }
    let chosen = hooks
        .iter()
        .any(|hook| hook.namespaces.matches(namespace) && hook.pods.matches(pod.labels()));
    chosen && decide(&pod, &workload.namespace, Scope::Selected, &Settings::default()) == Decision::Inject
}

/// The injectors of all revisions.
async fn hooks(client: &Client) -> anyhow::Result<Vec<Hook>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let mut hooks = Vec::new();
    for configuration in api.list(&ListParams::default().labels(&selector)).await? {
        for hook in configuration.webhooks.into_iter().flatten() {
            hooks.push(Hook {
                namespaces: hook.namespace_selector.unwrap_or_default().try_into()?,
                pods: hook.object_selector.unwrap_or_default().try_into()?,
            });
        }
    }
    Ok(hooks)
}

async fn workloads(client: &Client) -> anyhow::Result<Vec<Workload>> {
    let mut found: Vec<Workload> = Vec::new();
    found.extend(all::<Deployment>(client).await?.into_iter().map(deployment));
    found.extend(all::<StatefulSet>(client).await?.into_iter().map(stateful_set));
    found.extend(all::<DaemonSet>(client).await?.into_iter().map(daemon_set));
    Ok(found)
}

/// What is the same of all kinds; the numbers are those of one that wants no pod.
fn workload<K: Resource<DynamicType = ()> + Debug + DeserializeOwned>(kind: &'static str, object: &K) -> Workload {
    Workload {
        kind,
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        ready: 0,
        wanted: 0,
        selector: LabelSelector::default(),
        template: PodTemplateSpec::default(),
        conditions: Vec::new(),
        is_ours: OWNED
            .iter()
            .all(|(key, value)| object.labels().get(*key).is_some_and(|own| own == value)),
    }
}

fn deployment(object: Deployment) -> Workload {
    let found = workload("Deployment", &object);
    let status = object.status.unwrap_or_default();
    let Some(spec) = object.spec else { return found };
    Workload {
        ready: status.ready_replicas.unwrap_or(0),
        wanted: spec.replicas.unwrap_or(1),
        selector: spec.selector,
        template: spec.template,
        conditions: status.conditions.unwrap_or_default(),
        ..found
    }
}

fn stateful_set(object: StatefulSet) -> Workload {
    let found = workload("StatefulSet", &object);
    let Some(spec) = object.spec else { return found };
    Workload {
        ready: object.status.and_then(|status| status.ready_replicas).unwrap_or(0),
        wanted: spec.replicas.unwrap_or(1),
        selector: spec.selector,
        template: spec.template,
        ..found
    }
}

fn daemon_set(object: DaemonSet) -> Workload {
    let found = workload("DaemonSet", &object);
    let Some(spec) = object.spec else { return found };
    let status = object.status.unwrap_or_default();
    Workload {
        ready: status.number_ready,
        wanted: status.desired_number_scheduled,
        selector: spec.selector,
        template: spec.template,
        ..found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hook(namespaces: Value, pods: Value) -> Hook {
        let selector = |value: Value| -> Selector {
            let selector: LabelSelector = serde_json::from_value(value).unwrap();
            selector.try_into().unwrap()
        };
        Hook {
            namespaces: selector(namespaces),
            pods: selector(pods),
        }
    }

    #[track_caller]
    fn check(namespace: Value, template: Value, expected: bool) {
        let hooks = [
            hook(
                json!({"matchExpressions": [{"key": "istio-injection", "operator": "In", "values": ["enabled"]}]}),
                json!({"matchExpressions": [{"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]}),
            ),
            hook(
                json!({"matchExpressions": [{"key": "istio-injection", "operator": "DoesNotExist"}]}),
                json!({"matchLabels": {"sidecar.istio.io/inject": "true"}}),
            ),
        ];
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {}, "template": template},
        });
        let workload = deployment(serde_json::from_value(object).unwrap());
        assert_eq!((workload.wanted, workload.ready), (1, 0));
        let namespace: BTreeMap<String, String> = serde_json::from_value(namespace).unwrap();
        assert_eq!(
            has_proxy(&workload, &namespace, &hooks),
            expected,
            "{namespace:?} {template}"
        );
    }

    #[test]
    fn workloads_have_proxies_by_the_injectors_rules() {
        let app = json!({"containers": [{"name": "app"}]});
        let plain = json!({"spec": app});
        check(json!({"istio-injection": "enabled"}), plain.clone(), true);
        check(json!({"istio-injection": "disabled"}), plain.clone(), false);
        check(json!({}), plain, false);
        let labelled = |value: &str| json!({"metadata": {"labels": {"sidecar.istio.io/inject": value}}, "spec": app});
        check(json!({}), labelled("true"), true);
        check(json!({"istio-injection": "enabled"}), labelled("false"), false);
        let annotated = json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": app});
        check(json!({"istio-injection": "enabled"}), annotated, false);
        let host = json!({"spec": {"hostNetwork": true, "containers": [{"name": "app"}]}});
        check(json!({"istio-injection": "enabled"}), host, false);
        let by_hand = json!({"spec": {"containers": [{"name": "app"}],
            "initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]}});
        check(json!({}), by_hand, true);
    }
}
