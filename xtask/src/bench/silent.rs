//! Newcomers beside silent connections, at every port of every program of a mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::demo::mesh::{self, Mesh};
use crate::process::{self, Profile};
use crate::venv;

/// Connections that say nothing, or half a greeting.
const SILENT: usize = 300;
/// Handshakes that are timed meanwhile.
const NEWCOMERS: usize = 200;
/// What 99 of 100 newcomers may wait.
const BAR_MS: f64 = 100.0;
/// What is measured of a mesh's processes.
const KINDS: &[&str] = &["citadel", "pilot", "telemetry", "sidecar", "gateway"];
/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// The measuring client, a Python program.
const CLIENT: &str = include_str!("silent.py");

/// A port, who listens there, and what newcomers wait.
#[derive(Clone, Debug)]
struct Measured {
    program: String,
    address: SocketAddr,
    result: Value,
}

/// Starts the demo's mesh without its traffic, and measures each of its ports in turn. The report is `json`, or a table.
pub(super) fn run(json: bool, no_build: bool) -> Result<()> {
    mesh::check_port()?;
    if !no_build {
        Profile::Dev.build()?;
    }
    venv::python()?;
    eprintln!("bench: silent: starting a mesh");
    let mesh = Mesh::start(&|| false)?;
    let mut measured = Vec::new();
    for (program, pid) in programs(mesh.record()) {
        for address in listening(pid).with_context(|| format!("ports of {program}"))? {
            eprintln!("bench: silent: {program} at {address}");
            let mut client = Command::new("python3");
            client.args([
                "-c",
                CLIENT,
                &SILENT.to_string(),
                &NEWCOMERS.to_string(),
                &address.to_string(),
            ]);
            let output = process::output(&mut client).with_context(|| format!("{program} at {address}"))?;
            measured.push(Measured {
                program: program.clone(),
                address,
                result: serde_json::from_str(&output)?,
            });
        }
    }
    drop(mesh);
    ensure!(!measured.is_empty(), "nothing of the mesh listens");
    print!("{}", report(&measured, json));
    let late = measured.iter().filter(|one| p99(one) >= BAR_MS).count();
    ensure!(late == 0, "at {late} ports newcomers wait longer than {BAR_MS} ms");
    Ok(())
}

/// One process of each kind, so that a hundred sidecars are not measured a hundred times.
fn programs(record: &Value) -> BTreeMap<String, u64> {
    let mut seen = BTreeSet::new();
    let processes = record["processes"].as_array().into_iter().flatten();
    let of_process = |process: &Value| {
        let kind = process["kind"].as_str().filter(|kind| KINDS.contains(kind))?.to_owned();
        let pid = process["pid"].as_u64()?;
        seen.insert(kind.clone()).then_some((kind, pid))
    };
    processes.filter_map(of_process).collect()
}

/// The TCP ports of IPv4 that a process listens at.
fn listening(pid: u64) -> Result<Vec<SocketAddr>> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        // A file may be closed meanwhile.
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    Ok(of_table(&table, &sockets).into_iter().collect())
}

/// Addresses of listening sockets among `sockets` (inodes), from the table of the kernel (proc(5), /proc/net/tcp).
fn of_table(table: &str, sockets: &BTreeSet<String>) -> BTreeSet<SocketAddr> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        if *state != LISTENING || !sockets.contains(*inode) {
            return None;
        }
        let (ip, port) = local.split_once(':')?;
        // In the byte order of the machine, as one number.
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
        let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip };
        Some(SocketAddr::from((ip, u16::from_str_radix(port, 16).ok()?)))
    };
    table.lines().skip(1).filter_map(line).collect()
}

fn p99(measured: &Measured) -> f64 {
    measured.result["p99_ms"].as_f64().unwrap_or(f64::INFINITY)
}

fn report(measured: &[Measured], json: bool) -> String {
    if json {
        let rows = measured.iter().map(|one| {
            let mut row = one.result.clone();
            row["program"] = json!(one.program);
            row["address"] = json!(one.address.to_string());
            row
        });
        let rows: Vec<Value> = rows.collect();
        return format!("{}\n", json!({"silent": SILENT, "newcomers": NEWCOMERS, "ports": rows}));
    }
    let mut text = format!(
        "{SILENT} silent connections, {NEWCOMERS} newcomers at each port; milliseconds to a handshake, or to an answer\n"
    );
    for one in measured {
        let protocol = if one.result["tls"] == true { "TLS" } else { "plain" };
        let p50 = one.result["p50_ms"].as_f64().unwrap_or(f64::INFINITY);
        text += &format!(
            "{:<10} {:<22} {protocol:<6} p50 {p50:>7.2}  p99 {:>7.2}\n",
            one.program,
            one.address.to_string(),
            p99(one)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_ports_that_its_sockets_listen_at() {
        let address = u32::from_ne_bytes([127, 0, 0, 5]);
        let table = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: {address:08X}:3A9A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n\
             1: {address:08X}:3A9B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78 1 0\n\
             2: {address:08X}:3A9A {address:08X}:9999 01 00000000:00000000 00:00000000 00000000     0        0 79 1 0\n\
             3: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 80 1 0\n"
        );
        let sockets = ["77", "79", "80"].map(str::to_owned).into();
        let found: Vec<String> = of_table(&table, &sockets).iter().map(SocketAddr::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "127.0.0.5:15002"]);
    }

    #[test]
    fn one_process_of_each_kind_is_measured() {
        let record = json!({"processes": [
            {"name": "pilot", "kind": "pilot", "pid": 1},
            {"name": "a/sidecar", "kind": "sidecar", "pid": 2},
            {"name": "b/sidecar", "kind": "sidecar", "pid": 3},
            {"name": "a", "kind": "app", "pid": 4},
            {"name": "gateway", "kind": "gateway"},
        ]});
        let found: Vec<(String, u64)> = programs(&record).into_iter().collect();
        assert_eq!(found, [("pilot".to_owned(), 1), ("sidecar".to_owned(), 2)]);
    }
}
