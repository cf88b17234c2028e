//! What is said when a mesh does not start.

use crate::mesh::Record;

/// A process ended before the mesh was ready.
pub(crate) fn ended(record: &Record, name: &str, how: &str, last_lines: &[String]) -> String {
    let process = record.processes.iter().find(|process| process.name == name);
    let command = process.map(|process| process.command.join(" ")).unwrap_or_default();
    let mut text = format!("{name} ended while the mesh was starting: {how}\n  command: {command}\n");
    if last_lines.is_empty() {
        text.push_str("  it wrote nothing");
    } else {
        text.push_str("  its last lines:\n");
        let lines: Vec<String> = last_lines.iter().map(|line| format!("    {line}")).collect();
        text.push_str(&lines.join("\n"));
    }
    text
}

/// Something that is waited for, why, and where to read more.
pub(crate) fn waiting(record: &Record, name: &str, problem: Option<&String>) -> String {
    let problem = problem.map_or("is starting", String::as_str);
    let log = record
        .processes
        .iter()
        .find(|process| process.name == name)
        .map(|process| &process.log);
    let log = log.map(|log| format!(" (log: {})", log.display())).unwrap_or_default();
    format!("  {name}: {problem}{log}")
}
