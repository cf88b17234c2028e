//! Values to Kubernetes objects, by component. Pure: the same values and abilities of the server give the same objects.

mod citadel;
mod gateway;
mod object;
mod pilot;
mod rbac;
mod telemetry;
mod webhooks;

use serde_json::{Value, json};

use super::values::Values;

pub(crate) use weft_base::kubernetes::OWNED;

pub(crate) use self::object::identify;
pub(crate) use self::pilot::VALUES;

/// What a server can do, as far as manifests depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Minor version of Kubernetes 1.
    pub(crate) minor: u32,
}

/// A part of the mesh that is installed and waited for together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Name for people.
    pub(crate) name: &'static str,
    /// Its objects, in the order in which they are applied.
    pub(crate) objects: Vec<Value>,
}

// === impl Abilities ===

impl Abilities {
    /// What manifests are rendered for where no server is asked.
    pub(crate) const NEWEST: Self = Self { minor: 33 };

    /// Containers that start before and end after the others: on by default since 1.29.
    pub(crate) fn native_sidecars(self) -> bool {
        self.minor >= 29
    }

    fn disruption_budgets(self) -> &'static str {
        if self.minor >= 21 {
            "policy/v1"
        } else {
            "policy/v1beta1"
        }
    }
}

/// All parts, in the order in which they are installed.
pub(crate) fn render(values: &Values, abilities: Abilities) -> Vec<Part> {
    let mut values = values.clone();
    let native = values.native_sidecar;
    values.proxy.native_sidecar = native.unwrap_or_else(|| abilities.native_sidecars());
    let values = &values;
    let mut parts = vec![
        Part {
            name: "base",
            objects: base(values),
        },
        Part {
            name: "citadel",
            objects: citadel::objects(values, abilities),
        },
        Part {
            name: "pilot",
            objects: pilot::objects(values, abilities),
        },
        Part {
            name: "telemetry",
            objects: telemetry::objects(values, abilities),
        },
        Part {
            name: "ingress gateway",
            objects: gateway::objects(values, abilities),
        },
    ];
    parts.retain(|part| !part.objects.is_empty());
    for part in &mut parts {
        for object in &mut part.objects {
            object::own(object, &values.tag);
        }
    }
    parts
}

/// The definitions alone, with the labels by which an installation takes them over and a purge finds them.
pub(crate) fn definitions() -> Part {
    let mut objects = super::crds::objects();
    for object in &mut objects {
        object::own(object, env!("CARGO_PKG_VERSION"));
    }
    Part { name: "crds", objects }
}

/// What everything else is in or relies on.
fn base(values: &Values) -> Vec<Value> {
    let mut objects = vec![object::typed::<k8s_openapi::api::core::v1::Namespace>(json!({
        "metadata": {"name": values.namespace},
    }))];
    objects.extend(super::crds::objects());
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every container is bounded, runs without rights, and everything carries the labels by which it is found again.
    #[test]
    fn every_profile_keeps_the_rules() {
        for profile in super::super::values::PROFILES {
            for minor in [20, 33] {
                let values = Values::new(&[], &[format!("profile={profile}")]).unwrap();
                for part in render(&values, Abilities { minor }) {
                    part.objects.iter().for_each(check);
                }
            }
        }
    }

    fn check(object: &Value) {
        let name = identify(object);
        for (key, value) in OWNED {
            assert_eq!(object["metadata"]["labels"][key], value, "{name}");
        }
        if object["kind"] == "Deployment" {
            let profile = object.pointer("/spec/template/spec/securityContext/seccompProfile/type");
            assert_eq!(profile, Some(&json!("RuntimeDefault")), "{name}");
        }
        let containers = object
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            for kind in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    let set = container["resources"][kind][resource].is_string();
                    assert!(set, "{name}: {kind} of {resource}");
                }
            }
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["runAsNonRoot"], true, "{name}");
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
        }
    }

    /// An uninstall of a revision takes what carries its label, so what all revisions share must not.
    #[test]
    fn only_pilots_objects_are_of_a_revision() {
        let values = Values::new(&[], &[]).unwrap();
        let mut count = 0;
        for part in render(&values, Abilities::NEWEST) {
            for object in &part.objects {
                let is_of_revision = object["metadata"]["labels"]["istio.io/rev"] == "default";
                let is_shared = part.name != "pilot" || object["kind"] == "ServiceAccount";
                assert_eq!(is_of_revision, !is_shared, "{}", identify(object));
                let selector = object.pointer("/spec/selector/matchLabels");
                for labels in selector
                    .into_iter()
                    .chain(object.pointer("/spec/template/metadata/labels"))
                {
                    assert_eq!(labels["istio.io/rev"], "default", "{}", identify(object));
                    count += 1;
                }
            }
        }
        assert_eq!(count, 12, "four Deployments, with two sets each, and four budgets");
    }

    #[test]
    fn native_sidecars_follow_the_value_before_the_server() {
        #[track_caller]
        fn check(set: &[&str], minor: u32, expected: bool) {
            let sets: Vec<String> = set.iter().map(|set| format!("proxy.nativeSidecar={set}")).collect();
            let parts = render(&Values::new(&[], &sets).unwrap(), Abilities { minor });
            let mut objects = parts.iter().flat_map(|part| &part.objects);
            let map = objects.find(|object| object["kind"] == "ConfigMap").unwrap();
            let settings = map["data"]["injector.yaml"].as_str().unwrap();
            assert!(settings.contains(&format!("nativeSidecar: {expected}")), "{settings}");
        }
        check(&[], 28, false);
        check(&[], 29, true);
        check(&["false"], 33, false);
        check(&["true"], 28, true);
    }

    #[test]
    fn old_servers_get_old_versions() {
        let values = Values::new(&[], &[]).unwrap();
        let version = |minor| {
            let parts = render(&values, Abilities { minor });
            let mut objects = parts.iter().flat_map(|part| &part.objects);
            let budget = objects.find(|object| object["kind"] == "PodDisruptionBudget").unwrap();
            budget["apiVersion"].as_str().unwrap().to_owned()
        };
        assert_eq!(version(20), "policy/v1beta1");
        assert_eq!(version(33), "policy/v1");
    }
}
