//! Images that clusters for development have from the start: a small one to try things with, made of Debian's static busybox and
//! curl, and for the local provider the one that holds a pod's namespaces.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::images::archive::{self, Content, Entry, Image};
use crate::images::closure::{self, Program};
use crate::workspace;

/// Holds a pod's namespaces.
pub(crate) const PAUSE: &str = "weft.local/pause:1";
/// A shell, small programs and curl, for `kubectl run`.
const TOOLS: &str = "weft.local/tools:1";

/// Writes the archives of both images into a folder.
pub(crate) fn write(dir: &Path) -> Result<Vec<PathBuf>> {
    let busybox = busybox()?;
    Ok(vec![
        write_one(dir, "pause.tar", &pause(&busybox))?,
        write_one(dir, "tools.tar", &tools(&busybox)?)?,
    ])
}

/// Writes the archive of the one with programs, for nodes that have the other one already.
pub(crate) fn write_tools(dir: &Path) -> Result<PathBuf> {
    write_one(dir, "tools.tar", &tools(&busybox()?)?)
}

fn write_one(dir: &Path, file: &str, image: &Image) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(file);
    archive::write(image, &path)?;
    Ok(path)
}

fn busybox() -> Result<PathBuf> {
    workspace::on_path("busybox").context("no busybox")
}

/// Waits for ever; as a shell it also reaps what ends beside it.
fn pause(busybox: &Path) -> Image {
    let words = ["/busybox", "sh", "-c", "while :; do /busybox sleep 2147483; done"];
    Image {
        name: PAUSE.to_owned(),
        entries: vec![program(busybox, "busybox")],
        entrypoint: words.map(str::to_owned).to_vec(),
        command: Vec::new(),
        user: "65535:65535".to_owned(),
        environment: Vec::new(),
    }
}

fn tools(busybox: &Path) -> Result<Image> {
    // Not wget: a static program cannot look names up with another C library than its own.
    let applets = [
        "cat",
        "chmod",
        "cp",
        "date",
        "echo",
        "env",
        "free",
        "grep",
        "head",
        "hostname",
        "httpd",
        "id",
        "ifconfig",
        "ip",
        "kill",
        "ls",
        "mkdir",
        "mv",
        "nc",
        "netstat",
        "nslookup",
        "ping",
        "printf",
        "ps",
        "rm",
        "route",
        "sed",
        "seq",
        "sh",
        "sleep",
        "sort",
        "tail",
        "tar",
        "tee",
        "telnet",
        "test",
        "time",
        "timeout",
        "top",
        "touch",
        "tr",
        "traceroute",
        "true",
        "uniq",
        "vi",
        "wc",
        "which",
        "xargs",
    ];
    let curl = Program {
        source: workspace::on_path("curl").context("no curl")?,
        path: "bin/curl".to_owned(),
    };
    let mut entries = closure::entries(&[curl])?;
    entries.push(program(busybox, "bin/busybox"));
    entries.extend(applets.map(|name| Entry {
        path: format!("bin/{name}"),
        mode: 0o777,
        content: Content::Link("busybox".to_owned()),
    }));
    entries.push(Entry {
        path: "tmp".to_owned(),
        mode: 0o1777,
        content: Content::Directory,
    });
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
    ] {
        entries.push(Entry {
            path: path.to_owned(),
            mode: 0o644,
            content: Content::Text(text.to_owned()),
        });
    }
    Ok(Image {
        name: TOOLS.to_owned(),
        entries,
        entrypoint: Vec::new(),
        command: vec!["sh".to_owned()],
        user: String::new(),
        environment: vec!["PATH=/bin".to_owned()],
    })
}

fn program(source: &Path, path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o755,
        content: Content::File(source.to_owned()),
    }
}
