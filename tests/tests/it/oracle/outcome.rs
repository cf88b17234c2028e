//! What was seen of a row, as text that two proxies must share, and the comparison.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::UdpSocket;

use anyhow::{Result, bail, ensure};

use super::row::{Row, Share};
use crate::support::client::Exchange;
use crate::support::coding;
use crate::support::wire::Message;

/// The trace that rows continue.
const ROW_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Bodies longer than this are compared by length and sum.
const BODY_SHOWN: usize = 400;

/// Everything seen of a row through one proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) steps: Vec<Step>,
    pub(crate) access_log: Vec<String>,
    pub(crate) stats: Vec<String>,
}

/// One request: what came back and what upstreams received.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) exchange: Exchange,
    pub(crate) received: Vec<(&'static str, Message)>,
    /// What the authorization service was asked.
    pub(crate) checks: Vec<String>,
}

// === impl Outcome ===

impl Outcome {
    /// Holds the oracle's own answers against what the row expects, so that a row shows what its name says.
    pub(crate) fn check_expectations(&self, row: &Row) -> Result<()> {
        if let Some(share) = &row.share {
            return self.check_share(share);
        }
        for (request, step) in row.requests.iter().zip(&self.steps) {
            let seen = step.summary();
            let expected = request.expect.as_str();
            ensure!(
                seen == expected,
                "expected {expected:?}, but Envoy gives {seen:?}:\n{}",
                self.text()
            );
        }
        Ok(())
    }

    fn check_share(&self, share: &Share) -> Result<()> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (name, _) in self.steps.iter().flat_map(|step| &step.received) {
            *counts.entry(*name).or_default() += 1;
        }
        let total: u32 = counts.values().sum();
        for (name, percent) in &share.of {
            let seen = 100.0 * f64::from(counts.get(name.as_str()).copied().unwrap_or(0)) / f64::from(total.max(1));
            let tolerance = share.tolerance;
            ensure!(
                (seen - percent).abs() <= tolerance,
                "{name}: {seen}% of {total}, expected {percent}% within {tolerance}"
            );
        }
        Ok(())
    }

    /// The comparable text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (index, step) in self.steps.iter().enumerate() {
            let _ = writeln!(text, "request {}", index + 1);
            step.write(&mut text);
        }
        for line in &self.access_log {
            let _ = writeln!(text, "log {}", flags_sorted(line));
        }
        for stat in &self.stats {
            let _ = writeln!(text, "stat {stat}");
        }
        text
    }
}

// === impl Step ===

