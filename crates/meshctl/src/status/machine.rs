//! What runs on this machine and whether it is ready, from the record of the mesh, and what pilot says of its configuration.

use serde::Serialize;
use weft_api::diagnostic::{Diagnostic, Severity};

use crate::exit::Exit;
use crate::mesh::Record;
use crate::mesh::record::{Phase, ProcessState};
use crate::output::{self, Format, Table};
use crate::proxy_status::{self, ProxyState};
use crate::told;
use crate::up::outline;

/// Most things that the headline names.
const NAMED_MAX: usize = 3;

/// The record, and what follows from it.
#[derive(Debug, Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    record: &'a Record,
    /// Whether everything runs and takes traffic, and no proxy refuses configuration.
    ready: bool,
    /// What keeps it from that.
    problems: Vec<String>,
    /// What is wrong in the configuration, the worst first; absent where pilot does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Diagnostic>>,
}

/// Shows a mesh; exit code 79 if something is not ready, or an object is not applied.
pub(super) async fn show(record: &Record, format: Format) -> anyhow::Result<Exit> {
    let pilot = &record.addresses.pilot_monitoring;
    let findings = told::findings(pilot).await;
    let proxies = proxy_status::ask_at(pilot).await;
    let status = Status::new(record, findings.ok(), &proxies.unwrap_or_default());
    output::print(format, &status, table)?;
    Ok(if status.is_well() { Exit::Ok } else { Exit::Findings })
}

fn table(status: &Status<'_>) -> String {
    let record = status.record;
    let mut processes = Table::new(&["PROCESS", "STATE", "PID", "RESTARTS", "LOG"]);
    for process in &record.processes {
        processes.row([
            process.name.clone(),
            state(process.state).to_owned(),
            process.id.map_or_else(|| "-".to_owned(), |id| id.pid.to_string()),
            process.restarts.to_string(),
            process.log.display().to_string(),
        ]);
    }
    let mut text = format!(
        "Mesh {}: {}, since {}, graph at http://{}/\n\n{}\n{}",
        record.name,
        status.headline(),
        record.started_at,
        record.addresses.telemetry,
        outline::table(record),
        processes.render()
    );
    match &status.findings {
        None => text.push_str("\nConfiguration: not known, since pilot does not answer\n"),
        Some(findings) if findings.is_empty() => {}
        Some(findings) => {
            text.push_str("\nConfiguration:\n");
            findings.iter().for_each(|found| text.push_str(&format!("  {found}\n")));
        }
    }
    text
}

fn state(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Pending => "pending",
        ProcessState::Running => "running",
        ProcessState::Exited => "exited",
    }
}

/// What is not as it should be of what runs.
fn problems(record: &Record) -> Vec<String> {
    let phase = match record.phase {
        Phase::Starting => Some("it is starting".to_owned()),
        Phase::Stopping => Some("it is ending".to_owned()),
        Phase::Ready => None,
    };
    let processes = record
        .processes
        .iter()
        .filter(|process| process.state != ProcessState::Running);
    let processes = processes.map(|process| match process.state {
        ProcessState::Exited => format!("{} has exited", process.name),
        ProcessState::Pending | ProcessState::Running => format!("{} has not started", process.name),
    });
    let workloads = record.workloads.iter().filter(|workload| !workload.ready);
    let workloads = workloads.map(|workload| format!("{} takes no traffic", workload.name));
    phase.into_iter().chain(processes).chain(workloads).collect()
}

// === impl Status ===

impl<'a> Status<'a> {
    fn new(record: &'a Record, findings: Option<Vec<Diagnostic>>, proxies: &[ProxyState]) -> Self {
        let mut problems = problems(record);
        problems.extend(proxies.iter().flat_map(ProxyState::refusals));
        Self {
            record,
            ready: problems.is_empty(),
            problems,
            findings,
        }
    }

    fn is_well(&self) -> bool {
        let findings = self.findings.iter().flatten();
        self.ready && self.findings.is_some() && findings.into_iter().all(|found| found.severity != Severity::Error)
    }

