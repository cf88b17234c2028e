//! Requests and limits of the proxy: those of the pod's annotations where there are any, else the installation's, as far as the pod
//! does not name its own as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::annotations::BadAnnotation;
use super::quantity::Quantity;
use super::settings::Resources;

/// What the annotations of one pod ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnResources {
    pub(super) cpu: Option<Quantity>,
    pub(super) cpu_limit: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) memory_limit: Option<Quantity>,
}

/// How a text is read as a quantity.
type Read = fn(&str) -> Result<Quantity, String>;

/// Requests or limits of a pod.
type List = Option<BTreeMap<String, Text>>;

// === impl OwnResources ===

impl OwnResources {
    /// Requests above their limits: Kubernetes would refuse the pod without naming the annotation.
    pub(super) fn contradictions(&self) -> Vec<BadAnnotation> {
        let pairs = [
            ("proxyCPU", &self.cpu, &self.cpu_limit),
            ("proxyMemory", &self.memory, &self.memory_limit),
        ];
        let check = |(name, request, limit): (&str, &Option<Quantity>, &Option<Quantity>)| {
            let (request, limit) = (request.as_ref()?, limit.as_ref()?);
            request.exceeds(limit).then(|| BadAnnotation {
                annotation: format!("sidecar.istio.io/{name}"),
                reason: format!("{} is more than the limit {} of {name}Limit", request.text, limit.text),
            })
        };
        pairs.into_iter().filter_map(check).collect()
    }

    /// The resources of the proxy in a pod that has these as a whole (`spec.resources`).
    ///
    /// One annotation replaces the whole default, as in Istio's template: a request of the pod's beside a limit of the installation's, or
    /// the other way round, need not fit together. Of what the pod names as a whole the default names nothing: requests of containers
    /// must fit into the pod's together and each limit into the pod's limit, and a pod that names no request gets the sum of its
    /// containers' in place of its limit (KEP-2837).
    pub(super) fn over(
        &self,
        default: &Resources,
        pod: Option<&ResourceRequirements>,
    ) -> Result<Resources, Vec<BadAnnotation>> {
        let own = [&self.cpu, &self.cpu_limit, &self.memory, &self.memory_limit];
        if own.iter().any(|own| own.is_some()) {
            let bad = pod.map(|pod| self.above(pod)).unwrap_or_default();
            if !bad.is_empty() {
                return Err(bad);
            }
            let [cpu, cpu_limit, memory, memory_limit] =
                own.map(|own| own.as_ref().map(|own| own.text.clone()).unwrap_or_default());
            return Ok(Resources {
                cpu,
                cpu_limit,
                memory,
                memory_limit,
            });
        }
        let mut resources = default.clone();
        let named = |name| {
            let lists = pod.map(|pod| [&pod.requests, &pod.limits]);
            lists
                .into_iter()
                .flatten()
                .flatten()
                .any(|list| list.contains_key(name))
        };
        if named("cpu") {
            resources.cpu.clear();
            resources.cpu_limit.clear();
        }
        if named("memory") {
            resources.memory.clear();
            resources.memory_limit.clear();
        }
        Ok(resources)
    }

    /// What is more than the whole pod has. What all containers have together is the API server's to add up.
    fn above(&self, pod: &ResourceRequirements) -> Vec<BadAnnotation> {
        let rows: [(&str, &str, Read, _, _); 4] = [
            (
                "proxyCPU",
                "cpu",
                Quantity::cpu,
                &self.cpu,
                [&pod.requests, &pod.limits],
            ),
            ("proxyCPULimit", "cpu", Quantity::cpu, &self.cpu_limit, [&pod.limits; 2]),
            (
                "proxyMemory",
                "memory",
                Quantity::memory,
                &self.memory,
                [&pod.requests, &pod.limits],
            ),
            (
                "proxyMemoryLimit",
                "memory",
                Quantity::memory,
                &self.memory_limit,
                [&pod.limits; 2],
            ),
        ];
        let check = |(annotation, name, read, own, lists): (&str, &str, Read, &Option<Quantity>, [&List; 2])| {
            let own = own.as_ref()?;
            // What the pod does not name has no bound, and what does not parse is refused by the API server.
            let whole = lists.into_iter().flatten().find_map(|list| list.get(name))?;
            read(&whole.0)
                .is_ok_and(|whole| own.exceeds(&whole))
                .then(|| BadAnnotation {
                    annotation: format!("sidecar.istio.io/{annotation}"),
                    reason: format!(
                        "{} is more than the whole pod has by its spec.resources: {} of {name}",
                        own.text, whole.0
                    ),
                })
        };
        rows.into_iter().filter_map(check).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::annotations;
    use super::*;

    /// Requests and limits of the proxy, as cpu, its limit, memory, its limit; or what is refused.
    #[track_caller]
    fn check(pod: Value, annotations: &[(&str, &str)], expected: Result<[&str; 4], &str>) {
        let full = |(name, value): &(&str, &str)| (format!("sidecar.istio.io/{name}"), (*value).to_owned());
        let options = annotations::parse(&annotations.iter().map(full).collect()).unwrap();
        let pod: Option<ResourceRequirements> = serde_json::from_value(pod).unwrap();
        let found = options.resources.over(&Resources::default(), pod.as_ref());
        let found = found.map(|found| [found.cpu, found.cpu_limit, found.memory, found.memory_limit]);
        let found = found.map_err(|bad| bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            _ => panic!("{found:?}"),
        }
    }

    #[test]
    fn what_the_pod_names_as_a_whole_is_left_to_it() {
        const DEFAULT: [&str; 4] = ["100m", "2000m", "128Mi", "1024Mi"];
        check(json!(null), &[], Ok(DEFAULT));
        check(json!({}), &[], Ok(DEFAULT));
        check(
            json!({"requests": {}, "limits": {"hugepages-2Mi": "4Mi"}}),
            &[],
            Ok(DEFAULT),
        );
        check(json!({"limits": {"cpu": "1"}}), &[], Ok(["", "", "128Mi", "1024Mi"]));
        check(
            json!({"requests": {"memory": "64Mi"}}),
            &[],
            Ok(["100m", "2000m", "", ""]),
        );
        let both = json!({"requests": {"cpu": "200m"}, "limits": {"memory": "64Mi"}});
        check(both, &[], Ok([""; 4]));
    }

    #[test]
    fn what_annotations_say_stays_where_the_pod_has_as_much() {
        let pod = json!({"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}});
        check(pod.clone(), &[("proxyCPU", "0.2")], Ok(["0.2", "", "", ""]));
        check(
            pod.clone(),
            &[("proxyCPULimit", "1000m"), ("proxyMemoryLimit", "128Mi")],
            Ok(["", "1000m", "", "128Mi"]),
        );
        check(
            pod.clone(),
            &[("proxyCPU", "300m")],
            Err("sidecar.istio.io/proxyCPU: 300m is more than the whole pod has by its spec.resources: 200m of cpu"),
        );
        check(pod.clone(), &[("proxyCPULimit", "2")], Err("proxyCPULimit: 2 is more"));
        check(pod.clone(), &[("proxyMemory", "65Mi")], Err("64Mi of memory"));
        check(pod, &[("proxyMemoryLimit", "1Gi")], Err("128Mi of memory"));
        // A request must fit into a limit as well; what the pod does not name has no bound.
        check(json!({"limits": {"cpu": "1"}}), &[("proxyCPU", "2")], Err("1 of cpu"));
        check(
            json!({"limits": {"cpu": "1"}}),
            &[("proxyMemory", "2Gi")],
            Ok(["", "", "2Gi", ""]),
        );
    }
}
