//! What was seen of a case, as lines that both proxies must share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::LazyLock;

use crate::wire::h1::{Heard, Message};
use crate::wire::{Field, latin1};

/// Envoy calls a peer on loopback by the machine's own address in x-forwarded-for.
static OWN_ADDRESS: LazyLock<String> = LazyLock::new(|| {
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: connecting a datagram socket only chooses the route. The address is for documentation (RFC 5737).
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    route.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
});

/// Lines that begin with who saw it: `client`, `upstream` or `log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) lines: Vec<String>,
    port: u16,
}

// === impl Outcome ===

impl Outcome {
    /// Of what a client heard and an upstream got.
    pub(super) fn new(heard: &Heard, seen: &[Message], http2: bool) -> Self {
        let mut lines = Vec::new();
        for message in &heard.answers {
            // A reason phrase says nothing (RFC 9112 section 4).
            let start: Vec<&str> = message.start.splitn(3, ' ').take(2).collect();
            write(&mut lines, "client", &start.join(" "), message);
        }
        // How HTTP/2 is refused, by which code and on which level, says nothing to anybody.
        if http2 && (heard.broken.is_some() || heard.closed) {
            lines.push("client: broken".to_owned());
        } else if heard.closed || heard.answers.last().is_some_and(says_close) {
            // When a connection that is said to end is closed is a matter of time.
            lines.push("client: ends".to_owned());
        }
        for message in seen {
            write(&mut lines, "upstream", &message.start, message);
        }
        Self {
            lines,
            port: heard.port,
        }
    }

    /// With the lines of the log that are about this client.
    pub(super) fn logged(&mut self, log: &BTreeMap<u16, Vec<String>>) {
        for line in log.get(&self.port).into_iter().flatten() {
            let (code, flags) = line.split_once(' ').unwrap_or((line, ""));
            let mut flags: Vec<&str> = flags.split(',').collect();
            flags.sort_unstable();
            self.lines.push(format!("log: {code} {}", flags.join(",")));
        }
    }

    /// Statuses and how many requests reached the upstream, in the words of the oracle's rows.
    pub(super) fn expectation(&self) -> Vec<String> {
        let starts = self.lines.iter().filter_map(|line| line.strip_prefix("client start: "));
        starts
            .map(|start| start.split(' ').nth(1).unwrap_or("none").to_owned())
            .collect()
    }
}

fn says_close(answer: &Message) -> bool {
    answer
        .values("connection")
        .any(|value| value.eq_ignore_ascii_case("close"))
}

fn write(lines: &mut Vec<String>, who: &str, start: &str, message: &Message) {
    lines.push(format!("{who} start: {start}"));
    let mut fields = |kind: &str, fields: &[Field]| {
        let mut sorted: Vec<Field> = fields.iter().map(comparable).collect();
        // The order of different names says nothing (RFC 9110 section 5.3).
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let sorted = joined(sorted);
        lines.extend(
            sorted
                .iter()
                .map(|(name, value)| format!("{who} {kind} {name}: {value}")),
        );
    };
    fields("header", &message.fields);
    fields("trailer", &message.trailers);
    if !message.body.is_empty() {
        lines.push(format!("{who} body: {}", latin1(&message.body).escape_debug()));
    }
    if message.cut_short {
        lines.push(format!("{who}: cut short"));
    }
}

/// Values that differ between any two runs are replaced by what kind of value they are.
fn comparable((name, value): &Field) -> Field {
    let name = name.to_ascii_lowercase();
    let is_uuid = value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let value = match name.as_str() {
        "date" if value.ends_with(" GMT") => "<date>".to_owned(),
        "x-envoy-upstream-service-time" if value.parse::<u64>().is_ok() => "<milliseconds>".to_owned(),
        "x-envoy-expected-rq-timeout-ms" => "<milliseconds>".to_owned(),
        _ if is_uuid => "<uuid>".to_owned(),
        "x-forwarded-for" | "x-envoy-external-address" => value.replace(OWN_ADDRESS.as_str(), "127.0.0.1"),
        // Tokens without regard to case (RFC 9110 sections 7.6.1 and 7.8).
        "connection" | "upgrade" => value.to_ascii_lowercase(),
        _ => value.clone(),
    };
    (name, value.escape_debug().to_string())
}

