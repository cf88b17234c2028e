//! `meshctl down`: ends a mesh, whether its `up` still runs or was killed.

use std::time::Duration;

use anyhow::bail;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::flags::StateArguments;
use crate::mesh::{Record, StateDir};
use crate::output;

/// How long an `up` may take to end its mesh in order; its own deadlines for processes are well within this.
const ORDERLY: Duration = Duration::from_secs(60);

/// How long killed processes may take to go.
const KILLED: Duration = Duration::from_secs(10);

/// Time between looks.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the mesh of that name, or the only one.
pub(crate) async fn run(name: Option<&str>, arguments: &StateArguments) -> anyhow::Result<Exit> {
    let explicit = arguments.state_dir.as_deref();
    if name.is_none() && explicit.is_none() && StateDir::all()?.is_empty() {
        output::say("no mesh runs on this machine");
        return Ok(Exit::Ok);
    }
    let state = StateDir::find(name, explicit, "meshctl down")?;
    let Some(record) = state.record()? else {
        output::say(&format!("no mesh runs with its state in {}", state.root().display()));
        return Ok(Exit::Ok);
    };
    if record.supervisor.is_running() {
        record.supervisor.signal(Signal::TERM);
        if wait(ORDERLY, || !record.supervisor.is_running()).await {
            output::say(&format!("mesh {} ended", record.name));
            return Ok(Exit::Ok);
        }
        output::say(&format!(
            "mesh {} did not end within {ORDERLY:?}; killing it",
            record.name
        ));
        record.supervisor.signal(Signal::KILL);
    }
    clear(&state, &record).await?;
    output::say(&format!("mesh {} ended, what was left of it is removed", record.name));
    Ok(Exit::Ok)
}

/// Kills what still runs of a mesh that has no `up` any more, and removes its files.
pub(crate) async fn clear(state: &StateDir, stale: &Record) -> anyhow::Result<()> {
    // The record may have changed since it was read, as long as its `up` was alive.
    let record = state.record()?.unwrap_or_else(|| stale.clone());
    let ids: Vec<_> = record.processes.iter().filter_map(|process| process.id).collect();
    for id in &ids {
        id.signal_group(Signal::KILL);
    }
    let gone = wait(KILLED, || {
        !record.supervisor.is_running() && ids.iter().all(|id| !id.is_running())
    })
    .await;
    if !gone {
        let names: Vec<&str> = record
            .processes
            .iter()
            .filter(|process| process.id.is_some_and(|id| id.is_running()))
            .map(|process| process.name.as_str())
            .collect();
        bail!("these processes cannot be killed: {}", names.join(", "));
    }
    state.clean()
}

async fn wait(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}
