//! Requests and limits of the proxy: the pod's own where it names any, else the installation's.

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

    /// One annotation replaces the whole default, as in Istio's template: a request of the pod's beside a limit of the installation's, or
    /// the other way round, need not fit together.
    pub(super) fn over(&self, default: &Resources) -> Resources {
        let own = [&self.cpu, &self.cpu_limit, &self.memory, &self.memory_limit];
        if own.iter().all(|own| own.is_none()) {
            return default.clone();
        }
        let [cpu, cpu_limit, memory, memory_limit] =
            own.map(|own| own.as_ref().map(|own| own.text.clone()).unwrap_or_default());
        Resources {
            cpu,
            cpu_limit,
            memory,
            memory_limit,
        }
    }
}
