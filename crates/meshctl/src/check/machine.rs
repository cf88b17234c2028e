//! A mesh of this machine: its processes, its workloads, their proxies and its configuration.

use std::collections::BTreeSet;

use weft_api::diagnostic::{Diagnostic, Severity, code};

use super::{Look, NAMED_MAX};
use crate::fetch::Server;
use crate::install::{Finding, Mark};
use crate::mesh::Record;
use crate::mesh::record::{Phase, ProcessState};
use crate::proxy_status::{self, ProxyState};
use crate::{output, told};

/// Looks at everything that the record and pilot say, and whether pilot has made up its mind about the configuration.
pub(super) async fn look(record: &Record) -> Look {
    let mut findings = vec![phase(record)];
    findings.extend(processes(record));
    findings.extend(workloads(record));
    let pilot = Server::Address(record.addresses.pilot_monitoring.clone());
    let states = proxy_status::ask(&[(String::new(), pilot)]).await;
    findings.extend(states.map_or_else(
        |error| vec![silent("proxies", &error)],
        |states| proxies(record, &states),
    ));
    let pilot = &record.addresses.pilot_monitoring;
    // What is told is asked for last: what holds and is not among it came between the two.
    let (now, told) = match told::now(pilot).await {
        Ok(now) => (now, told::findings(pilot).await),
        Err(error) => (Vec::new(), Err(error)),
    };
    let mut settled = true;
    match told {
        Ok(told) => {
            let unsettled: Vec<&Diagnostic> = now.iter().filter(|found| !told.contains(found)).collect();
            settled = unsettled.is_empty();
            findings.extend(configuration(&told, &unsettled));
        }
        Err(error) => findings.push(silent("configuration", &error)),
    }
    Look { findings, settled }
}

/// Pilot cannot be asked; that it ended is a finding beside this one.
fn silent(category: &'static str, error: &anyhow::Error) -> Finding {
    let text = format!("pilot cannot be asked: {}", output::causes(error));
    Finding::new(category, Mark::Bad, text, "see meshctl logs pilot")
}

fn phase(record: &Record) -> Finding {
    const CATEGORY: &str = "mesh";
    let name = &record.name;
    match record.phase {
        Phase::Ready => Finding::new(CATEGORY, Mark::Good, format!("mesh {name} runs"), ""),
        Phase::Starting => {
            let hint = "meshctl check --wait 1m waits for it";
            Finding::new(CATEGORY, Mark::Bad, format!("mesh {name} is starting"), hint)
        }
        Phase::Stopping => Finding::new(CATEGORY, Mark::Bad, format!("mesh {name} is ending"), ""),
    }
}

fn processes(record: &Record) -> Vec<Finding> {
    const CATEGORY: &str = "processes";
    let (running, others): (Vec<_>, Vec<_>) = record
        .processes
        .iter()
        .partition(|process| process.state == ProcessState::Running);
    let mut findings = Vec::new();
    if !running.is_empty() {
        let text = format!("{} of {} processes run", running.len(), record.processes.len());
        findings.push(Finding::new(CATEGORY, Mark::Good, text, ""));
    }
    findings.extend(others.iter().map(|process| {
        let state = match process.state {
            ProcessState::Exited => "has ended",
            ProcessState::Pending | ProcessState::Running => "has not started yet",
        };
        let hint = format!("see {}", process.log.display());
        Finding::new(CATEGORY, Mark::Bad, format!("{} {state}", process.name), hint)
    }));
    findings
}

fn workloads(record: &Record) -> Vec<Finding> {
    const CATEGORY: &str = "workloads";
    let (ready, others): (Vec<_>, Vec<_>) = record.workloads.iter().partition(|workload| workload.ready);
    let mut findings = Vec::new();
    if !ready.is_empty() {
        let text = format!(
            "{} of {} workloads and gateways are ready",
            ready.len(),
            record.workloads.len()
        );
        findings.push(Finding::new(CATEGORY, Mark::Good, text, ""));
    }
    findings.extend(others.iter().map(|workload| {
        let hint = format!("see meshctl logs {}", workload.name);
        Finding::new(CATEGORY, Mark::Bad, format!("{} is not ready", workload.name), hint)
    }));
    findings
}

