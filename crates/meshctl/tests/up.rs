//! `meshctl up`, `status` and `down` as a user runs them, with small stand-ins for the mesh's programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

mod stage;

use std::io::Read;
use std::net::TcpListener;

use meshctl::mesh::Record;
use meshctl::mesh::record::Kind;
use rustix::process::Signal;

use crate::stage::{Ended, Stage, until};

#[test]
fn a_mesh_comes_up_is_shown_and_ends_without_a_trace() {
    let stage = Stage::new();
    let mut up = stage.up(&["--logs", "none"]);
    let record = up.ready();
    let kinds: Vec<Kind> = record.processes.iter().map(|process| process.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Citadel, Kind::Telemetry, Kind::Pilot, Kind::App, Kind::Sidecar]
    );
    assert!(record.workloads[0].ready && record.ready_seconds.is_some());
    let registry = std::fs::read_to_string(stage.path("state/registry/app-0.default.yaml")).unwrap();
    assert!(registry.contains("ready: true"), "{registry}");
    let token = std::fs::read_to_string(stage.path("state/tokens/default.default")).unwrap();
    assert_eq!(token, "token of default/default\n");

    let status = stage.run(&["status", "-o", "json"]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert_eq!(serde_json::from_str::<Record>(&status.stdout).unwrap(), record);

    let check = stage.run(&["check"]);
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains("every object is in use"), "{}", check.stdout);
    assert!(check.stderr.contains("Everything is well."), "{}", check.stderr);

    let again = stage.run(&["up", "-f", "mesh.yaml"]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("mesh test already runs"), "{}", again.stderr);

    up.signal(Signal::INT);
    let Ended { code, stdout, stderr } = up.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains("app-0") && stdout.contains("Mesh test is ready") && stdout.contains("end        Ctrl-C"),
        "{stdout}"
    );
    assert!(stderr.contains("√ citadel") && stderr.contains("√ app-0"), "{stderr}");
    assert!(
        !stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'),
        "no colour off a terminal"
    );
    stage.nothing_is_left(&record);
}

#[test]
fn findings_about_the_configuration_are_everywhere() {
    const ERROR: &str = r#"[{"file": "config/a.yaml", "line": 9, "column": 5, "severity": "error", "code": "WEFT0002",
        "object": "VirtualService/default/a", "field": "spec.htp", "message": "is not known", "hint": "did you mean http?"}]"#;
    const LINE: &str =
        "config/a.yaml:9:5: error [WEFT0002] VirtualService/default/a spec.htp: is not known; did you mean http?";
    let stage = Stage::new();
    let mut up = stage.up(&["--logs", "none"]);
    up.ready();
    std::fs::write(stage.path("bin/weft-pilot.finds"), ERROR).unwrap();
    let status = stage.run(&["status"]);
    assert_eq!(status.code, Some(79), "{}", status.stdout);
    assert!(
        status.stdout.contains("Mesh test: ready, since") && status.stdout.contains(LINE),
        "{}",
        status.stdout
    );
    let status = stage.run(&["status", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&json["ready"], &json["findings"][0]["line"]),
        (&true.into(), &9.into())
    );
    let check = stage.run(&["check", "-o", "short"]);
    assert_eq!((check.code, check.stdout), (Some(79), format!("\u{d7} {LINE}\n")));
    until("the finding on the terminal", || up.said().contains(LINE));
    up.signal(Signal::TERM);
    assert_eq!(up.end().stderr.matches(LINE).count(), 1);
}

