//! The two kinds of sidecar containers, and which of them a pod has.

use anyhow::{Result, ensure};
use serde_json::Value;

/// What asks for a kind; the mesh chooses native ones where the cluster has them.
pub(crate) const ANNOTATION: &str = "sidecar.istio.io/nativeSidecar";

/// A kind of sidecar container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// An init container that is restarted: it starts before the application's containers and ends after them.
    Native,
    /// A container like the application's.
    Classic,
}

// === impl Sidecar ===

impl Sidecar {
    /// The sample's Deployments, asking for this kind.
    pub(crate) fn in_templates(self, objects: &str) -> String {
        match self {
            Self::Native => objects.to_owned(),
            Self::Classic => objects.replace(
                "    metadata:\n      labels:",
                &format!("    metadata:\n      annotations: {{{ANNOTATION}: \"false\"}}\n      labels:"),
            ),
        }
    }

    /// A pod's annotation.
    pub(crate) fn annotation(self) -> &'static str {
        match self {
            Self::Native => "true",
            Self::Classic => "false",
        }
    }
}

/// The pod has this kind and what programs capture, or neither.
pub(crate) fn check(pod: &Value, expected: Option<Sidecar>) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let find = |list: &str, wanted: &str| {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers
            .filter(|container| container["name"] == wanted)
            .collect::<Vec<_>>()
    };
    let found = match (
        &find("initContainers", "istio-proxy")[..],
        &find("containers", "istio-proxy")[..],
    ) {
        ([], []) => None,
        ([native], []) if native["restartPolicy"] == "Always" => Some(Sidecar::Native),
        ([], [_]) => Some(Sidecar::Classic),
        other => anyhow::bail!("{name} has proxies {other:?}"),
    };
    let captured = find("initContainers", "weft-init").len() == 1;
    ensure!(
        found == expected && captured == expected.is_some(),
        "{name}: sidecar {found:?}, init container {captured}, expected {expected:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::e2e::objects::SAMPLE;

    #[test]
    fn every_template_of_the_sample_asks_for_the_kind() {
        let asked = |sidecar: Sidecar| SAMPLE.map(|objects| sidecar.in_templates(objects).matches(ANNOTATION).count());
        assert_eq!(asked(Sidecar::Native), [0, 0]);
        assert_eq!(asked(Sidecar::Classic), [1, 2]);
    }

    #[test]
    fn a_pod_has_one_kind() {
        let (proxy, init) = (json!({"name": "istio-proxy"}), json!({"name": "weft-init"}));
        let native = json!({"name": "istio-proxy", "restartPolicy": "Always"});
        let pod = |init: Value, other: Value| json!({"spec": {"initContainers": init, "containers": other}});
        for (pod, found) in [
            (pod(json!([init, native]), json!([])), Some(Sidecar::Native)),
            (pod(json!([init]), json!([proxy])), Some(Sidecar::Classic)),
            (pod(json!([]), json!([{"name": "app"}])), None),
        ] {
            for expected in [Some(Sidecar::Native), Some(Sidecar::Classic), None] {
                assert_eq!(check(&pod, expected).is_ok(), found == expected, "{pod} {expected:?}");
            }
        }
        // Its init container would end the pod's start, or it has two.
        assert!(check(&pod(json!([init, proxy]), json!([])), Some(Sidecar::Native)).is_err());
        assert!(check(&pod(json!([init, native]), json!([proxy])), Some(Sidecar::Native)).is_err());
        assert!(check(&pod(json!([native]), json!([])), Some(Sidecar::Native)).is_err());
    }
}
