//! The file that starts a mesh on one machine, and the registry entries that describe what runs.

use std::time::Duration;

use weft_api::local_mesh::{DataPlane, LocalMesh, Probe};
use weft_api::local_workload::Role;
use weft_api::parse::parse;
use weft_api::resource::Resource;

const MESH: &str = r#"
apiVersion: weft.mesh/v1alpha1
kind: LocalMesh
metadata: {name: demo}
spec:
  config: [./config]                  # directories or files with Istio and Kubernetes YAML
  workloads:
  - name: callme-v1
    namespace: default
    serviceAccount: callme
    labels: {app: callme, version: v1}
    ports: [{name: http, port: 0}]
    command: ["python3", "app.py", "--port", "$(PORT_HTTP)"]
    env: {VERSION: v1, WORKERS: 2, DEBUG: true}
    replicas: 1
    readiness: {httpGet: {path: /healthz, port: http}}
    dataPlane: weft
  - {name: other, command: [sleep, "1"], dataPlane: envoy}
  gateways:
  - name: ingress
    labels: {istio: ingressgateway}
    ports: {80: 18080, 443: 18443}
"#;

fn mesh() -> LocalMesh {
    let parsed = parse("mesh.yaml", MESH);
    assert_eq!(parsed.diagnostics, []);
    match parsed.resources.as_slice() {
        [Resource::LocalMesh(object)] => object.spec.clone(),
        other => panic!("not a mesh: {other:?}"),
    }
}

#[test]
fn everything_is_read() {
    let mesh = mesh();
    assert_eq!(mesh.config, ["./config"]);
    let workload = &mesh.workloads[0];
    assert_eq!(workload.command[3], "$(PORT_HTTP)");
    let env: Vec<_> = workload.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("VERSION", "v1"), ("WORKERS", "2"), ("DEBUG", "true")]);
    let readiness = workload.readiness.as_ref().unwrap();
    assert_eq!(
        readiness.probe,
        Probe::HttpGet {
            path: "/healthz".to_owned(),
            port: "http".to_owned()
        }
    );
    assert_eq!(readiness.timeout, Duration::from_secs(1));
    let gateway = &mesh.gateways[0];
    assert_eq!(
        gateway.ports.iter().collect::<Vec<_>>(),
        [(&80, &18080), (&443, &18443)]
    );
}

/// The state of a mesh lies in a directory of its name.
#[test]
fn names_are_no_paths() {
    for (name, expected) in [
        ("demo", 0),
        ("a.b-1", 0),
        ("../x", 1),
        (".elsewhere", 1),
        ("a/b", 1),
        ("Demo", 1),
    ] {
        let text = MESH.replace("{name: demo}", &format!("{{name: '{name}'}}"));
        let found = parse("mesh.yaml", &text).diagnostics;
        let named = found.iter().filter(|found| found.field == "metadata.name");
        assert_eq!(named.count(), expected, "{name}: {found:?}");
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let mesh = mesh();
    let other = &mesh.workloads[1];
    assert_eq!(
        (other.namespace.as_str(), other.service_account.as_str()),
        ("default", "default")
    );
    assert_eq!((other.replicas, other.data_plane), (1, DataPlane::Envoy));
    assert_eq!(other.readiness, None);
    assert_eq!(mesh.gateways[0].service_account, "default");
}

#[test]
fn registry_entries_are_read() {
    let text = "apiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                metadata: {name: callme-v1-0, namespace: default, labels: {app: callme}}\nspec:\n  role: sidecar\n  \
                workloadName: callme-v1\n  serviceAccount: callme\n  dataPlane: weft\n  address: 127.0.0.1\n  \
                ready: true\n  outboundPort: 41002\n  ports:\n  \
                - {name: http, declaredPort: 0, appPort: 41000, meshPort: 41001}\n---\n\
                apiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\nmetadata: {name: ingress-0}\nspec:\n  \
                role: gateway\n  gatewayPorts: [{port: 80, localPort: 18080}]\n";
    let parsed = parse("registry.yaml", text);
    assert_eq!(parsed.diagnostics, []);
    let [Resource::LocalWorkload(sidecar), Resource::LocalWorkload(gateway)] = parsed.resources.as_slice() else {
        panic!("not two workloads: {:?}", parsed.resources)
    };
    assert!(sidecar.spec.ready && !gateway.spec.ready);
    assert_eq!(sidecar.spec.ports[0].mesh_port, 41001);
    assert_eq!((sidecar.spec.role, gateway.spec.role), (Role::Sidecar, Role::Gateway));
    assert_eq!(gateway.spec.workload_name, "ingress-0");
    assert_eq!(gateway.spec.gateway_ports[0].local_port, 18080);
}
