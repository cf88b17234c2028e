//! meshctl install, check and uninstall against an API server: what is said of a cluster, and what is changed in it.

mod findings;

use serde_json::{Value, json};

use crate::api::{Api, World};
use crate::check;

/// Labels of an object of an installation.
fn owned(more: &[(&str, &str)]) -> Value {
    let mut labels = json!({"app.kubernetes.io/part-of": "weft", "app.kubernetes.io/managed-by": "meshctl",
        "app.kubernetes.io/version": "0.1.0"});
    for (key, value) in more {
        labels[*key] = json!(value);
    }
    labels
}

fn deployment(namespace: &str, name: &str, labels: Value, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [
            {"name": "discovery", "env": [{"name": "WEFT_ROOT_NAMESPACE", "value": "mesh-root"}]}]}}},
        "status": {"availableReplicas": replicas},
    })
}

fn hooks(kind: &str, name: &str, namespace: &str) -> Value {
    let client = json!({"caBundle": "YQ==", "service": {"name": "weft-pilot", "namespace": namespace}});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "labels": owned(&[("istio.io/rev", "default")])},
        "webhooks": [{"name": "a.weft.mesh", "clientConfig": client, "admissionReviewVersions": [], "sideEffects": "None"}],
    })
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A mesh in a namespace, all well.
fn installed(system: &str) -> World {
    let mut world = World::default();
    world.object(namespace(system, owned(&[])));
    let pilot = owned(&[("istio", "pilot"), ("istio.io/rev", "default")]);
    world.object(deployment(system, "weft-pilot", pilot, 2));
    world.object(deployment(system, "weft-citadel", owned(&[]), 2));
    world.object(hooks("MutatingWebhookConfiguration", "weft-sidecar-injector", system));
    world.object(hooks("ValidatingWebhookConfiguration", "weft-validator", system));
    for definition in weft_api::crd::definitions() {
        world.object(definition);
    }
    world
}

/// Changes the objects of a name.
fn change(world: &World, name: &str, change: impl Fn(&mut Value)) {
    let mut objects = world.objects.lock();
    let named = objects.iter_mut().filter(|object| object["metadata"]["name"] == name);
    named.for_each(change);
}

fn remove(world: &World, name: &str) {
    world.objects.lock().retain(|object| object["metadata"]["name"] != name);
}

const INSTALL: &[&str] = &["install", "--skip-wait"];

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_is_installed_to() {
    let api = Api::start(World::default()).await;
    check(
        &api,
        &["check", "--pre"],
        0,
        "you may create and change everything that is needed",
    )
    .await;
    assert!(api.world.changes.lock().is_empty());
    check(&api, INSTALL, 0, "The mesh is installed").await;
    let changes = std::mem::take(&mut *api.world.changes.lock());
    for change in [
        "patch namespaces/weft-system",
        "patch deployments/weft-citadel",
        "patch roles/weft-pilot",
    ] {
        assert!(changes.iter().any(|known| known == change), "{change} of {changes:?}");
    }
}

