//! What injection makes of pods: each case is a YAML file, and beside it what comes out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use expect_test::expect_file;
use serde_json::{Value, json};
use weft_mesh::inject::{Outcome, Refusal, Scope, Settings, inject, inject_documents, patch};

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/injection/cases")
        .join(name)
}

/// Settings whose texts do not change with the version, with ordinary sidecars, of which there is more to see.
fn settings() -> Settings {
    Settings {
        image: "weft/proxy:test".to_owned(),
        native_sidecar: false,
        ..Settings::default()
    }
}

#[track_caller]
fn check(name: &str, settings: &Settings) {
    let input = std::fs::read_to_string(case(&format!("{name}.yaml"))).unwrap();
    let injected = inject_documents(&input, settings).unwrap();
    let mut text = injected.text;
    for note in injected.notes {
        text.push_str(&format!("# {note}\n"));
    }
    expect_file![case(&format!("{name}.injected.yaml"))].assert_eq(&text);
}

#[test]
fn a_deployment() {
    check("deployment", &settings());
}

#[test]
fn a_deployment_where_sidecars_are_native() {
    let native = Settings {
        native_sidecar: true,
        ..settings()
    };
    check("native", &native);
}

#[test]
fn every_annotation() {
    check("annotations", &settings());
}

#[test]
fn probes_and_hooks_go_through_the_proxy() {
    check("probes", &settings());
}

#[test]
fn a_job_ends_and_a_cron_job_has_its_name() {
    check("jobs", &settings());
}

#[test]
fn lists_are_entered_and_other_documents_stay_as_they_are() {
    check("documents", &settings());
}

#[test]
fn installations_change_defaults() {
    let other = Settings {
        revision: "canary".to_owned(),
        image_pull_policy: "Never".to_owned(),
        image_pull_secrets: vec!["registry".to_owned()],
        network: "east".to_owned(),
        hold_application: false,
        rewrite_probes: false,
        merge_metrics: false,
        dns_capture: false,
        concurrency: 2,
        exclude_outbound_ip_ranges: "10.1.0.0/16".to_owned(),
        ..settings()
    };
    check("defaults", &other);
}

fn pod(annotations: Value, spec: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "annotations": annotations},
        "spec": spec,
    })
}

fn plain() -> Value {
    json!({"containers": [{"name": "web", "image": "web"}]})
}

#[track_caller]
fn refused(pod: &Value, part: &str) {
    let refusal = inject(pod, "shop", Scope::Selected, &settings()).unwrap_err();
    assert!(refusal.to_string().contains(part), "{refusal}");
}

