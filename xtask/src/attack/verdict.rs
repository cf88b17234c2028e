//! Whether what ours did with an attack is at least as strict as what Envoy did.

use std::net::UdpSocket;
use std::time::Duration;

use super::perform::Outcome;
use super::row::{Attack, Group, Sent};
use crate::wire::h1::Message;
use crate::wire::latin1;

/// What both may have grown by without anybody asking.
const FREE_MIB: f64 = 32.0;
/// Others wait no longer than that, unless they do at Envoy.
const PATIENCE: Duration = Duration::from_secs(2);
/// What differs between any two runs, or says which proxy it was.
const NOISE: [&str; 3] = ["x-request-id", "x-envoy-expected-rq-timeout-ms", "date"];

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    /// Ours passed on less.
    Stricter,
    /// Ours did more than Envoy; these are the reasons to say so.
    Laxer(Vec<String>),
}

/// Judges a row by what both did with it; a reason of the row is not looked at.
pub(super) fn verdict(row: &Attack, envoy: &Outcome, weft: &Outcome) -> Verdict {
    let mut faults = Vec::new();
    if let Some(seen) = &weft.poisoned {
        faults.push(format!("another client was answered {seen:?}"));
    }
    // Who refuses an answer that the other takes tries again where a route says so.
    let refuses_answer = row.listener == "retries" && passes(envoy) && !passes(weft);
    let mut left: Vec<Sight> = envoy.reached.iter().map(Sight::of).collect();
    for message in &weft.reached {
        let sight = Sight::of(message);
        if has_two_framings(message) {
            faults.push(format!("the upstream got a length beside chunks: {}", sight.start));
        }
        let tried_again = refuses_answer && envoy.reached.iter().any(|theirs| sight.is_within(&Sight::of(theirs)));
        if let Some(index) = left.iter().position(|theirs| sight.is_within(theirs)) {
            left.remove(index);
        } else if !message.cut_short && !tried_again {
            faults.push(format!(
                "the upstream got what it does not get from Envoy: {}",
                short(message)
            ));
        }
    }
    if passes(weft) && !passes(envoy) && !matches!(row.sent, Sent::Http2 { .. } if row.group == Group::Resources) {
        faults.push(format!(
            "answered {}, by Envoy {}",
            weft.heard.summary(),
            envoy.heard.summary()
        ));
    }
    if row.group == Group::Resources {
        faults.extend(resources(row, envoy, weft));
    }
    if !faults.is_empty() {
        Verdict::Laxer(faults)
    } else if left.is_empty() && passes(weft) == passes(envoy) {
        Verdict::Same
    } else {
        Verdict::Stricter
    }
}

fn resources(row: &Attack, envoy: &Outcome, weft: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    if weft.grown_mib > (2.0 * envoy.grown_mib).max(FREE_MIB) {
        faults.push(format!(
            "grew by {:.0} MiB, Envoy by {:.0}",
            weft.grown_mib, envoy.grown_mib
        ));
    }
    if weft.others_waited > PATIENCE.max(2 * envoy.others_waited) {
        faults.push(format!(
            "others waited {:?}, at Envoy {:?}",
            weft.others_waited, envoy.others_waited
        ));
    }
    let refused = |outcome: &Outcome| !outcome.heard.answers.is_empty() && !passes(outcome);
    let ended = |outcome: &Outcome| outcome.heard.closed || outcome.heard.broken.is_some() || refused(outcome);
    if matches!(row.sent, Sent::Http2 { .. }) && ended(envoy) && !ended(weft) {
        faults.push(format!(
            "answered {}, by Envoy {}",
            weft.heard.summary(),
            envoy.heard.summary()
        ));
    }
    faults
}

fn passes(outcome: &Outcome) -> bool {
    let final_statuses = outcome
        .heard
        .answers
        .iter()
        .map(Message::status)
        .filter(|status| *status >= 200 || *status == 101);
    { final_statuses }.any(|status| !(400..600).contains(&status))
}

fn has_two_framings(message: &Message) -> bool {
    let has = |name: &str| message.values(name).next().is_some();
    has("content-length") && has("transfer-encoding")
}

/// A request as it is compared.
struct Sight {
    start: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    cut_short: bool,
}

// === impl Sight ===