    fn headline(&self) -> String {
        if self.ready {
            return "ready".to_owned();
        }
        let named: Vec<&str> = self.problems.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = match self.problems.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("not ready ({}{more})", named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_shows_workloads_and_processes() {
        let text = include_str!("../../tests/data/mesh.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        let well = Status::new(&record, Some(Vec::new()), &[]);
        expect![[r#"
            Mesh demo: ready, since 2026-11-23T20:30:12Z, graph at http://127.0.0.1:20001/

            WORKLOAD    NAMESPACE    DATA PLANE    READY    PORTS                            HTTP PROXY                ADMIN
            caller-0    default      weft          yes      http 127.0.0.1:28558             http://127.0.0.1:28557    127.0.0.1:28560
            ingress     default      weft          yes      80 -> http://127.0.0.1:18080/    -                         127.0.0.1:28575

            PROCESS             STATE      PID     RESTARTS    LOG
            citadel             running    4041    0           /home/user/.local/state/weft/demo/logs/citadel.log
            caller-0            running    4049    0           /home/user/.local/state/weft/demo/logs/caller-0.log
            caller-0/sidecar    running    4097    0           /home/user/.local/state/weft/demo/logs/caller-0-sidecar.log
            ingress             running    4101    0           /home/user/.local/state/weft/demo/logs/ingress.log
        "#]].assert_eq(&table(&well));
        assert!(well.is_well());
        record.processes[0].state = ProcessState::Exited;
        record.workloads[0].ready = false;
        let ill = Status::new(&record, None, &[]);
        assert!(!ill.is_well());
        let text = table(&ill);
        assert!(
            text.starts_with("Mesh demo: not ready (citadel has exited, caller-0 takes no traffic), since"),
            "{text}"
        );
        assert!(
            text.ends_with("Configuration: not known, since pilot does not answer\n"),
            "{text}"
        );
    }

    #[test]
    fn errors_in_the_configuration_are_shown() {
        let text = include_str!("../../tests/data/mesh.json");
        let record: Record = serde_json::from_str(text).unwrap();
        let found = |severity: Severity| Diagnostic {
            file: "config/a.yaml".into(),
            line: 9,
            column: 5,
            severity,
            code: "WEFT0002".into(),
            object: "VirtualService/default/a".to_owned(),
            field: "spec.htp".to_owned(),
            message: "is not known".to_owned(),
            hint: "did you mean http?".to_owned(),
        };
        let status = Status::new(&record, Some(vec![found(Severity::Error)]), &[]);
        assert!(status.ready && !status.is_well());
        let line = "\nConfiguration:\n  config/a.yaml:9:5: error [WEFT0002] VirtualService/default/a spec.htp: is not \
                    known; did you mean http?\n";
        assert!(table(&status).ends_with(line), "{}", table(&status));
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&json["name"], &json["findings"][0]["line"]),
            (&"demo".into(), &9.into())
        );
        assert!(Status::new(&record, Some(vec![found(Severity::Warning)]), &[]).is_well());
    }

    /// A listener that a proxy refuses serves nobody, or serves as it did before a policy changed.
    #[test]
    fn what_a_proxy_refuses_is_not_ready() {
        let text = include_str!("../../tests/data/mesh.json");
        let record: Record = serde_json::from_str(text).unwrap();
        let proxies = [ProxyState::refusing(
            "caller-0.default",
            "Listener refused: 127.0.0.1_15001: no such field",
        )];
        let status = Status::new(&record, Some(Vec::new()), &proxies);
        assert!(!status.ready && !status.is_well());
        let text = table(&status);
        let expected =
            "Mesh demo: not ready (caller-0.default: Listener refused: 127.0.0.1_15001: no such field), since";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn the_record_reads_what_it_writes() {
        let text = include_str!("../../tests/data/mesh.json");
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(output::json(&record).unwrap(), text);
    }
}