/// As other verbs are used beside `cargo xtask demo`, whose state lies elsewhere.
#[test]
fn a_mesh_is_found_wherever_its_state_lies() {
    let stage = Stage::new();
    assert_eq!(stage.run_untold(&["status"]).code, Some(1));
    let mut up = stage.up(&["--logs", "none"]);
    let record = up.ready();
    for words in [
        &["status", "-o", "json"][..],
        &["status", "test", "-o", "json"],
        &["status", "--mesh", "test", "-o", "json"],
    ] {
        let status = stage.run_untold(words);
        assert_eq!(status.code, Some(0), "{words:?}: {}", status.stderr);
        assert_eq!(serde_json::from_str::<Record>(&status.stdout).unwrap(), record);
    }
    assert_eq!(stage.run_untold(&["proxy-status"]).code, Some(0));
    let wrong = stage.run_untold(&["status", "other"]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);

    // A second one beside it.
    let second = stage.start(&["up", "-f", "mesh.yaml", "--logs", "none", "--state-dir", "second"]);
    until("two meshes", || {
        let status = stage.run_untold(&["status"]);
        status.code == Some(64)
            && status
                .stderr
                .contains(&format!("--state-dir {}", stage.path("state").display()))
            && status
                .stderr
                .contains(&format!("--state-dir {}", stage.path("second").display()))
    });
    second.signal(Signal::TERM);
    let _ = second.end();

    let down = stage.run_untold(&["down"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    let _ = up.end();
    stage.nothing_is_left(&record);
    assert_eq!(
        std::fs::read_dir(stage.path("home/weft/.elsewhere")).unwrap().count(),
        0
    );
    assert_eq!(stage.run_untold(&["status"]).code, Some(1));
}

#[test]
fn programs_get_their_ports_and_proxy() {
    let stage = Stage::new();
    stage.write_mesh("    env: {GREETING: hello}\n");
    let mut up = stage.up(&[]);
    let record = up.ready();
    let workload = &record.workloads[0];
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", workload.ports[0].app_port)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /environment HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let proxy = workload.http_proxy.as_ref().unwrap();
    for line in [
        format!("http_proxy={proxy}"),
        format!("HTTP_PROXY={proxy}"),
        format!("PORT_HTTP={}", workload.ports[0].app_port),
        "WEFT_WORKLOAD=app-0".to_owned(),
        "GREETING=hello".to_owned(),
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} is not in {answer}");
    }
    assert!(
        !answer.contains("WEFT_STATE_DIR"),
        "meshctl's own variables are not passed on"
    );
    up.signal(Signal::TERM);
    let Ended { code, stderr, .. } = up.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("app-0"),
        "logs are streamed with the name of their process: {stderr}"
    );
}

#[test]
fn a_process_that_ends_during_the_start_ends_the_mesh_with_its_last_lines() {
    let stage = Stage::new();
    std::fs::write(
        stage.path("bin/weft-proxy.fails"),
        "cannot open the door\nthe key is gone",
    )
    .unwrap();
    let output = stage.run(&["up", "-f", "mesh.yaml"]);
    let stderr = &output.stderr;
    assert_eq!(output.code, Some(1), "{stderr}");
    assert!(
        stderr.contains("app-0/sidecar ended while the mesh was starting: exit status: 1"),
        "{stderr}"
    );
    assert!(
        stderr.contains("    cannot open the door\n    the key is gone"),
        "{stderr}"
    );
    for name in ["mesh.json", "registry", "tokens"] {
        assert!(!stage.path("state").join(name).exists(), "{name} was left behind");
    }
    let log = std::fs::read_to_string(stage.path("state/logs/app-0-sidecar.log")).unwrap();
    assert!(log.contains("the key is gone"), "{log}");
}

#[test]
fn a_mesh_that_does_not_get_ready_is_ended_with_what_it_waits_for() {
    let stage = Stage::new();
    let mesh = std::fs::read_to_string(stage.path("mesh.yaml")).unwrap();
    std::fs::write(stage.path("mesh.yaml"), mesh.replace("/healthz", "/fail")).unwrap();
    let output = stage.run(&["up", "-f", "mesh.yaml", "--timeout", "15s"]);
    let stderr = &output.stderr;
    assert_eq!(output.code, Some(2), "{stderr}");
    assert!(
        stderr.contains("  app-0: http://127.0.0.1:") && stderr.contains("/fail answers 503 ok"),
        "{stderr}"
    );
    assert!(!stage.path("state/mesh.json").exists());
}

#[test]
fn processes_that_are_killed_come_back_and_readiness_follows() {
    let stage = Stage::new();
    let mut up = stage.up(&["--logs", "none"]);
    let before = up.ready();
    let id = |record: &Record, kind: Kind| record.processes.iter().find(|process| process.kind == kind).unwrap().id;
    for kind in [Kind::Pilot, Kind::App] {
        id(&before, kind).unwrap().signal(Signal::KILL);
    }
    stage.record_when("the app's absence", |record| !record.workloads[0].ready);
    let degraded = stage.run(&["status"]);
    assert!(matches!(degraded.code, Some(0 | 79)), "{}", degraded.stderr);
    let after = stage.record_when("the return of both", |record| {
        record.workloads[0].ready
            && [Kind::Pilot, Kind::App]
                .iter()
                .all(|kind| id(record, *kind).is_some_and(|now| Some(now) != id(&before, *kind)))
    });
    for (before, after) in before.processes.iter().zip(&after.processes) {
        assert_eq!((&before.name, &before.command), (&after.name, &after.command));
        let restarted = matches!(before.kind, Kind::Pilot | Kind::App);
        assert_eq!(after.restarts, u32::from(restarted), "{}", after.name);
    }
    up.signal(Signal::TERM);
    let Ended { code, stderr, .. } = up.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("pilot ended: signal: 9 (SIGKILL)") && stderr.contains("starts again in 2 s"),
        "{stderr}"
    );
    assert!(
        stderr.contains("app-0 is not ready") && stderr.contains("app-0 is ready again"),
        "{stderr}"
    );
    stage.nothing_is_left(&after);
}