#[test]
fn pods_that_cannot_be_injected_are_refused_with_the_reason() {
    refused(
        &pod(json!({"sidecar.istio.io/proxyCPU": "lots"}), plain()),
        "proxyCPU: \"lots\"",
    );
    refused(
        &pod(json!({"proxy.istio.io/config": "concurrency: many"}), plain()),
        "proxy.istio.io/config",
    );
    let user = json!({"containers": [{"name": "web", "securityContext": {"runAsUser": 1337}}]});
    refused(&pod(json!({}), user), "container web runs as user 1337");
    let user = json!({"securityContext": {"runAsUser": 1337}, "containers": [{"name": "web"}]});
    refused(&pod(json!({}), user), "container web runs as user 1337");
    let group = json!({"runAsUser": 1000, "runAsGroup": 1337});
    let groups = json!({"containers": [{"name": "web", "securityContext": group}]});
    refused(&pod(json!({}), groups), "container web runs as group 1337");
    let groups = json!({"securityContext": {"runAsGroup": 1337}, "containers": [{"name": "web"}]});
    refused(&pod(json!({}), groups), "container web runs as group 1337");
    let native = json!({"name": "cache", "restartPolicy": "Always", "securityContext": {"runAsUser": 1337}});
    let user = json!({"initContainers": [native], "containers": [{"name": "web"}]});
    refused(&pod(json!({}), user), "container cache runs as user 1337");
    let taken = json!({"containers": [{"name": "istio-proxy"}]});
    refused(&pod(json!({}), taken), "container istio-proxy exists already");
    let taken = json!({"containers": [{"name": "web"}], "volumes": [{"name": "istio-token", "emptyDir": {}}]});
    refused(&pod(json!({}), taken), "volume istio-token exists already");
    let probe = json!({"containers": [{"name": "web", "readinessProbe": {"httpGet": {"port": "admin"}}}]});
    refused(&pod(json!({}), probe), "container web, readinessProbe: port \"admin\"");
    let volume = json!({"sidecar.istio.io/userVolume": r#"{"istio-token": {"emptyDir": {}}}"#});
    refused(&pod(volume, plain()), "userVolume: volume istio-token exists already");
    let mount = json!({"sidecar.istio.io/userVolumeMount": r#"{"istio-token": {"mountPath": "/x"}}"#});
    refused(
        &pod(mount, plain()),
        "userVolumeMount: volume istio-token exists already",
    );
    let metrics = json!({"prometheus.io/scrape": "true", "prometheus.io/scheme": "ftp"});
    refused(&pod(metrics, plain()), "prometheus.io/scheme: \"ftp\"");
    let metrics = json!({"prometheus.io/scrape": "true", "prometheus.io/port": "15020"});
    refused(&pod(metrics, plain()), "15020 is the proxy's own port");
    refused(&pod(json!({}), json!({"containers": 1})), "this is not a pod");
    let refusal = inject(&json!({"metadata": {}}), "shop", Scope::Selected, &settings()).unwrap_err();
    assert!(matches!(refusal, Refusal::NotAPod(_)));
}

fn injected(pod: &Value) -> Value {
    match inject(pod, "shop", Scope::Selected, &settings()).unwrap() {
        Outcome::Injected { pod, .. } => pod,
        Outcome::Skipped(why) => panic!("skipped: {why}"),
    }
}

/// Rules look at the primary group only, and an init container that ends comes before the application.
#[test]
fn users_that_do_not_bypass_the_proxy_are_admitted() {
    let groups = json!({"fsGroup": 1337, "supplementalGroups": [1337]});
    injected(&pod(
        json!({}),
        json!({"securityContext": groups, "containers": [{"name": "web"}]}),
    ));
    let prepare = json!({"name": "prepare", "securityContext": {"runAsUser": 1337}});
    injected(&pod(
        json!({}),
        json!({"initContainers": [prepare], "containers": [{"name": "web"}]}),
    ));
    let own = json!({"securityContext": {"runAsGroup": 1337}, "containers": [{"name": "web", "securityContext": {"runAsGroup": 0}}]});
    injected(&pod(json!({}), own));
}

/// The container of that name, wherever it is.
fn container<'a>(pod: &'a Value, name: &str) -> (&'static str, &'a Value) {
    let places = ["/spec/initContainers", "/spec/containers"];
    let mut found = places.into_iter().flat_map(|place| {
        let containers = pod.pointer(place).and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .map(move |container| (place, container))
    });
    found.find(|(_, container)| container["name"] == name).unwrap()
}

#[test]
fn a_pod_chooses_the_kind_of_its_sidecar_over_the_installation() {
    for (installation, annotation, is_native) in [
        (true, None, true),
        (true, Some("false"), false),
        (true, Some("true"), true),
        (false, None, false),
        (false, Some("true"), true),
        (false, Some("false"), false),
    ] {
        let settings = Settings {
            native_sidecar: installation,
            ..settings()
        };
        let annotations = annotation.map_or(json!({}), |value| json!({"sidecar.istio.io/nativeSidecar": value}));
        let outcome = inject(&pod(annotations, plain()), "shop", Scope::Selected, &settings).unwrap();
        let Outcome::Injected { pod, .. } = outcome else {
            panic!("{outcome:?}");
        };
        let (place, proxy) = container(&pod, "istio-proxy");
        assert_eq!(
            place == "/spec/initContainers",
            is_native,
            "{installation} {annotation:?}"
        );
        assert_eq!(
            proxy["restartPolicy"] == "Always",
            is_native,
            "{installation} {annotation:?}"
        );
        // Only who ends beside the application has to wait for it.
        let hook = proxy["lifecycle"]["preStop"]["exec"]["command"].to_string();
        assert!(hook.contains("drain"), "{hook}");
        assert_eq!(hook.contains("--until-idle"), !is_native, "{hook}");
    }
    assert!(Settings::default().native_sidecar);
}

/// Callers' time, and the longest wait for the application, within pods' grace periods.
#[test]
fn drains_fit_into_the_grace_period() {
    #[track_caller]
    fn check(seconds: Value, config: &str, minimum: &str, longest: &str) {
        let mut spec = plain();
        if !seconds.is_null() {
            spec["terminationGracePeriodSeconds"] = seconds;
        }
        let pod = injected(&pod(json!({"proxy.istio.io/config": config}), spec));
        let (_, proxy) = container(&pod, "istio-proxy");
        let mut variables = proxy["env"].as_array().unwrap().iter();
        let found = variables.find(|variable| variable["name"] == "WEFT_MINIMUM_DRAIN_TIME");
        assert_eq!(found.unwrap()["value"], minimum);
        let words = proxy["lifecycle"]["preStop"]["exec"]["command"].as_array().unwrap();
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        assert_eq!(words[words.len() - 4..], ["--at-least", minimum, "--timeout", longest]);
    }
    check(Value::Null, "", "5s", "27s");
    check(json!(3600), "", "5s", "3597s");
    check(json!(8), "", "5s", "5s");
    check(json!(5), "", "2500ms", "2500ms");
    check(json!(2), "", "1s", "1s");
    check(json!(1), "", "500ms", "500ms");
    check(json!(0), "", "0s", "0s");
    check(json!(30), "terminationDrainDuration: 12.5s", "12500ms", "27s");
    check(json!(10), "terminationDrainDuration: 1m", "7s", "7s");
    check(json!(30), "terminationDrainDuration: 0s", "0s", "27s");
}

/// The API server takes only containers whose requests together, and whose limits each, are within those of the whole pod.
#[test]
fn resources_of_the_whole_pod_are_shared() {
    let mut spec = plain();
    spec["resources"] = json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}});
    let limited = injected(&pod(json!({}), spec.clone()));
    assert_eq!(limited["spec"]["resources"], spec["resources"]);
    for name in ["weft-init", "istio-proxy"] {
        let (_, container) = container(&limited, name);
        let expected = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2000m"}});
        assert_eq!(container["resources"], expected, "{name}");
    }
    spec["resources"] = json!({"limits": {"memory": "64Mi", "cpu": "1"}});
    let limited = injected(&pod(json!({}), spec.clone()));
    for name in ["weft-init", "istio-proxy"] {
        assert_eq!(container(&limited, name).1["resources"], json!({}), "{name}");
    }
    refused(
        &pod(json!({"sidecar.istio.io/proxyMemory": "128Mi"}), spec),
        "sidecar.istio.io/proxyMemory: 128Mi is more than the whole pod has by its spec.resources: 64Mi of memory",
    );
}

