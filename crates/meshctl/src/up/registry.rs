//! The registry: one `LocalWorkload` file for each member, from which pilot learns about it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use weft_api::local_mesh::DataPlane;

use crate::mesh::record::replace_file;
use crate::up::plan::{Member, Role};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalWorkload<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    role: &'static str,
    workload_name: &'a str,
    service_account: &'a str,
    data_plane: &'static str,
    address: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound_port: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Port<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway_ports: Vec<GatewayPort>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    name: &'a str,
    declared_port: u16,
    app_port: u16,
    mesh_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayPort {
    port: u16,
    local_port: u16,
}

/// The file of a member.
pub(crate) fn path(registry: &Path, member: &Member) -> PathBuf {
    registry.join(format!("{}.{}.yaml", member.name, member.namespace))
}

/// Writes the file of a member, in one step. Its endpoints take traffic only while `ready`.
pub(crate) fn write(registry: &Path, member: &Member, ready: bool) -> io::Result<()> {
    replace_file(&path(registry, member), text(member, ready)?.as_bytes())
}

/// What the file of a member says.
pub(crate) fn text(member: &Member, ready: bool) -> io::Result<String> {
    serde_saphyr::to_string(&object(member, ready)).map_err(io::Error::other)
}

/// As objects write it.
pub(crate) fn data_plane_text(data_plane: DataPlane) -> &'static str {
    match data_plane {
        DataPlane::Weft => "weft",
        DataPlane::Envoy => "envoy",
    }
}

fn object(member: &Member, ready: bool) -> LocalWorkload<'_> {
    let mut spec = Spec {
        role: "gateway",
        workload_name: &member.workload,
        service_account: &member.service_account,
        data_plane: data_plane_text(member.data_plane),
        address: "127.0.0.1",
        ready,
        outbound_port: None,
        ports: Vec::new(),
        gateway_ports: Vec::new(),
    };
    match &member.role {
        Role::Workload(workload) => {
            spec.role = "sidecar";
            spec.outbound_port = Some(workload.outbound);
            let ports = workload.ports.iter().map(|port| Port {
                name: &port.name,
                declared_port: port.declared,
                app_port: port.app,
                mesh_port: port.mesh,
            });
            spec.ports = ports.collect();
        }
        Role::Gateway { ports } => {
            let ports = ports.iter().map(|port| GatewayPort {
                port: port.server,
                local_port: port.local,
            });
            spec.gateway_ports = ports.collect();
        }
    }
    LocalWorkload {
        api_version: "weft.mesh/v1alpha1",
        kind: "LocalWorkload",
        metadata: Metadata {
            name: &member.name,
            namespace: &member.namespace,
            labels: &member.labels,
        },
        spec,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::up::plan::{GatewayPort as PlanGatewayPort, Workload, WorkloadPort};

    fn member(role: Role) -> Member {
        Member {
            name: "callme-v1-0".to_owned(),
            namespace: "default".to_owned(),
            workload: "callme-v1".to_owned(),
            service_account: "callme".to_owned(),
            labels: [
                ("app".to_owned(), "callme".to_owned()),
                ("version".to_owned(), "1".to_owned()),
            ]
            .into(),
            data_plane: DataPlane::Weft,
            admin: 1,
            status: 2,
            readiness: 3,
            role,
        }
    }

    fn workload() -> Role {
        Role::Workload(Workload {
            outbound: 41_002,
            ports: vec![WorkloadPort {
                name: "http".to_owned(),
                declared: 0,
                app: 41_000,
                mesh: 41_001,
            }],
            program: PathBuf::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            directory: PathBuf::new(),
            probes: Vec::new(),
            period: std::time::Duration::ZERO,
        })
    }

    #[test]
    fn a_file_says_what_pilot_needs_and_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let mut member = member(workload());
        write(directory.path(), &member, false).unwrap();
        write(directory.path(), &member, true).unwrap();
        let text = std::fs::read_to_string(directory.path().join("callme-v1-0.default.yaml")).unwrap();
        expect![[r#"
            apiVersion: weft.mesh/v1alpha1
            kind: LocalWorkload
            metadata:
              name: callme-v1-0
              namespace: default
              labels:
                app: callme
                version: "1"
            spec:
              role: sidecar
              workloadName: callme-v1
              serviceAccount: callme
              dataPlane: weft
              address: "127.0.0.1"
              ready: true
              outboundPort: 41002
              ports:
              - name: http
                declaredPort: 0
                appPort: 41000
                meshPort: 41001
        "#]]
        .assert_eq(&text);
        member.role = Role::Gateway {
            ports: vec![PlanGatewayPort {
                server: 80,
                local: 18_080,
            }],
        };
        write(directory.path(), &member, true).unwrap();
        let text = std::fs::read_to_string(path(directory.path(), &member)).unwrap();
        expect![[r#"
            apiVersion: weft.mesh/v1alpha1
            kind: LocalWorkload
            metadata:
              name: callme-v1-0
              namespace: default
              labels:
                app: callme
                version: "1"
            spec:
              role: gateway
              workloadName: callme-v1
              serviceAccount: callme
              dataPlane: weft
              address: "127.0.0.1"
              ready: true
              gatewayPorts:
              - port: 80
                localPort: 18080
        "#]]
        .assert_eq(&text);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
