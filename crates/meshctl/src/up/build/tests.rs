//! Plans of small mesh files, and every mistake that keeps one from being made.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use weft_api::local_mesh::{DataPlane, Probe as MeshProbe, Readiness};

use super::*;
use crate::up::probe::Question;

struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("config")).unwrap();
        let app = directory.path().join("app");
        std::fs::write(&app, "").unwrap();
        std::fs::set_permissions(&app, PermissionsExt::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn plan(&self, mesh: &LocalMesh) -> Result<Plan, Vec<String>> {
        let path = self.directory.path().join("mesh.yaml");
        let file = MeshFile {
            name: "demo",
            path: &path,
            shown: "mesh.yaml",
            mesh,
        };
        let tools = Tools::of_user(None).unwrap();
        let problems = |problems: Vec<Problem>| problems.into_iter().map(|Problem(text)| text).collect();
        build(file, &mut Ports::of_system(5), &tools).map_err(problems)
    }

    #[track_caller]
    fn refused(&self, mesh: &LocalMesh, expected: &[&str]) {
        let problems = self.plan(mesh).unwrap_err();
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }
}

fn mesh(workloads: Vec<MeshWorkload>, gateways: Vec<MeshGateway>) -> LocalMesh {
    LocalMesh {
        trace_sampling: 100,
        config: vec!["./config".to_owned()],
        workloads,
        gateways,
    }
}

fn workload(name: &str) -> MeshWorkload {
    MeshWorkload {
        at: Position { line: 7, column: 5 },
        name: name.to_owned(),
        namespace: "default".to_owned(),
        service_account: "default".to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        ports: vec![port("http", 0)],
        command: vec!["./app".to_owned(), "--port=$(PORT_HTTP)".to_owned()],
        env: [("URL".to_owned(), "http://127.0.0.1:$(PORT_HTTP)/$$(x)".to_owned())]
            .into_iter()
            .collect(),
        working_dir: None,
        replicas: 1,
        readiness: None,
        data_plane: DataPlane::Weft,
    }
}

fn port(name: &str, port: u16) -> MeshPort {
    MeshPort {
        at: Position { line: 9, column: 11 },
        name: name.to_owned(),
        port,
    }
}

fn gateway(name: &str, ports: &[(u16, u16)]) -> MeshGateway {
    MeshGateway {
        at: Position { line: 20, column: 5 },
        name: name.to_owned(),
        namespace: "default".to_owned(),
        service_account: "default".to_owned(),
        labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
        ports: ports.iter().copied().collect(),
        data_plane: DataPlane::Weft,
    }
}

#[test]
fn replicas_get_their_own_ports_and_environment() {
    let stage = Stage::new();
    let two = MeshWorkload {
        replicas: 2,
        ..workload("a")
    };
    let plan = stage.plan(&mesh(vec![two], vec![gateway("in", &[(80, 0)])])).unwrap();
    let names: Vec<&str> = plan.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["a-0", "a-1", "in"]);
    assert_eq!(
        plan.members[1].node_id(),
        "sidecar~127.0.0.1~a-1.default~default.svc.cluster.local"
    );
    assert_eq!(
        plan.members[2].node_id(),
        "router~127.0.0.1~in.default~default.svc.cluster.local"
    );

    let first = plan.members[0].workload().unwrap();
    let app = first.ports[0].app;
    assert_eq!(first.program, stage.directory.path().join("./app"));
    assert_eq!(first.args, [format!("--port={app}")]);
    assert_eq!(first.env["PORT_HTTP"], app.to_string());
    assert_eq!(first.env["URL"], format!("http://127.0.0.1:{app}/$(x)"));
    assert_eq!(first.env["WEFT_WORKLOAD"], "a-0");
    assert_eq!(first.env["http_proxy"], format!("http://127.0.0.1:{}", first.outbound));
    assert_eq!(first.env["http_proxy"], first.env["HTTP_PROXY"]);
    assert_eq!(first.probes[0].question, Question::Tcp { address: local(app) });

    let mut ports = vec![];
    for member in &plan.members {
        ports.extend([member.admin, member.status, member.readiness]);
        if let Some(workload) = member.workload() {
            ports.push(workload.outbound);
            ports.extend(workload.ports.iter().flat_map(|port| [port.app, port.mesh]));
        }
    }
    let unique: BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(unique.len(), ports.len());
}

