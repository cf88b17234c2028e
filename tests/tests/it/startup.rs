//! How `weft-proxy run` starts and refuses to: its file is read by another process, which must not show.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::ports;
use crate::support::process::{Process, built};

const LIMIT: Duration = Duration::from_secs(20);

fn bootstrap(admin: std::net::SocketAddr, extra: &str) -> String {
    format!(
        "node: {{id: a, cluster: b}}\nadmin: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n{extra}",
        admin.ip(),
        admin.port()
    )
}

/// Runs `weft-proxy run` on a text that it refuses; gives its exit code and what it wrote.
async fn refused(text: &str, flags: &[&str]) -> Result<(Option<i32>, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("b.yaml");
    std::fs::write(&file, text)?;
    let mut command = Command::new(built("weft-proxy")?);
    command.arg("run").args(flags).arg("-c").arg(&file).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .context("it runs")??;
    ensure!(output.stdout.is_empty(), "standard output is not for errors");
    let said = String::from_utf8(output.stderr)?.replace(&file.display().to_string(), "FILE");
    Ok((output.status.code(), said))
}

#[tokio::test]
async fn a_refused_file_is_named_once_with_the_field() -> Result<()> {
    for (text, expected) in [
        (
            "static_resources: {listeners: [{name: x, addres: {}}]}",
            "Error: FILE: static_resources.listeners[0]: unrecognized field name 'addres'",
        ),
        ("a: [1,\nb: 2", "Error: FILE: "),
        ("flags_path: /x", "flags_path: is not supported"),
    ] {
        let (code, said) = refused(text, &[]).await?;
        assert_eq!(code, Some(1), "{text}: {said}");
        assert_eq!(said.matches(expected).count(), 1, "{text}: {said}");
        assert_eq!(said.matches("Error:").count(), 1, "{text}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn tolerated_fields_are_warned_of_and_the_file_may_be_standard_input() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let admin = ports::free()?;
    let mut command = Command::new(built("weft-proxy")?);
    command.args([
        "run",
        "--tolerate-unsupported",
        "--log-format",
        "json",
        "--drain-time",
        "0s",
        "-c",
        "/dev/stdin",
    ]);
    // A shell's here-document would be a file; a pipe cannot be read twice.
    let mut fed = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input: Stdio = fed.stdout.take().context("stdout")?.try_into()?;
    let mut feed = fed.stdin.take().context("stdin")?;
    feed.write_all(bootstrap(admin, "flags_path: /x\n").as_bytes()).await?;
    drop(feed);
    let mut proxy = Process::start_with_input("weft-proxy", &mut command, dir.path(), input)?;
    let listening = || async { tokio::net::TcpStream::connect(admin).await.is_ok() };
    proxy.wait_until("the admin page", LIMIT, listening).await?;
    let log = proxy.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("\"flags_path\"")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].starts_with('{'), "{log}");
    assert!(!log.contains("read by the proxy itself"), "{log}");
    fed.wait().await?;
    proxy.stop(LIMIT).await
}

#[tokio::test]
async fn the_running_process_has_its_flags_and_no_child() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let admin = ports::free()?;
    let file = dir.path().join("b.yaml");
    std::fs::write(&file, bootstrap(admin, ""))?;
    let mut proxy = crate::support::weft::start(&file, dir.path())?;
    let listening = || async { tokio::net::TcpStream::connect(admin).await.is_ok() };
    proxy.wait_until("the admin page", LIMIT, listening).await?;
    let own = Path::new("/proc").join(proxy.id()?.to_string());
    let flags = std::fs::read_to_string(own.join("cmdline"))?;
    assert!(flags.contains("\0run\0"), "{flags:?}");
    assert_eq!(
        std::fs::read_to_string(own.join("task").join(proxy.id()?.to_string()).join("children"))?,
        ""
    );
    proxy.stop(LIMIT).await
}
