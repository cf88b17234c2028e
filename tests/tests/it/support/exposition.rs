//! Prometheus' text format, read as strictly as the tests need; and `promtool`, where it is installed.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Labels in order of their names.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

/// All samples of a page.
pub(crate) fn parse(page: &str) -> Result<Vec<Sample>> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (at, '"') => break at,
                (_, other) => text.push(other),
            }
        };
        labels.insert(label.to_owned(), text);
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// Lets Prometheus' own tool read the page. Its opinions on names and units, which are Istio's and Envoy's, do not count.
#[expect(clippy::print_stdout, reason = "a run says what it skips")]
pub(crate) async fn check_with_promtool(page: &str) -> Result<()> {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match spawned {
        Ok(tool) => tool,
        Err(error) => {
            println!("skipped: promtool, of Debian's package prometheus, cannot be started: {error}");
            return Ok(());
        }
    };
    let mut input = tool.stdin.take().context("stdin")?;
    let page = page.to_owned();
    let writing = async move {
        // A tool that has seen enough closes its end.
        let _ = input.write_all(page.as_bytes()).await;
    };
    let ((), output) = tokio::join!(writing, tool.wait_with_output());
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // 3 stands for opinions, 1 for what cannot be parsed.
    ensure!(
        matches!(output.status.code(), Some(0 | 3)),
        "promtool: {}\n{said}",
        output.status
    );
    Ok(())
}