#[test]
fn readiness_names_a_port() {
    let stage = Stage::new();
    #[track_caller]
    fn check(stage: &Stage, port: &str, expected: Option<&str>) {
        let readiness = Readiness {
            probe: MeshProbe::HttpGet {
                path: "/healthz".to_owned(),
                port: port.to_owned(),
            },
            period: Duration::from_millis(100),
            timeout: Duration::from_secs(2),
        };
        let mesh = mesh(
            vec![MeshWorkload {
                readiness: Some(readiness),
                ..workload("a")
            }],
            vec![],
        );
        match (stage.plan(&mesh), expected) {
            (Ok(plan), None) => {
                let workload = plan.members[0].workload().unwrap();
                let address = if port == "9999" {
                    local(9999)
                } else {
                    local(workload.ports[0].app)
                };
                let path = "/healthz".to_owned();
                assert_eq!(workload.probes[0].question, Question::Http { address, path });
            }
            (result, expected) => {
                let problems = result.unwrap_err();
                assert_eq!(problems, [expected.unwrap()]);
            }
        }
    }
    check(&stage, "http", None);
    check(&stage, "9999", None);
    let error = "mesh.yaml:7:5: spec.workloads[0].readiness.httpGet.port: \"grpc\" is no port of this workload, which has: http";
    check(&stage, "grpc", Some(error));
}

#[test]
fn all_mistakes_are_told_with_their_place() {
    let stage = Stage::new();
    let mut first = workload("a");
    first.command = vec!["./gone".to_owned(), "$(PORT_GRPC)".to_owned()];
    first.env = [("X".to_owned(), "$(Y)".to_owned())].into_iter().collect();
    let mut second = workload("b");
    second.command = vec!["no-such-program-anywhere".to_owned()];
    second.working_dir = Some("nowhere".to_owned());
    let mut mesh = mesh(vec![first, second], vec![gateway("b-0", &[])]);
    mesh.config.push("missing".to_owned());
    stage.refused(
        &mesh,
        &[
            "mesh.yaml: spec.config[1]: cannot read ",
            "mesh.yaml:7:5: spec.workloads[0].env.X: $(Y) is not known here",
            "mesh.yaml:7:5: spec.workloads[0].command[1]: $(PORT_GRPC) is not known here",
            "mesh.yaml:7:5: spec.workloads[1].workingDir: ",
            "mesh.yaml:7:5: spec.workloads[1].command[0]: no-such-program-anywhere: command not found",
            "mesh.yaml: spec: two workloads or gateways would be called b-0",
        ],
    );
}

#[test]
fn ports_in_use_name_place_user_and_fix() {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let used = listener.local_addr().unwrap().port();
    let fixed = |name: &str| MeshWorkload {
        ports: vec![port("http", used)],
        ..workload(name)
    };
    stage.refused(
        &mesh(vec![fixed("a")], vec![gateway("in", &[(80, used)])]),
        &[
            &format!("mesh.yaml:20:5: spec.gateways[0].ports.80: port {used} on 127.0.0.1 is in use by process "),
            &format!("mesh.yaml:9:11: spec.workloads[0].ports[0].port: port {used} on 127.0.0.1 is in use by process "),
        ],
    );
    drop(listener);
    stage.refused(
        &mesh(vec![fixed("a"), fixed("b")], vec![]),
        &[&format!(
            "mesh.yaml:9:11: spec.workloads[1].ports[0].port: port {used} is given twice in this mesh"
        )],
    );
    stage.refused(
        &mesh(
            vec![MeshWorkload {
                replicas: 2,
                ..fixed("a")
            }],
            vec![],
        ),
        &["2 replicas cannot share port "],
    );
}
