//! Whether a pod gets a proxy: labels of the namespace and the pod, in Istio's order of precedence.
//!
//! Istio, "Installing the Sidecar", section "Controlling the injection policy".

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::names as name;
use super::settings::Settings;

/// Namespaces whose pods run the cluster itself (Istio: `IgnoredNamespaces`).
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// How the caller came to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The webhook's selectors chose the namespace already; only the pod can still say no.
    Selected,
    /// Somebody named this pod: it is injected unless it says no.
    Named,
    /// The labels of the pod's namespace decide as well.
    Namespace(&'a BTreeMap<String, String>),
}

/// Whether a pod is injected, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets a proxy.
    Inject,
    /// It stays as it is.
    Skip(&'static str),
}

/// Decides for one pod.
pub fn decide(pod: &Pod, namespace: &str, scope: Scope<'_>, settings: &Settings) -> Decision {
    if SYSTEM_NAMESPACES.contains(&namespace) {
        return Decision::Skip("its namespace belongs to the cluster");
    }
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return Decision::Skip("it uses the node's network");
    }
    if is_injected(pod) {
        return Decision::Skip("it has a proxy already");
    }
    let labels = pod.metadata.labels.as_ref();
    let pod_label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let wish = wish(pod);
    if wish == Some(false) {
        return Decision::Skip("its sidecar.istio.io/inject is false");
    }
    match scope {
        Scope::Selected | Scope::Named => Decision::Inject,
        Scope::Namespace(of) => by_namespace(of, pod_label(name::REVISION), wish, settings),
    }
}

/// Istio's four webhooks as one function: the namespace's `istio-injection` is stronger than its `istio.io/rev`, and labels of the pod
/// count only where the namespace says nothing.
fn by_namespace(
    namespace: &BTreeMap<String, String>,
    pod_revision: Option<&str>,
    wish: Option<bool>,
    settings: &Settings,
) -> Decision {
    let ours = settings.revision.as_str();
    let default = ours == "default";
    match (
        namespace.get(name::INJECTION).map(String::as_str),
        namespace.get(name::REVISION),
    ) {
        (Some("enabled"), _) if default => Decision::Inject,
        (Some("enabled"), _) => Decision::Skip("its namespace takes the default revision"),
        (Some(_), _) => Decision::Skip("its namespace's istio-injection is not enabled"),
        (None, Some(revision)) if revision == ours => Decision::Inject,
        (None, Some(_)) => Decision::Skip("its namespace takes another revision"),
        (None, None) => match (pod_revision, wish) {
            (Some(revision), _) if revision == ours => Decision::Inject,
            (Some(_), _) => Decision::Skip("it takes another revision"),
            (None, Some(true)) if default => Decision::Inject,
            (None, None) if default && settings.enable_namespaces_by_default => Decision::Inject,
            (None, _) => Decision::Skip("neither it nor its namespace asks for a proxy"),
        },
    }
}

/// What the pod says itself; the label is stronger than the older annotation. Any other word counts as no answer, as in Istio.
fn wish(pod: &Pod) -> Option<bool> {
    let labels = pod.metadata.labels.as_ref();
    let annotations = pod.metadata.annotations.as_ref();
    let label = labels.and_then(|labels| labels.get(name::INJECT));
    let text = label.or_else(|| annotations.and_then(|annotations| annotations.get(name::INJECT)))?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A proxy is among the containers: an injected one, not a container of that name that asks to be completed, and not the annotation alone,
/// which is copied with a pod's text.
fn is_injected(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    annotations.is_some_and(|annotations| annotations.contains_key(name::STATUS))
        && containers
            .into_iter()
            .any(|container| container.name == name::PROXY_CONTAINER)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn pod(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Pod {
        Pod {
            metadata: ObjectMeta {
                labels: Some(map(labels)),
                annotations: Some(map(annotations)),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec::default()),
            status: None,
        }
    }

    #[track_caller]
    fn check(revision: &str, namespace: &[(&str, &str)], labels: &[(&str, &str)], expected: bool) {
        let settings = Settings {
            revision: revision.to_owned(),
            ..Settings::default()
        };
        let namespace_labels = map(namespace);
        let scope = Scope::Namespace(&namespace_labels);
        let decision = decide(&pod(labels, &[]), "shop", scope, &settings);
        assert_eq!(
            decision == Decision::Inject,
            expected,
            "{namespace:?} {labels:?}: {decision:?}"
        );
    }

    #[test]
    fn labels_have_istios_precedence() {
        const ON: (&str, &str) = ("istio-injection", "enabled");
        const OFF: (&str, &str) = ("istio-injection", "disabled");
        const YES: (&str, &str) = ("sidecar.istio.io/inject", "true");
        const NO: (&str, &str) = ("sidecar.istio.io/inject", "false");
        const CANARY: (&str, &str) = ("istio.io/rev", "canary");
        for (namespace, labels, default, canary) in [
            (vec![], vec![], false, false),
            (vec![ON], vec![], true, false),
            (vec![ON], vec![NO], false, false),
            (vec![OFF], vec![YES], false, false),
            (vec![OFF, CANARY], vec![], false, false),
            (vec![], vec![YES], true, false),
            (vec![], vec![NO], false, false),
            (vec![CANARY], vec![], false, true),
            (vec![CANARY], vec![NO], false, false),
            (vec![ON, CANARY], vec![], true, false),
            (vec![], vec![CANARY], false, true),
            (vec![], vec![CANARY, YES], false, true),
            (vec![], vec![CANARY, NO], false, false),
            (vec![ON], vec![CANARY], true, false),
        ] {
            check("default", &namespace, &labels, default);
            check("canary", &namespace, &labels, canary);
        }
    }

    #[test]
    fn some_pods_never_get_a_proxy() {
        let settings = Settings::default();
        let skips = |pod: &Pod, namespace: &str| {
            decide(pod, namespace, Scope::Selected, &settings) != Decision::Inject
                && decide(pod, namespace, Scope::Named, &settings) != Decision::Inject
        };
        let plain = pod(&[], &[]);
        assert!(!skips(&plain, "shop"));
        for namespace in SYSTEM_NAMESPACES {
            assert!(skips(&plain, namespace));
        }
        let mut host = plain;
        host.spec = Some(PodSpec {
            host_network: Some(true),
            ..PodSpec::default()
        });
        assert!(skips(&host, "shop"));
        assert!(skips(&pod(&[], &[("sidecar.istio.io/inject", "false")]), "shop"));
        let mut injected = pod(&[], &[("sidecar.istio.io/status", "{}")]);
        assert!(!skips(&injected, "shop"), "the annotation alone says nothing");
        let proxy = Container {
            name: "istio-proxy".to_owned(),
            ..Container::default()
        };
        injected.spec = Some(PodSpec {
            init_containers: Some(vec![proxy]),
            ..PodSpec::default()
        });
        assert!(skips(&injected, "shop"));
        // The label is stronger than the annotation.
        let both = pod(
            &[("sidecar.istio.io/inject", "true")],
            &[("sidecar.istio.io/inject", "false")],
        );
        assert!(!skips(&both, "shop"));
    }
}