/// Discovery reads the annotation only.
#[test]
fn the_interception_mode_of_the_config_becomes_the_annotation() {
    let none = json!({"proxy.istio.io/config": "interceptionMode: NONE"});
    let pod = injected(&pod(none, plain()));
    assert_eq!(
        pod["metadata"]["annotations"]["sidecar.istio.io/interceptionMode"],
        "NONE"
    );
    assert_eq!(pod["spec"]["initContainers"], Value::Null);
}

/// The annotation comes along when a pod's text is copied; its proxy may not have.
#[test]
fn a_status_without_a_proxy_is_replaced() {
    let pod = injected(&pod(json!({"sidecar.istio.io/status": "{}"}), plain()));
    assert_ne!(pod["metadata"]["annotations"]["sidecar.istio.io/status"], "{}");
}

/// Text that would close a string or open a container in a text template stays the text that it is.
#[test]
fn values_of_users_never_become_structure() {
    let evil = "x\"\n  - name: evil\n    image: evil\n{{ .Values }}";
    let mut pod = pod(json!({"example.com/note": evil}), plain());
    pod["metadata"]["labels"] = json!({"app": evil, "version": evil});
    let Outcome::Injected { pod, .. } = inject(&pod, "shop", Scope::Selected, &settings()).unwrap() else {
        panic!("skipped");
    };
    let names: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|container| container["name"].as_str())
        .collect();
    assert_eq!(names, ["istio-proxy", "web"]);
    assert_eq!(pod["metadata"]["annotations"]["example.com/note"], evil);
}

/// Fields that are younger than our types stay, and the patch leads from one pod to the other.
#[test]
fn the_patch_gives_the_injected_pod_and_nothing_is_lost() {
    let spec = json!({
        "containers": [{"name": "web", "image": "web", "fieldOfTomorrow": {"a": 1}}],
        "initContainers": [{"name": "prepare", "image": "web"}],
        "anotherOfTomorrow": [1, 2],
    });
    let before = pod(json!({}), spec);
    let Outcome::Injected { pod: after, .. } = inject(&before, "shop", Scope::Selected, &settings()).unwrap() else {
        panic!("skipped");
    };
    assert_eq!(after["spec"]["containers"][1]["fieldOfTomorrow"]["a"], 1);
    assert_eq!(after["spec"]["anotherOfTomorrow"], json!([1, 2]));
    let operations = serde_json::to_value(patch(&before, &after)).unwrap();
    let operations: json_patch::Patch = serde_json::from_value(operations).unwrap();
    let mut patched = before;
    json_patch::patch(&mut patched, &operations).unwrap();
    assert_eq!(patched, after);
    // An injected pod is left alone when the API server asks again.
    let again = inject(&after, "shop", Scope::Selected, &settings()).unwrap();
    assert!(matches!(again, Outcome::Skipped(_)), "{again:?}");
}