impl Sight {
    fn of(message: &Message) -> Self {
        let own = own_address();
        let fields = |fields: &[(String, String)]| {
            let kept = fields.iter().map(|(name, value)| {
                let (name, value) = (name.to_ascii_lowercase(), value.replace(&own, "127.0.0.1"));
                let value = match name.as_str() {
                    // Tokens without regard to case (RFC 9110 sections 7.6.1 and 7.8).
                    "connection" | "upgrade" => value.to_ascii_lowercase(),
                    "content-length" => value.parse::<u64>().map_or(value, |length| length.to_string()),
                    _ => value,
                };
                (name, value)
            });
            kept.filter(|(name, _)| !NOISE.contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        Self {
            start: message.start.clone(),
            fields: fields(&message.fields),
            body: message.body.clone(),
            trailers: fields(&message.trailers),
            cut_short: message.cut_short,
        }
    }

    /// Says nothing that the other does not say.
    fn is_within(&self, other: &Self) -> bool {
        let all_in = |ours: &[(String, String)], theirs: &[(String, String)]| {
            let mut left: Vec<_> = theirs.iter().collect();
            ours.iter().all(|field| {
                let index = left.iter().position(|other| *other == field);
                index.map(|index| left.remove(index)).is_some()
            })
        };
        self.start == other.start
            && all_in(&self.fields, &other.fields)
            && all_in(&self.trailers, &other.trailers)
            && (self.body == other.body || self.cut_short || other.cut_short)
    }
}

/// Envoy calls a peer on loopback by the machine's own address in x-forwarded-for.
fn own_address() -> String {
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: connecting a datagram socket only chooses the route. The address is for documentation (RFC 5737).
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    route.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

/// A request in a line.
pub(super) fn short(message: &Message) -> String {
    let mut text: String = message.start.escape_default().to_string().chars().take(80).collect();
    for (name, value) in &message.fields {
        if !NOISE.contains(&name.to_ascii_lowercase().as_str()) && text.len() < 400 {
            text += &format!(" | {}: {}", name.escape_default(), value.escape_default());
        }
    }
    if !message.body.is_empty() {
        let body: String = latin1(&message.body)
            .escape_default()
            .to_string()
            .chars()
            .take(60)
            .collect();
        text += &format!(" | body of {}: {body}", message.body.len());
    }
    for (name, value) in &message.trailers {
        text += &format!(" | trailer {}: {}", name.escape_default(), value.escape_default());
    }
    if message.cut_short {
        text += " | cut short";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::h1::{self, Heard};

    fn outcome(status: &str, reached: &[&str]) -> Outcome {
        Outcome {
            heard: Heard {
                answers: vec![h1::head(&format!("HTTP/1.1 {status}"))],
                ..Heard::default()
            },
            reached: reached.iter().map(|text| h1::head(text)).collect(),
            ..Outcome::default()
        }
    }

    fn check(envoy: (&str, &[&str]), weft: (&str, &[&str]), faults: Option<usize>) {
        let row = Attack::h1(Group::Paths, "x", "plain", "");
        let found = verdict(&row, &outcome(envoy.0, envoy.1), &outcome(weft.0, weft.1));
        let seen = if let Verdict::Laxer(faults) = &found {
            Some(faults.len())
        } else {
            None
        };
        assert_eq!(seen, faults, "{found:?}");
    }

    #[test]
    fn ours_may_pass_on_less_and_never_more() {
        let (get, admin) = ("GET / HTTP/1.1\r\na: 1\r\nb: 2", "GET /admin HTTP/1.1");
        check(("200 OK", &[get]), ("200 OK", &[get]), None);
        check(
            ("200 OK", &[get]),
            ("200 OK", &["GET / HTTP/1.1\r\nB: 2\r\nx-request-id: 1"]),
            None,
        );
        check(("200 OK", &[get]), ("400 Bad", &[]), None);
        check(("400 Bad", &[]), ("400 Bad", &[admin]), Some(1));
        check(("400 Bad", &[]), ("200 OK", &[admin]), Some(2));
        check(("200 OK", &[get]), ("200 OK", &[get, get]), Some(1));
        check(
            ("200 OK", &[get]),
            ("200 OK", &["GET / HTTP/1.1\r\na: 1\r\nc: 3"]),
            Some(1),
        );
        let both = "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked";
        check(("200 OK", &[both]), ("200 OK", &[both]), Some(1));
    }

    #[test]
    fn another_client_gets_its_own_answer() {
        let row = Attack::h1(Group::Framing, "x", "plain", "");
        let mut weft = outcome("200 OK", &[]);
        weft.poisoned = Some("poison".to_owned());
        assert!(matches!(
            verdict(&row, &outcome("200 OK", &[]), &weft),
            Verdict::Laxer(_)
        ));
    }
}
