//! Saturating load from wrk and h2load, with their reports read.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::case::{CONNECTIONS, Case, HOST, PATH, USER_AGENT};
use crate::process;

/// What a round of saturating load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    /// Requests a second.
    pub(super) rps: f64,
}

/// The load generator of a case.
pub(super) fn tool(case: Case) -> &'static str {
    match case {
        Case::Http2 => "h2load",
        Case::Http1 | Case::MtlsPair | Case::Tcp => "wrk",
    }
}

/// Sends as many requests as the subject takes on 32 connections.
pub(super) fn saturate(case: Case, target: SocketAddr, seconds: u64) -> Result<Load> {
    let url = format!("http://{target}{PATH}");
    let connections = CONNECTIONS.to_string();
    match case {
        Case::Http2 => {
            let mut command = Command::new("h2load");
            command.args(["-t", "1", "-m", "1", "-c", &connections, "-D", &seconds.to_string()]);
            command.args([
                "-H",
                &format!(":authority: {HOST}"),
                "-H",
                &format!("user-agent: {USER_AGENT}"),
                &url,
            ]);
            h2load_report(&process::output(&mut command)?)
        }
        Case::Http1 | Case::MtlsPair | Case::Tcp => {
            let mut command = Command::new("wrk");
            command.args(["-t", "1", "-c", &connections, "-d", &format!("{seconds}s")]);
            command.args([
                "-H",
                &format!("Host: {HOST}"),
                "-H",
                &format!("User-Agent: {USER_AGENT}"),
            ]);
            wrk_report(&process::output(command.args(["-H", "Accept: */*", &url]))?)
        }
    }
}

fn wrk_report(report: &str) -> Result<Load> {
    if let Some(line) = report
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("wrk saw errors: {}", line.trim());
    }
    let requests = word_before(report, " requests in ").context("wrk reported no number of requests")?;
    let rps = report
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .context("wrk reported no rate")?;
    Ok(Load {
        requests: requests.parse()?,
        rps: rps.trim().parse()?,
    })
}

fn h2load_report(report: &str) -> Result<Load> {
    let line = report
        .lines()
        .find(|line| line.starts_with("requests:"))
        .context("h2load reported no requests")?;
    let succeeded = word_before(line, " succeeded").context("h2load reported no successes")?;
    let done = word_before(line, " done").context("h2load reported no completions")?;
    let status = report
        .lines()
        .find(|line| line.starts_with("status codes:"))
        .unwrap_or_default();
    if succeeded != done || !status.contains(" 0 3xx, 0 4xx, 0 5xx") {
        bail!("h2load saw errors: {line}; {status}");
    }
    let rps = word_before(report, " req/s").context("h2load reported no rate")?;
    Ok(Load {
        requests: succeeded.parse()?,
        rps: rps.parse()?,
    })
}

/// The word that ends where `mark` begins.
fn word_before<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let before = &text[..text.find(mark)?];
    before.rsplit(|c: char| c.is_whitespace() || c == ',').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_and_errors_are_not_counted_as_work() {
        let wrk =
            "Running 1s test\n  23456 requests in 1.10s, 3.2MB read\nRequests/sec:  21323.50\nTransfer/sec: 3MB\n";
        assert_eq!(
            wrk_report(wrk).unwrap(),
            Load {
                requests: 23456,
                rps: 21323.5
            }
        );
        assert!(wrk_report(&format!("{wrk}  Non-2xx or 3xx responses: 5\n")).is_err());
        let h2load = "finished in 1.00s, 6178.20 req/s, 1MB/s\nrequests: 6200 total, 6200 started, 6178 done, 6178 succeeded, 0 \
                      failed, 0 errored, 0 timeout\nstatus codes: 6178 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(
            h2load_report(h2load).unwrap(),
            Load {
                requests: 6178,
                rps: 6178.2
            }
        );
        assert!(h2load_report(&h2load.replace("0 4xx", "9 4xx")).is_err());
    }
}
