//! What `meshctl check` finds, and what it passes over.

use serde_json::{Value, json};

use super::{change, deployment, installed, namespace, remove};
use crate::api::{Api, World};
use crate::check;

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
    assert!(short.stdout.is_empty(), "{short:?}");
    let said = String::from_utf8_lossy(&short.stderr);
    assert_eq!(said, "no mesh runs on this machine; asking the cluster\n");
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
    let object = |version: &str, kind: &str, name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": "shop"});
        json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    };
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let gateway = json!({"gatewayClassName": "istio", "listeners": listeners});
    world.object(object("gateway.networking.k8s.io/v1", "Gateway", "edge", gateway));
    let route = json!({"parentRefs": [{"name": "edge"}]});
    world.object(object("gateway.networking.k8s.io/v1", "HTTPRoute", "web", route));
    world.object(object("networking.istio.io/v1", "EnvoyFilter", "lua", json!({})));
    let api = Api::start(world).await;
    let found = check(&api, &["check", "-o", "short"], 79, "").await;
    expect_test::expect![[r#"
        × Gateway.gateway.networking.k8s.io/shop/edge: is not carried out by this mesh yet and has no effect; use a Gateway of networking.istio.io
        × HTTPRoute/shop/web: is not carried out by this mesh yet and has no effect; use a VirtualService
        × EnvoyFilter/shop/lua: EnvoyFilter is not carried out by this mesh yet and is passed over
    "#]].assert_eq(&String::from_utf8_lossy(&found.stdout));
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
    let certs = |serial: &str| {
        let root = json!({"ca_cert": [{"serial_number": serial}]});
        json!({"certificates": [{"cert_chain": [{"serial_number": "77"}]}, root]})
    };
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
    expect_test::expect![[r#"
        × Deployment shop/old, pod old-1: the certificates are of a certificate authority that is gone, and the rest of the mesh refuses them; new pods get new ones: kubectl rollout restart deployment -n shop old
        × Deployment shop/apart, pod apart-1: not connected to pilot, so no change reaches the proxy; meshctl logs apart-1.shop says why; where nothing else helps: kubectl rollout restart deployment -n shop apart
        × Deployment shop/mute, pod mute-1: not connected to pilot, so no change reaches the proxy; meshctl logs mute-1.shop says why; where nothing else helps: kubectl rollout restart deployment -n shop mute
    "#]].assert_eq(&String::from_utf8_lossy(&found.stdout));
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
