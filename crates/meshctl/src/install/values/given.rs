//! What was said of an installation, which is kept with it so that an upgrade goes on from there.

use serde_json::{Map, Value};

/// What is set otherwise than in the profile, and the profile. The revision is not: an upgrade may be to another.
pub(super) fn given(profile: &Value, values: &Value) -> Value {
    let mut given = Map::from_iter([("profile".to_owned(), values["profile"].clone())]);
    if let Some(Value::Object(fields)) = difference(profile, values) {
        given.extend(fields.into_iter().filter(|(name, _)| name != "revision"));
    }
    Value::Object(given)
}

/// The fields of `values` that differ; both have the same names.
fn difference(profile: &Value, values: &Value) -> Option<Value> {
    match (profile, values) {
        (Value::Object(profile), Value::Object(values)) => {
            let differ = values
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), difference(profile.get(name)?, value)?)));
            let fields: Map<String, Value> = differ.collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        (profile, values) => (profile != values).then(|| values.clone()),
    }
}

/// The values of a layer as `--set` has them.
pub(crate) fn listed(layer: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, to: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(value, &path, to);
                }
            }
            Value::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                to.push(format!("{path}={}", items.join(",")));
            }
            Value::String(text) => to.push(format!("{path}={text}")),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => to.push(format!("{path}={value}")),
        }
    }
    let mut list = Vec::new();
    walk(layer, "", &mut list);
    list
}

#[cfg(test)]
mod tests {
    use super::super::Values;
    use super::*;

    fn values(layers: Vec<(String, Value)>, sets: &[&str]) -> Values {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Values::over(layers, &[], &sets).unwrap()
    }

    #[test]
    fn an_upgrade_goes_on_from_what_was_given() {
        #[track_caller]
        fn check(installed: &[&str], upgrade: &[&str], same_as: &[&str]) {
            let kept = values(Vec::new(), installed).given;
            let upgraded = values(vec![("installed".to_owned(), kept)], upgrade);
            assert_eq!(upgraded, values(Vec::new(), same_as), "{installed:?} {upgrade:?}");
        }
        check(&[], &[], &[]);
        check(&["profile=demo"], &[], &["profile=demo"]);
        check(
            &[
                "profile=demo",
                "pilot.replicas=3",
                "gatewayNamespaces=a,b",
                "proxy.nativeSidecar=false",
            ],
            &["pilot.replicas=2", "traceSampling=5"],
            &[
                "profile=demo",
                "gatewayNamespaces=a,b",
                "proxy.nativeSidecar=false",
                "pilot.replicas=2",
                "traceSampling=5",
            ],
        );
        check(
            &["hub=r/weft", "namespace=mesh"],
            &["profile=minimal"],
            &["profile=minimal", "hub=r/weft", "namespace=mesh"],
        );
        check(
            &["revision=old", "tag=7"],
            &["revision=new"],
            &["revision=new", "tag=7"],
        );
    }

    #[test]
    fn what_was_given_is_listed_as_it_is_set() {
        let given = values(
            Vec::new(),
            &["pilot.replicas=3", "gatewayNamespaces=a,b", "revision=canary"],
        )
        .given;
        assert_eq!(
            listed(&given),
            ["profile=default", "gatewayNamespaces=a,b", "pilot.replicas=3"]
        );
    }
}