/// What a smaller profile does not have goes; what another revision or the control plane itself made stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_installation_no_longer_has_is_removed() {
    let mut world = installed("weft-system");
    for name in ["weft-telemetry", "weft-ingressgateway"] {
        world.object(deployment("weft-system", name, owned(&[]), 1));
    }
    let canary = owned(&[("istio", "pilot"), ("istio.io/rev", "canary")]);
    world.object(deployment("weft-system", "weft-pilot-canary", canary, 1));
    world.object(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "weft-pilot-leader", "namespace": "weft-system", "labels": owned(&[])}}));
    let api = Api::start(world).await;
    let words = [INSTALL, &["--set", "profile=minimal"]].concat();
    check(&api, &words, 0, "Deployment: 2 removed").await;
    let changes = std::mem::take(&mut *api.world.changes.lock());
    let removed: Vec<&String> = changes.iter().filter(|change| change.starts_with("delete")).collect();
    assert_eq!(
        removed,
        [
            "delete deployments/weft-telemetry",
            "delete deployments/weft-ingressgateway"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_others_stays() {
    let mut world = installed("weft-system");
    world.object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "istio-ca-secret", "namespace": "weft-system"}}));
    change(&world, "weft-system", |object| object["metadata"]["labels"] = json!({}));
    let api = Api::start(world).await;
    check(&api, INSTALL, 0, "The mesh is installed").await;
    let changes = std::mem::take(&mut *api.world.changes.lock());
    assert!(
        !changes.iter().any(|change| change.contains("namespaces/")),
        "{changes:?}"
    );
    check(&api, &["uninstall", "--purge"], 0, "The mesh is gone").await;
    let left = api.world.objects.lock().clone();
    let left: Vec<&Value> = left
        .iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["kind"], "Namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_of_a_revision_leaves_what_all_share() {
    let api = Api::start(installed("weft-system")).await;
    check(&api, &["uninstall", "--revision", "default"], 0, "3 objects removed").await;
    let changes = api.world.changes.lock().clone();
    assert!(!changes.iter().any(|change| change.contains("citadel")), "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_an_installation_is_said_before_anything_changes() {
    async fn refused(world: World, words: &[&str], parts: &[&str]) {
        let api = Api::start(world).await;
        for part in parts {
            check(&api, &[INSTALL, words].concat(), 1, part).await;
        }
        assert!(api.world.changes.lock().is_empty(), "{parts:?}");
    }
    let authority = "no Deployment weft-citadel; install the default revision first: it has the certificate authority";
    refused(World::default(), &["--revision", "canary"], &[authority]).await;
    let elsewhere = "revision default of the mesh is in namespace mesh, not in weft-system; meshctl uninstall takes it away; \
        --set namespace=mesh goes on with it";
    refused(installed("mesh"), &[], &[elsewhere]).await;

    for (minor, is_install) in [(28, true), (20, true), (20, false)] {
        let world = World {
            minor: Some(minor),
            ..World::default()
        };
        let text = format!("the server runs Kubernetes 1.{minor}, the mesh needs 1.29 or newer; upgrade the cluster");
        if is_install {
            let line = format!("this cluster cannot be installed to, and nothing was changed: {text}");
            refused(world, &[], &[&line]).await;
        } else {
            check(&Api::start(world).await, &["check", "--pre"], 79, &text).await;
        }
    }

    let gateways = "namespace edge of gatewayNamespaces does not exist; make it";
    refused(World::default(), &["--set", "gatewayNamespaces=edge"], &[gateways]).await;

    let mut world = World::default();
    let map = json!({"name": "istio-ca-root-cert", "namespace": "istio-system"});
    world.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": map}));
    refused(
        world,
        &[],
        &["istiod writes istio-ca-root-cert too; remove Istio first"],
    )
    .await;

    // Another injector alone is not in the way.
    let mut world = World::default();
    let labels = json!({"app": "sidecar-injector"});
    let meta = json!({"name": "istio-sidecar-injector", "labels": labels});
    world.object(json!({"kind": "MutatingWebhookConfiguration", "metadata": meta}));
    let api = Api::start(world).await;
    let advice = "istio-sidecar-injector; remove it before you label namespaces";
    check(&api, INSTALL, 0, advice).await;

    let world = World {
        forbidden: vec![
            "patch deployments",
            "create roles",
            "get namespaces",
            "list deployments",
            "list mutatingwebhookconfigurations",
        ],
        ..World::default()
    };
    let parts = [
        "4 things are in the way, see above",
        "you may not create roles or patch deployments",
        "namespaces is forbidden: you cannot get",
        "deployments is forbidden: you cannot list",
        "mutatingwebhookconfigurations is forbidden: you cannot list",
    ];
    refused(world, &[], &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_revision_installs_beside_the_first() {
    let api = Api::start(installed("weft-system")).await;
    check(
        &api,
        &[INSTALL, &["--revision", "canary"]].concat(),
        0,
        "Revision canary runs beside",
    )
    .await;
    let changes = api.world.changes.lock().clone();
    assert!(
        changes
            .iter()
            .any(|change| change == "patch deployments/weft-pilot-canary"),
        "{changes:?}"
    );
}
