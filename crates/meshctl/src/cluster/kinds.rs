//! The kinds that an installation consists of, and how they are asked for without generated types.

use anyhow::{Context, bail};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// Whether it outlives an uninstallation that does not purge: users' objects would go with it.
    pub(crate) kept: bool,
}

/// All kinds, in the order in which they are removed: first what acts on others.
pub(crate) const KINDS: &[Installed] = &[
    kind(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    kind(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    kind("apps", "v1", "Deployment", "deployments", true),
    // Of the leaders among pilots and citadels, which have gone by now.
    kind("coordination.k8s.io", "v1", "Lease", "leases", true),
    kind("", "v1", "Service", "services", true),
    kind("", "v1", "ConfigMap", "configmaps", true),
    kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    kind("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    kind(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
    ),
    kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    kind("", "v1", "ServiceAccount", "serviceaccounts", true),
    kept(kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    )),
    kept(kind("", "v1", "Namespace", "namespaces", false)),
];

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Installed {
    Installed {
        group,
        version,
        kind,
        plural,
        namespaced,
        kept: false,
    }
}

const fn kept(kind: Installed) -> Installed {
    Installed { kept: true, ..kind }
}

// === impl Installed ===

impl Installed {
    pub(crate) fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}

/// The API of an object's kind, in its namespace.
pub(crate) fn api_of(client: &Client, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let installed = KINDS.iter().find(|known| known.kind == kind);
    let installed = installed.with_context(|| format!("{kind} is not part of an installation"))?;
    let resource = installed.resource();
    if !installed.namespaced {
        return Ok(Api::all_with(client.clone(), &resource));
    }
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Ok(Api::namespaced_with(client.clone(), namespace, &resource)),
        None => bail!("{kind} has no namespace"),
    }
}
