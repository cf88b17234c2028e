//! Rights of the control plane, no more than each part uses.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::{Value, json};

use super::object::typed;
use crate::install::values::Values;

/// One rule: groups, resources, verbs, and names where it is for some objects only.
pub(super) fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// Taking part in an election: the lease is made by whoever comes first, and the name of what is made cannot be restricted.
pub(super) fn leader(lease: &str) -> [Value; 2] {
    let (groups, resources) = (&["coordination.k8s.io"], &["leases"]);
    [
        rule(groups, resources, &["create"], &[]),
        rule(groups, resources, &["get", "update"], &[lease]),
    ]
}

/// Rights in the whole cluster. The name has the namespace, so that two installations do not share it.
pub(super) fn cluster(values: &Values, name: &str, account: &str, rules: &[Value]) -> [Value; 2] {
    let full = format!("{name}-{}", values.namespace);
    let role = typed::<ClusterRole>(json!({"metadata": {"name": full}, "rules": rules}));
    let binding = typed::<ClusterRoleBinding>(json!({
        "metadata": {"name": full},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": full},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": values.namespace}],
    }));
    [role, binding]
}

/// Rights in the namespace of the control plane.
pub(super) fn local(values: &Values, name: &str, account: &str, rules: &[Value]) -> [Value; 2] {
    inside(values, &values.namespace, name, account, rules)
}

/// Rights in one namespace.
pub(super) fn inside(values: &Values, namespace: &str, name: &str, account: &str, rules: &[Value]) -> [Value; 2] {
    let role = typed::<Role>(json!({
        "metadata": {"name": name, "namespace": namespace},
        "rules": rules,
    }));
    let binding = typed::<RoleBinding>(json!({
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": values.namespace}],
    }));
    [role, binding]
}