#[test]
fn processes_die_with_a_killed_up_and_the_next_one_cleans() {
    let stage = Stage::new();
    let mut up = stage.up(&["--logs", "none"]);
    let record = up.ready();
    up.signal(Signal::KILL);
    let _ = up.end();
    until("the end of all processes", || {
        record
            .processes
            .iter()
            .all(|process| !process.id.is_some_and(|id| id.is_running()))
    });
    assert!(stage.path("state/mesh.json").exists());
    let status = stage.run(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stderr.contains("meshctl down test"), "{}", status.stderr);

    let mut up = stage.up(&["--logs", "none"]);
    until("another mesh", || {
        stage.record().is_some_and(|now| now.supervisor != record.supervisor)
    });
    let second = up.ready();
    up.signal(Signal::KILL);
    let Ended { stderr, .. } = up.end();
    assert!(stderr.contains("was not ended in order"), "{stderr}");
    let down = stage.run(&["down"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    stage.nothing_is_left(&second);
    assert_eq!(stage.run(&["down"]).code, Some(0), "what is down stays down");
}

#[test]
fn a_detached_mesh_runs_on_until_down() {
    let stage = Stage::new();
    let output = stage.run(&["up", "-f", "mesh.yaml", "--detach", "-o", "json"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stderr.contains("√ app-0"), "{}", output.stderr);
    let record: Record = serde_json::from_str(&output.stdout).unwrap();
    assert!(record.supervisor.is_running());
    let down = stage.run(&["down"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    stage.nothing_is_left(&record);

    std::fs::write(stage.path("bin/weft-pilot.fails"), "no").unwrap();
    let output = stage.run(&["up", "-f", "mesh.yaml", "--detach"]);
    let stderr = &output.stderr;
    assert_eq!(output.code, Some(1), "{stderr}");
    assert!(stderr.contains("pilot ended while the mesh was starting"), "{stderr}");
}

#[test]
fn mistakes_have_their_exit_code_and_place() {
    let stage = Stage::new();
    #[track_caller]
    fn check(stage: &Stage, words: &[&str], code: i32, expected: &str) {
        let output = stage.run(words);
        let stderr = &output.stderr;
        assert_eq!(output.code, Some(code), "{words:?}: {stderr}");
        assert!(
            stderr.contains(expected),
            "{words:?}: {stderr:?} does not say {expected:?}"
        );
        assert!(output.stdout.is_empty());
    }
    check(&stage, &["upp"], 64, "up");
    check(&stage, &["up"], 64, "--file");
    check(&stage, &["proxy-config", "rout", "app"], 64, "route");
    check(&stage, &["up", "-f", "gone.yaml"], 65, "cannot read gone.yaml");
    check(&stage, &["status"], 1, "meshctl up -f mesh.yaml");
    check(
        &stage,
        &["proxy-config", "route", "--file", "mesh.yaml"],
        65,
        "not JSON",
    );
    for words in [
        &["proxy-config", "route", "--file", "gone"][..],
        &["inject", "-f", "gone"],
        &["inject", "-f", "mesh.yaml", "--settings", "gone"],
        &["manifest", "generate", "-f", "gone"],
        &["up", "-f", "gone"],
    ] {
        check(&stage, words, 65, "cannot read gone: No such file");
    }
    check(
        &stage,
        &["status", "-k"],
        1,
        "no cluster is known: there is no ~/.kube/config",
    );
    check(
        &stage,
        &["status", "--kubeconfig", "gone"],
        65,
        "cannot use the kubeconfig gone: No such file",
    );
    std::fs::write(
        stage.path("service.yaml"),
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
    )
    .unwrap();
    check(
        &stage,
        &["up", "-f", "service.yaml"],
        65,
        "service.yaml holds no LocalMesh but Service",
    );
    stage.write_mesh("    repicas: 2\n");
    check(&stage, &["up", "-f", "mesh.yaml"], 65, "mesh.yaml:12:5");
    stage.write_mesh("    replicas: many\n");
    check(&stage, &["up", "-f", "mesh.yaml"], 65, "mesh.yaml:12:");
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = used.local_addr().unwrap().port();
    stage.write_mesh(&format!("  gateways:\n  - name: in\n    ports: {{80: {port}}}\n"));
    let expected = format!(
        "spec.gateways[0].ports.80: port {port} on 127.0.0.1 is in use by process {}",
        std::process::id()
    );
    check(&stage, &["up", "-f", "mesh.yaml"], 65, &expected);
}
