//! Values to Kubernetes objects, by component. Pure: the same values give the same objects.

mod citadel;
mod gateway;
mod object;
mod pilot;
mod rbac;
mod rights;
mod telemetry;
mod webhooks;

use serde_json::{Value, json};

use super::values::Values;

pub(crate) use weft_base::kubernetes::OWNED;

pub(crate) use self::object::identify;
pub(crate) use self::pilot::VALUES;

/// A part of the mesh that is installed and waited for together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Name for people.
    pub(crate) name: &'static str,
    /// Its objects, in the order in which they are applied.
    pub(crate) objects: Vec<Value>,
}

/// All parts, in the order in which they are installed.
pub(crate) fn render(values: &Values) -> Vec<Part> {
    let mut parts = vec![
        Part {
            name: "base",
            objects: base(values),
        },
        Part {
            name: "citadel",
            objects: citadel::objects(values),
        },
        Part {
            name: "pilot",
            objects: pilot::objects(values),
        },
        Part {
            name: "telemetry",
            objects: telemetry::objects(values),
        },
        Part {
            name: "ingress gateway",
            objects: gateway::objects(values),
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
            let values = Values::new(&[], &[format!("profile={profile}")]).unwrap();
            for part in render(&values) {
                part.objects.iter().for_each(check);
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
        for part in render(&values) {
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
    fn plaintext_discovery_is_there_where_it_is_asked_for() {
        for (set, expected) in [
            (&[][..], 0),
            (&["plaintextDiscovery=false"], 0),
            // The flag, the port of the pod, and that of the Service, twice.
            (&["plaintextDiscovery=true"], 4),
        ] {
            let sets: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
            let parts = render(&Values::new(&[], &sets).unwrap());
            let objects = parts.iter().flat_map(|part| &part.objects);
            let served = objects.filter(|object| object["kind"] == "Deployment" || object["kind"] == "Service");
            let text: String = served.map(Value::to_string).collect();
            assert_eq!(text.matches("15010").count(), expected, "{set:?}");
        }
    }

    #[test]
    fn native_sidecars_are_a_setting_of_the_injector() {
        for (set, expected) in [
            (&[][..], true),
            (&["proxy.nativeSidecar=true"], true),
            (&["proxy.nativeSidecar=false"], false),
        ] {
            let sets: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
            let parts = render(&Values::new(&[], &sets).unwrap());
            let mut objects = parts.iter().flat_map(|part| &part.objects);
            let map = objects.find(|object| object["kind"] == "ConfigMap").unwrap();
            let settings = map["data"]["injector.yaml"].as_str().unwrap();
            assert!(settings.contains(&format!("nativeSidecar: {expected}")), "{settings}");
        }
    }
}
