//! The record of a planned mesh, and what of it a person wants to see first.

use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft_api::local_mesh::DataPlane;

use crate::mesh::StateDir;
use crate::mesh::process::ProcessId;
use crate::mesh::record::{GatewayPortRecord, Phase, PortRecord, ProcessRecord, ProcessState, Record, WorkloadRecord};
use crate::output::Table;
use crate::up::commands::local;
use crate::up::plan::{Member, Plan, Role};
use crate::up::registry::data_plane_text;
use crate::up::spec::ProcessSpec;

/// The record of a mesh that is about to start.
pub(crate) fn record(plan: &Plan, state: &StateDir, now: OffsetDateTime) -> Record {
    Record {
        name: plan.name.clone(),
        mesh_file: plan.file.clone(),
        state_directory: state.root().to_owned(),
        phase: Phase::Starting,
        started_at: now
            .replace_nanosecond(0)
            .unwrap_or(now)
            .format(&Rfc3339)
            .unwrap_or_default(),
        ready_seconds: None,
        supervisor: ProcessId::current(),
        addresses: plan.addresses.clone(),
        example: None,
        processes: Vec::new(),
        workloads: plan.members.iter().map(member).collect(),
    }
}

/// The record of a process that is about to start.
pub(crate) fn process(spec: &ProcessSpec, log: &Path) -> ProcessRecord {
    let mut command = vec![spec.program.to_string_lossy().into_owned()];
    command.extend(spec.args.iter().cloned());
    ProcessRecord {
        name: spec.name.clone(),
        kind: spec.kind,
        state: ProcessState::Pending,
        id: None,
        restarts: 0,
        command,
        environment: spec.env.clone(),
        directory: spec.directory.clone(),
        log: log.to_owned(),
    }
}

fn member(member: &Member) -> WorkloadRecord {
    let mut record = WorkloadRecord {
        name: member.name.clone(),
        namespace: member.namespace.clone(),
        workload: member.workload.clone(),
        service_account: member.service_account.clone(),
        labels: member.labels.clone(),
        role: "gateway".to_owned(),
        data_plane: data_plane_text(member.data_plane).to_owned(),
        ready: false,
        http_proxy: None,
        admin: local(member.admin),
        status: (member.data_plane == DataPlane::Weft).then(|| local(member.status)),
        ports: Vec::new(),
        gateway_ports: Vec::new(),
    };
    match &member.role {
        Role::Workload(workload) => {
            record.role = "sidecar".to_owned();
            record.http_proxy = Some(format!("http://{}", local(workload.outbound)));
            let ports = workload.ports.iter().map(|port| PortRecord {
                name: port.name.clone(),
                app_port: port.app,
                mesh_port: port.mesh,
            });
            record.ports = ports.collect();
        }
        Role::Gateway { ports } => {
            let ports = ports.iter().map(|port| GatewayPortRecord {
                port: port.server,
                local_port: port.local,
            });
            record.gateway_ports = ports.collect();
        }
    }
    record
}

/// Where something that runs under `name` can be reached.
pub(crate) fn address(record: &Record, name: &str) -> String {
    let addresses = &record.addresses;
    match name {
        "citadel" => addresses.citadel.clone(),
        "pilot" => format!("xds {}", addresses.xds_tls),
        "telemetry" => format!("http://{}/", addresses.telemetry),
        _ => {
            let of_name = |workload: &&WorkloadRecord| {
                workload.name == name || format!("{}.{}", workload.name, workload.namespace) == name
            };
            record.workloads.iter().find(of_name).map(ports).unwrap_or_default()
        }
    }
}

fn ports(workload: &WorkloadRecord) -> String {
    let own = workload
        .ports
        .iter()
        .map(|port| format!("{} {}", port.name, local(port.app_port)));
    let gateway = workload
        .gateway_ports
        .iter()
        .map(|port| format!("{} -> http://{}/", port.port, local(port.local_port)));
    own.chain(gateway).collect::<Vec<_>>().join(", ")
}

/// The table of workloads.
pub(crate) fn table(record: &Record) -> String {
    let mut table = Table::new(&[
        "WORKLOAD",
        "NAMESPACE",
        "DATA PLANE",
        "READY",
        "PORTS",
        "HTTP PROXY",
        "ADMIN",
    ]);
    for workload in &record.workloads {
        table.row([
            workload.name.clone(),
            workload.namespace.clone(),
            workload.data_plane.clone(),
            if workload.ready { "yes" } else { "no" }.to_owned(),
            ports(workload),
            workload.http_proxy.clone().unwrap_or_else(|| "-".to_owned()),
            workload.admin.clone(),
        ]);
    }
    table.render()
}

/// The table, where the page is, how to try the mesh and how to `end` it.
pub(crate) fn summary(record: &Record, end: &str) -> String {
    let mut text = table(record);
    let seconds = record.ready_seconds.unwrap_or_default();
    text.push_str(&format!("\nMesh {} is ready after {seconds:.1} s.\n", record.name));
    text.push_str(&format!("  graph      http://{}/\n", record.addresses.telemetry));
    if let Some(example) = &record.example {
        text.push_str(&format!("  try        {example}\n"));
    }
    text.push_str(&format!(
        "  look into  meshctl proxy-config route {}\n",
        first_workload(record)
    ));
    text.push_str(&format!("  end        {end}\n"));
    text
}

fn first_workload(record: &Record) -> &str {
    record
        .workloads
        .first()
        .map_or("WORKLOAD", |workload| workload.name.as_str())
}
