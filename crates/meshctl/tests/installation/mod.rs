//! meshctl install, check and uninstall against an API server: what is said of a cluster, and what is changed in it.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_is_well_passes_for_a_reader() {
    let mut world = installed("weft-system");
    world.forbidden = vec!["create deployments", "patch deployments", "create namespaces"];
    let data = json!({"mesh": "accessLogFile: /dev/stdout\n"});
    world.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "mesh-root"}, "data": data}));
    let api = Api::start(world).await;
    check(&api, &["check"], 0, "ConfigMap mesh-root/istio is in use").await;
    check(&api, &["check"], 0, "all 10 definitions are there").await;
    let short = check(&api, &["check", "-o", "short"], 0, "").await;
    assert!(short.stdout.is_empty() && short.stderr.is_empty(), "{short:?}");
    check(&api, &["check", "--help"], 0, "- short:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mesh_lacks_is_found() {
    async fn found(world: World, part: &str) {
        let api = Api::start(world).await;
        check(&api, &["check", "-o", "short"], 79, part).await;
    }
    found(World::default(), "\u{d7} no mesh is installed; run meshctl install\n").await;
    found(
        installed("mesh"),
        "the mesh is in namespace mesh, not in weft-system; run meshctl check -i mesh",
    )
    .await;

    let world = installed("weft-system");
    remove(&world, "weft-citadel");
    found(world, "there is no Deployment of weft-citadel in namespace weft-system").await;
    let world = installed("weft-system");
    change(&world, "weft-pilot", |object| object["spec"]["replicas"] = json!(0));
    found(world, "weft-pilot: scaled to no replicas; run meshctl install").await;
    let world = installed("weft-system");
    change(&world, "weft-citadel", |object| {
        let failure = json!({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"});
        object["status"] = json!({"availableReplicas": 0, "conditions": [failure]});
    });
    found(world, "weft-citadel: 0 of 2 replicas ready; exceeded quota: compute").await;
    let world = installed("weft-system");
    remove(&world, "weft-sidecar-injector");
    found(
        world,
        "weft-sidecar-injector is missing: no pod of the mesh gets a proxy",
    )
    .await;
    let world = installed("weft-system");
    remove(&world, "weft-validator");
    found(world, "weft-validator is missing: broken objects are stored").await;
    let world = installed("weft-system");
    remove(&world, "virtualservices.networking.istio.io");
    found(world, "definitions are missing: virtualservices.networking.istio.io").await;
    let mut world = installed("weft-system");
    world.forbidden = vec!["list validatingwebhookconfigurations"];
    found(world, "validatingwebhookconfigurations is forbidden: you cannot list").await;

    let api = Api::start(installed("mesh")).await;
    change(&api.world, "weft-validator", |object| {
        object["webhooks"][0]["clientConfig"]
            .as_object_mut()
            .unwrap()
            .remove("caBundle");
    });
    check(
        &api,
        &["check", "-i", "mesh"],
        79,
        "see kubectl logs -n mesh -l istio=pilot",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_with_proxies_that_do_not_start_are_found() {
    let mut world = installed("weft-system");
    world.object(namespace("shop", json!({})));
    let web = |replicas: i32, ready: i32| {
        let mut object = deployment("shop", "web", json!({}), replicas);
        object["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        object["status"] = json!({"readyReplicas": ready});
        object
    };
    world.object(web(1, 0));
    world.pods.push(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-x", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "istio-proxy", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
    }));
    let api = Api::start(world).await;
    let line = "\u{d7} Deployment shop/web: 0 of 1 pods ready; pod web-x, container istio-proxy: ImagePullBackOff no such image";
    let found = check(&api, &["check"], 79, line).await;
    assert!(
        String::from_utf8_lossy(&found.stderr).ends_with("1 check failed.\n"),
        "{found:?}"
    );
    change(&api.world, "web", |object| *object = web(2, 1));
    let found = check(&api, &["check"], 0, "\u{203c} Deployment shop/web: 1 of 2 pods ready").await;
    assert!(
        String::from_utf8_lossy(&found.stderr).ends_with("Nothing failed; 1 finding is worth a look.\n"),
        "{found:?}"
    );
    change(&api.world, "web", |object| *object = web(2, 2));
    check(&api, &["check"], 0, "Everything is well.").await;
    change(&api.world, "web", |object| *object = web(0, 0));
    check(&api, &["check"], 0, "Everything is well.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_without_effect_are_found() {
    let mut world = installed("weft-system");
    let object = |version: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let gateway = json!({"gatewayClassName": "istio", "listeners": listeners});
    world.object(object("gateway.networking.k8s.io/v1", "Gateway", "edge", gateway));
    let route = json!({"parentRefs": [{"name": "edge"}]});
    world.object(object("gateway.networking.k8s.io/v1", "HTTPRoute", "web", route));
    world.object(object("networking.istio.io/v1", "EnvoyFilter", "lua", json!({})));
    let api = Api::start(world).await;
    let found = check(&api, &["check", "-o", "short"], 79, "").await;
    expect_test::expect![[r#""#]].assert_eq(&String::from_utf8_lossy(&found.stdout));
    for name in ["edge", "web", "lua"] {
        remove(&api.world, name);
    }
    check(&api, &["check"], 0, "Everything is well.").await;
}

/// As it is after `uninstall --purge` and another installation.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_an_authority_that_is_gone_are_found() {
    let mut world = installed("weft-system");
    let root = json!({"root-cert.pem": include_str!("../data/root-cert.pem")});
    world.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": root,
        "metadata": {"name": "istio-ca-root-cert", "namespace": "weft-system", "creationTimestamp": "2026-01-02T00:00:00Z"}}));
    let labels = json!({"istio": "pilot"});
    world.pod("weft-system", "weft-pilot-a", labels, &["discovery"]);
    world.page(
        "weft-pilot-a",
        15014,
        "/debug/syncz",
        json!([{"proxy": "new-1.shop"}, {"proxy": "kept-1.shop"}]),
    );
    let certs = |serial: &str| json!({"certificates": [{"cert_chain": [{"serial_number": "77"}]}, {"ca_cert": [{"serial_number": serial}]}]});
    for (name, day, page) in [
        ("new", "03", None),
        ("old", "01", Some(certs("0ff1ce"))),
        ("kept", "01", Some(certs("000A1B2C3D4E5F"))),
        ("apart", "03", Some(certs("0a1b2c3d4e5f"))),
        ("mute", "01", None),
    ] {
        let pod = format!("{name}-1");
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-7d9f"), "uid": "1", "controller": true});
        world.pods.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "namespace": "shop", "labels": {"pod-template-hash": "7d9f"}, "ownerReferences": [owner],
                "creationTimestamp": format!("2026-01-{day}T00:00:00Z")},
            "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        if let Some(page) = page {
            world.page(&pod, 15000, "/certs", page);
        }
    }
    let api = Api::start(world).await;
    let found = check(&api, &["check", "-o", "short"], 79, "").await;
    expect_test::expect![[r#""#]].assert_eq(&String::from_utf8_lossy(&found.stdout));
    check(&api, &["check"], 79, "2 of 5 proxies are served by pilot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_pilot_cannot_read_are_named() {
    let mut world = installed("weft-system");
    let data = json!({"mesh": "connectTimeout: soon\n"});
    world.object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "mesh-root"}, "data": data}));
    let api = Api::start(world).await;
    check(
        &api,
        &["check"],
        79,
        "\u{d7} ConfigMap mesh-root/istio, data.mesh.connectTimeout: soon is not",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_waited_for_and_found() {
    let mut api = Api::start(World::default()).await;
    api.stop().await;
    let found = check(
        &api,
        &["check", "-o", "json", "--wait", "2s"],
        79,
        "the API server does not answer",
    )
    .await;
    let findings: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(findings[0]["mark"], "bad");
}