fn proxies(record: &Record, states: &[ProxyState]) -> Vec<Finding> {
    const CATEGORY: &str = "proxies";
    let connected: BTreeSet<&str> = states.iter().map(|state| state.name.as_str()).collect();
    let names = record.workloads.iter();
    let apart: Vec<String> = names
        .map(|workload| format!("{}.{}", workload.name, workload.namespace))
        .filter(|name| !connected.contains(name.as_str()))
        .collect();
    let mut findings = Vec::new();
    if !connected.is_empty() {
        let text = format!("{} proxies are served by pilot", connected.len());
        findings.push(Finding::new(CATEGORY, Mark::Good, text, ""));
    }
    findings.extend(apart.iter().map(|name| {
        let hint = format!("see meshctl logs {name}");
        Finding::new(
            CATEGORY,
            Mark::Bad,
            format!("the proxy of {name} is not connected to pilot"),
            hint,
        )
    }));
    for state in states {
        findings.extend(state.errors.iter().map(|error| {
            let hint = "it goes on with what it had before";
            Finding::new(
                CATEGORY,
                Mark::Bad,
                format!("the proxy of {}: {error}", state.name),
                hint,
            )
        }));
    }
    findings
}

fn configuration(told: &[Diagnostic], unsettled: &[&Diagnostic]) -> Vec<Finding> {
    const CATEGORY: &str = "configuration";
    let line = |found: &Diagnostic| {
        // What is without effect is as bad as what is refused.
        let is_bad = found.severity == Severity::Error || *found.code == *code::UNHANDLED_KIND;
        let mark = if is_bad { Mark::Bad } else { Mark::Doubtful };
        Finding::new(CATEGORY, mark, found.to_string(), "")
    };
    if told.is_empty() && unsettled.is_empty() {
        return vec![Finding::new(CATEGORY, Mark::Good, "every object is in use", "")];
    }
    let mut findings: Vec<Finding> = told.iter().take(NAMED_MAX).map(line).collect();
    if let Some(first) = unsettled.first() {
        let number = match unsettled.len() {
            1 => "1 finding".to_owned(),
            number => format!("{number} findings"),
        };
        let text = format!("{number} may be gone in a moment: {first}");
        findings.push(Finding::new(CATEGORY, Mark::Doubtful, text, ""));
    }
    let more = told.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let is_bad = told.iter().skip(NAMED_MAX).any(|found| line(found).mark == Mark::Bad);
        let mark = if is_bad { Mark::Bad } else { Mark::Doubtful };
        findings.push(Finding::new(
            CATEGORY,
            mark,
            format!("and {more} more"),
            "see meshctl logs pilot",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_mesh_of_this_machine_is_looked_over() {
        let text = include_str!("../../tests/data/mesh.json");
        let mut record: Record = serde_json::from_str(text).unwrap();
        let lines = |record: &Record| -> String {
            let found = [
                vec![phase(record)],
                processes(record),
                workloads(record),
                proxies(record, &[]),
            ];
            found.concat().iter().map(|finding| finding.line() + "\n").collect()
        };
        record.processes[1].state = ProcessState::Exited;
        record.workloads[0].ready = false;
        expect![[r#"
            √ mesh demo runs
            √ 3 of 4 processes run
            × caller-0 has ended; see /home/user/.local/state/weft/demo/logs/caller-0.log
            √ 1 of 2 workloads and gateways are ready
            × caller-0 is not ready; see meshctl logs caller-0
            × the proxy of caller-0.default is not connected to pilot; see meshctl logs caller-0.default
            × the proxy of ingress.default is not connected to pilot; see meshctl logs ingress.default
        "#]]
        .assert_eq(&lines(&record));
    }

    #[test]
    fn all_objects_are_in_use_only_once_pilot_has_made_up_its_mind() {
        let found = |severity: Severity| Diagnostic {
            file: "a.yaml".into(),
            line: 3,
            column: 1,
            severity,
            code: "IST0101".into(),
            object: "VirtualService/default/a".to_owned(),
            field: "spec.gateways[0]".to_owned(),
            message: "no Gateway default/b exists".to_owned(),
            hint: String::new(),
        };
        let lines = |told: &[Diagnostic], unsettled: &[&Diagnostic]| -> String {
            let found = configuration(told, unsettled);
            found.iter().map(|finding| finding.line() + "\n").collect()
        };
        let (error, warning) = (found(Severity::Error), found(Severity::Warning));
        let text = [
            lines(&[], &[]),
            lines(&[], &[&error]),
            lines(&[error.clone(), warning], &[]),
        ];
        expect![[r#"
            √ every object is in use
            ‼ 1 finding may be gone in a moment: a.yaml:3:1: error [IST0101] VirtualService/default/a spec.gateways[0]: no Gateway default/b exists
            × a.yaml:3:1: error [IST0101] VirtualService/default/a spec.gateways[0]: no Gateway default/b exists
            ‼ a.yaml:3:1: warning [IST0101] VirtualService/default/a spec.gateways[0]: no Gateway default/b exists
        "#]]
        .assert_eq(&text.concat());
    }
}