/// Lines of one name as one, as whoever reads or passes them on may have them (RFC 9110 section 5.3); an item of nothing is none. Cookies
/// are set by a line each.
fn joined(fields: Vec<Field>) -> Vec<Field> {
    let mut found: Vec<Field> = Vec::new();
    for (name, value) in fields {
        match found.last_mut() {
            Some(last) if last.0 == name && name != "set-cookie" => {
                last.1 += if last.1.is_empty() || value.is_empty() { "" } else { "," };
                last.1 += &value;
            }
            _ => found.push((name, value)),
        }
    }
    found
}

/// Lines that one has and the other has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) envoy: Vec<String>,
    pub(super) weft: Vec<String>,
}

// === impl Difference ===

impl Difference {
    /// Between two outcomes.
    pub(super) fn of(envoy: &Outcome, weft: &Outcome) -> Self {
        let without = |lines: &[String], others: &[String]| {
            let mut left = others.to_vec();
            let mut alone = Vec::new();
            for line in lines {
                match left.iter().position(|other| other == line) {
                    Some(index) => drop(left.remove(index)),
                    None => alone.push(line.clone()),
                }
            }
            alone
        };
        Self {
            envoy: without(&envoy.lines, &weft.lines),
            weft: without(&weft.lines, &envoy.lines),
        }
    }

    /// Whether both saw the same.
    pub(super) fn is_empty(&self) -> bool {
        self.envoy.is_empty() && self.weft.is_empty()
    }

    /// What kind of difference it is, in words.
    pub(super) fn kind(&self) -> String {
        let labels = self.labels();
        let of = |side: char| {
            let labels = labels.iter().filter(|label| label.starts_with(side));
            labels.map(|label| &label[2..]).collect::<Vec<_>>().join(", ")
        };
        format!("- {} + {}", of('-'), of('+'))
    }

    /// Whose lines there are, of what, and the statuses.
    pub(super) fn labels(&self) -> BTreeSet<String> {
        let label = |side: char, line: &String| {
            let (label, value) = line.split_once(": ").unwrap_or((line, ""));
            let said = if label == "client start" { value } else { label };
            format!("{side} {said}")
        };
        let theirs = self.envoy.iter().map(|line| label('-', line));
        theirs.chain(self.weft.iter().map(|line| label('+', line))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_what_one_has_alone() {
        let outcome = |lines: &[&str]| Outcome {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            port: 0,
        };
        let found = Difference::of(
            &outcome(&["a", "client start: HTTP/1.1 200", "a"]),
            &outcome(&["a", "b: 1"]),
        );
        assert_eq!(
            (found.envoy.len(), found.weft.as_slice()),
            (2, ["b: 1".to_owned()].as_slice())
        );
        assert_eq!(found.kind(), "- HTTP/1.1 200, a + b");
        assert!(Difference::of(&outcome(&["a"]), &outcome(&["a"])).is_empty());
    }

    #[test]
    fn lines_of_one_name_are_one() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let lines = [
            ("a", "1"),
            ("a", ""),
            ("a", "2"),
            ("b", ""),
            ("set-cookie", "x"),
            ("set-cookie", "y"),
        ];
        let found = joined(lines.iter().map(|(name, value)| field(name, value)).collect());
        let expected = [("a", "1,2"), ("b", ""), ("set-cookie", "x"), ("set-cookie", "y")];
        assert_eq!(found, expected.map(|(name, value)| field(name, value)));
    }

    #[test]
    fn values_of_one_run_are_made_comparable() {
        let check = |name: &str, value: &str, expected: &str| {
            assert_eq!(comparable(&(name.to_owned(), value.to_owned())).1, expected);
        };
        check("Date", "Mon, 30 Nov 2026 18:00:00 GMT", "<date>");
        check("x-request-id", "0f2e8a7c-1b2c-4d3e-8f90-0123456789ab", "<uuid>");
        check("connection", "Close", "close");
        check("x", "Close", "Close");
    }
}