impl Step {
    fn summary(&self) -> String {
        let status = self
            .exchange
            .response
            .as_ref()
            .map_or_else(|| "none".to_owned(), |response| response.status().to_string());
        std::iter::once(status)
            .chain(self.received.iter().map(|(name, _)| (*name).to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn write(&self, text: &mut String) {
        for line in self.checks.iter().flat_map(|check| check.lines()) {
            let _ = writeln!(text, "  check {line}");
        }
        for (name, message) in &self.received {
            let _ = writeln!(text, "  upstream {name}");
            write_message(text, message);
        }
        for line in &self.exchange.interim {
            // The text behind the status says nothing (RFC 9112, section 4).
            let words: Vec<&str> = line.split(' ').take(2).collect();
            let _ = writeln!(text, "  client interim {}", words.join(" "));
        }
        match &self.exchange.response {
            Some(response) => {
                let _ = writeln!(text, "  client");
                write_message(text, response);
            }
            None => text.push_str("  client: no response\n"),
        }
        if let Some(tunnel) = &self.exchange.tunnel {
            let _ = writeln!(text, "  tunnel {tunnel:?}");
        }
    }
}

/// Header order between different names says nothing (RFC 9110 section 5.3); the order of one name's values is kept.
fn write_message(text: &mut String, message: &Message) {
    // A reason phrase says nothing (RFC 9112 section 4).
    let start = match message.start.split_once(' ') {
        Some((version, rest)) if version.starts_with("HTTP/") => {
            format!("{version} {}", rest.split(' ').next().unwrap_or_default())
        }
        _ => message.start.clone(),
    };
    let _ = writeln!(text, "    {start}");
    let _ = write_fields(text, "", &message.headers);
    // Two compressors need not agree on more than what they compress.
    let encoding = coding::named(message.headers.iter().cloned());
    let decoded = encoding.filter(|_| !message.body.is_empty()).map(|name| {
        coding::decode(&name, &message.body).unwrap_or_else(|error| format!("not encoded: {error}").into_bytes())
    });
    let bytes = decoded.as_ref().unwrap_or(&message.body);
    let body = String::from_utf8_lossy(bytes);
    if body.len() > BODY_SHOWN {
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        let _ = writeln!(text, "    body of {} bytes, sum {sum}", body.len());
    } else if !body.is_empty() {
        let _ = writeln!(text, "    body {body:?}");
    }
    let _ = write_fields(text, "trailer ", &message.trailers);
    if message.cut_short {
        text.push_str("    cut short\n");
    }
}

fn write_fields(text: &mut String, prefix: &str, fields: &[(String, String)]) -> std::fmt::Result {
    let mut fields: Vec<(String, String)> = fields
        .iter()
        // An empty list says as much as none (W3C Trace Context section 3.3.1.1).
        .filter(|(name, value)| !(name.eq_ignore_ascii_case("tracestate") && value.is_empty()))
        .map(|(name, value)| (name.to_ascii_lowercase(), comparable(name, value)))
        .collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
        .into_iter()
        .try_for_each(|(name, value)| writeln!(text, "    {prefix}{name}: {value}"))
}

/// Values that differ between any two runs are replaced by what kind of value they are.
fn comparable(name: &str, value: &str) -> String {
    let is_uuid = value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    match name.to_ascii_lowercase().as_str() {
        "date" => "<date>".to_owned(),
        "x-envoy-upstream-service-time" if value.parse::<u64>().is_ok() => "<milliseconds>".to_owned(),
        // The fifteenth place of a request id tells whether the request is traced.
        "x-request-id" if is_uuid && !value[14..].starts_with('4') => {
            format!("<uuid, trace reason {}>", &value[14..15])
        }
        _ if is_uuid => "<uuid>".to_owned(),
        "traceparent" => traceparent(value),
        "x-forwarded-for" => value.replace(&own_address(), "127.0.0.1"),
        "x-envoy-expected-rq-timeout-ms" => time_left(value),
        // Tokens without regard to case (RFC 9110 sections 7.6.1 and 7.8).
        "connection" | "upgrade" => value.to_ascii_lowercase(),
        "x-padding" => format!("<{} bytes>", value.len()),
        _ => ports_removed(value),
    }
}

/// Spans have new ids in every run, and so have traces, but for the one that a row brings.
fn traceparent(value: &str) -> String {
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, _, flags] = parts.as_slice() else {
        return value.to_owned();
    };
    let trace = if *trace == ROW_TRACE {
        "<same trace>"
    } else {
        "<new trace>"
    };
    format!("{version}-{trace}-<span>-{flags}")
}

/// What is left of a timeout depends on how long earlier tries took: rounded up to a second, below that to half a second.
fn time_left(value: &str) -> String {
    let Ok(millis) = value.parse::<u32>() else {
        return value.to_owned();
    };
    let step = if millis > 1000 { 1000 } else { 500 };
    (millis.div_ceil(step) * step).to_string()
}

/// The flags (the fifth word of our log format) in alphabetical order.
fn flags_sorted(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if let Some(flags) = words.get_mut(4) {
        let mut sorted: Vec<&str> = flags.split(',').collect();
        sorted.sort_unstable();
        *flags = sorted.join(",");
    }
    words.join(" ")
}

/// Envoy calls a peer on loopback by the machine's own address in x-forwarded-for; ours calls it by the address it has.
fn own_address() -> String {
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: connecting a datagram socket only chooses the route. The address is for documentation (RFC 5737).
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    route.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

/// Ports of this run's sockets are other ones in the next run.
fn ports_removed(value: &str) -> String {
    let mut parts = value.split("127.0.0.1:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("127.0.0.1:<port>");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

/// Both outcomes must agree, or differ where the row says that they do.
pub(crate) fn compare(row: &Row, envoy: &Outcome, weft: &Outcome) -> Result<()> {
    if let Some(share) = &row.share {
        return weft.check_share(share);
    }
    let (theirs, ours) = (envoy.text(), weft.text());
    if let Some(reason) = &row.log_differs {
        let (theirs, theirs_log) = parted(&theirs);
        let (ours, ours_log) = parted(&ours);
        ensure!(
            theirs == ours,
            "envoy (-) and weft-proxy (+) differ:\n{}",
            diff(&theirs.join("\n"), &ours.join("\n"))
        );
        ensure!(
            theirs_log != ours_log,
            "the log no longer differs, remove `log_differs: {reason}`"
        );
        return Ok(());
    }
    match (&row.differs, theirs == ours) {
        (None, true) | (Some(_), false) => Ok(()),
        (None, false) => bail!("envoy (-) and weft-proxy (+) differ:\n{}", diff(&theirs, &ours)),
        (Some(reason), true) => bail!("no longer differs, remove `differs: {reason}`"),
    }
}

/// What client and upstream saw, and the access log.
fn parted(text: &str) -> (Vec<&str>, Vec<&str>) {
    text.lines().partition(|line| !line.starts_with("log "))
}

/// A line diff by the longest common subsequence; texts are a few dozen lines.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut lengths = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i][j] = if old[i] == new[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            let _ = writeln!(text, "  {}", old[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
            let _ = writeln!(text, "- {}", old[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "+ {}", new[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_each_side_has_alone() {
        assert_eq!(diff("a\nb\nc", "a\nx\nc"), "  a\n- b\n+ x\n  c\n");
        assert_eq!(diff("", "a"), "+ a\n");
    }

    #[test]
    fn values_of_one_run_are_made_comparable() {
        assert_eq!(
            comparable("x-request-id", "0f2e8a7c-1b2c-4d3e-8f90-0123456789ab"),
            "<uuid>"
        );
        assert_eq!(comparable("X-Envoy-Upstream-Service-Time", "3"), "<milliseconds>");
        assert_eq!(
            comparable("x", "to 127.0.0.1:4711 and 127.0.0.1:5/6"),
            "to 127.0.0.1:<port> and 127.0.0.1:<port>/6"
        );
    }
}
