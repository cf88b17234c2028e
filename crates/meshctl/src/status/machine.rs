//! What runs on this machine and whether it is ready, from the record of the mesh.

use crate::exit::Exit;
use crate::mesh::Record;
use crate::mesh::record::{Phase, ProcessState};
use crate::output::{self, Format, Table};
use crate::up::outline;

/// Shows a mesh.
pub(super) fn show(record: &Record, format: Format) -> anyhow::Result<Exit> {
    output::print(format, record, table)?;
    Ok(if is_well(record) { Exit::Ok } else { Exit::Findings })
}

fn is_well(record: &Record) -> bool {
    record.phase == Phase::Ready
        && record.workloads.iter().all(|workload| workload.ready)
        && record
            .processes
            .iter()
            .all(|process| process.state == ProcessState::Running)
}

fn table(record: &Record) -> String {
    let mut processes = Table::new(&["PROCESS", "STATE", "PID", "RESTARTS", "LOG"]);
    for process in &record.processes {
        let state = match process.state {
            ProcessState::Pending => "pending",
            ProcessState::Running => "running",
            ProcessState::Exited => "exited",
        };
        processes.row([
            process.name.clone(),
            state.to_owned(),
            process.id.map_or_else(|| "-".to_owned(), |id| id.pid.to_string()),
            process.restarts.to_string(),
            process.log.display().to_string(),
        ]);
    }
    let phase = match record.phase {
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Stopping => "stopping",
    };
    format!(
        "Mesh {}: {phase} since {}, graph at http://{}/\n\n{}\n{}",
        record.name,
        record.started_at,
        record.addresses.telemetry,
        outline::table(record),
        processes.render()
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_shows_workloads_and_processes() {
        let text = include_str!("../../tests/data/mesh.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        expect![[r#"
            Mesh demo: ready since 2026-11-23T20:30:12Z, graph at http://127.0.0.1:20001/

            WORKLOAD    NAMESPACE    DATA PLANE    READY    PORTS                            HTTP PROXY                ADMIN
            caller-0    default      weft          yes      http 127.0.0.1:28558             http://127.0.0.1:28557    127.0.0.1:28560
            ingress     default      weft          yes      80 -> http://127.0.0.1:18080/    -                         127.0.0.1:28575

            PROCESS             STATE      PID     RESTARTS    LOG
            citadel             running    4041    0           /home/user/.local/state/weft/demo/logs/citadel.log
            caller-0            running    4049    0           /home/user/.local/state/weft/demo/logs/caller-0.log
            caller-0/sidecar    running    4097    0           /home/user/.local/state/weft/demo/logs/caller-0-sidecar.log
            ingress             running    4101    0           /home/user/.local/state/weft/demo/logs/ingress.log
        "#]]
        .assert_eq(&table(&record));
        assert!(is_well(&record));
        record.workloads[0].ready = false;
        assert!(!is_well(&record));
    }

    #[test]
    fn the_record_reads_what_it_writes() {
        let text = include_str!("../../tests/data/mesh.json");
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(output::json(&record).unwrap(), text);
    }
}
