//! Feeds the cluster's DNS server, dnsmasq, with a file of host names that follows the Services and Endpoints of the API server.
//!
//! The server knows what pods ask for: Services, headless Services with the names of their pods, ExternalName of what it knows itself.
//! Everything else does not exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::hosts;
use super::layout::Layout;

/// Changes that come this close together are written at once.
const QUIET: Duration = Duration::from_millis(50);
/// How long a watch that ended stays away.
const AGAIN: Duration = Duration::from_millis(500);

/// What the hidden verb is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    cluster: String,
    #[arg(long)]
    kubectl: PathBuf,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Services,
    Endpoints,
}

/// What a watch says.
#[derive(Debug)]
enum Event {
    /// It begins anew and will name everything that exists.
    Begin(Kind),
    Change(Kind, Value),
}

/// Runs until it is ended from outside, or the server has ended; then both are started again.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cluster = Layout::new(&arguments.cluster)?;
    let file = cluster.hosts();
    let (sender, events) = channel();
    for kind in [Kind::Services, Kind::Endpoints] {
        let (sender, kubectl) = (sender.clone(), arguments.kubectl.clone());
        let config = cluster.client_config("admin");
        std::thread::spawn(move || follow(kind, &kubectl, &config, &sender));
    }
    let (mut services, mut endpoints) = (BTreeMap::new(), BTreeMap::new());
    loop {
        for event in next(&events)? {
            match event {
                Event::Begin(Kind::Services) => services.clear(),
                Event::Begin(Kind::Endpoints) => endpoints.clear(),
                Event::Change(Kind::Services, event) => apply(&mut services, event),
                Event::Change(Kind::Endpoints, event) => apply(&mut endpoints, event),
            }
        }
        write_hosts(&file, &hosts::render(&services, &endpoints))?;
        reload(&cluster.dns_pid())?;
    }
}

/// Has the server read the file again and forget what was in it before.
fn reload(pid_file: &Path) -> Result<()> {
    let text = fs::read_to_string(pid_file).context("dnsmasq does not run")?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} holds no process id", pid_file.display()))?;
    // After a crash the number may be another's.
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if name.trim() != "dnsmasq" {
        bail!("dnsmasq does not run");
    }
    Ok(kill_process(pid, Signal::HUP)?)
}

/// One event, and those that come right after it.
fn next(events: &Receiver<Event>) -> Result<Vec<Event>> {
    let mut batch = vec![events.recv().context("the watches ended")?];
    loop {
        match events.recv_timeout(QUIET) {
            Ok(event) => batch.push(event),
            Err(RecvTimeoutError::Timeout) => return Ok(batch),
            Err(RecvTimeoutError::Disconnected) => bail!("the watches ended"),
        }
    }
}

/// Watches one kind, again and again; a watch without a version begins with all objects.
fn follow(kind: Kind, kubectl: &Path, config: &Path, sender: &Sender<Event>) {
    loop {
        if let Err(error) = watch(kind, kubectl, config, sender) {
            eprintln!("watch of {kind:?}: {error:#}");
        }
        std::thread::sleep(AGAIN);
    }
}

fn watch(kind: Kind, kubectl: &Path, config: &Path, sender: &Sender<Event>) -> Result<()> {
    let path = match kind {
        Kind::Services => "/api/v1/services?watch=1",
        Kind::Endpoints => "/api/v1/endpoints?watch=1",
    };
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(config).args(["get", "--raw", path]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start kubectl")?;
    let output = child.stdout.take().context("kubectl has no stdout")?;
    let mut begun = false;
    for event in serde_json::Deserializer::from_reader(output).into_iter() {
        let event = event.context("not a watch event")?;
        if !begun {
            sender.send(Event::Begin(kind))?;
            begun = true;
        }
        sender.send(Event::Change(kind, event))?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("kubectl ended ({status})");
    }
    Ok(())
}

fn apply(objects: &mut BTreeMap<hosts::Key, Value>, mut event: Value) {
    let object = event["object"].take();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = (
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    );
    match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => {
            objects.insert(key, object);
        }
        Some("DELETED") => {
            objects.remove(&key);
        }
        _ => {}
    }
}

fn write_hosts(file: &Path, text: &str) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_applied_in_order() {
        let mut objects = BTreeMap::new();
        let event = |kind: &str, name: &str, version: u8| json!({"type": kind, "object": {"metadata": {"namespace": "a", "name": name, "resourceVersion": version}}});
        for (kind, name, version) in [
            ("ADDED", "x", 1),
            ("ADDED", "y", 2),
            ("MODIFIED", "x", 3),
            ("DELETED", "y", 4),
            ("BOOKMARK", "z", 5),
        ] {
            apply(&mut objects, event(kind, name, version));
        }
        assert_eq!(objects.len(), 1);
        assert_eq!(
            objects[&("a".to_owned(), "x".to_owned())]["metadata"]["resourceVersion"],
            3
        );
    }
}
