//! Differences that have a reason. `docs/envoy-differences.md` has each of them under its name.

use super::case::{Answer, Body, Case, Request};
use super::outcome::{Difference, Outcome};
use super::run::Ran;
use super::words;
use crate::wire::upstream::Then;

/// A difference on purpose.
pub(super) struct Known {
    /// Its heading in the document.
    pub(super) name: &'static str,
    /// Whether a line that one side has alone comes of it.
    covers: fn(&Seen<'_>, Line<'_>) -> bool,
}

/// What a line is looked at with.
pub(super) struct Seen<'a> {
    case: &'a Case,
    weft: &'a Outcome,
    difference: &'a Difference,
}

/// A line that only one of them has.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) ours: bool,
    pub(super) text: &'a str,
}

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "The answer to HTTP/1.0 is HTTP/1.0",
        covers: |seen, line| {
            // The same status in both versions, and nothing else of the answer.
            let others = if line.ours {
                &seen.difference.envoy
            } else {
                &seen.difference.weft
            };
            let (mine, other) = if line.ours { ("1.0", "1.1") } else { ("1.1", "1.0") };
            let status = line.text.strip_prefix(&format!("client start: HTTP/{mine} "));
            seen.any_request(|request| request.version == "HTTP/1.0")
                && status.is_some_and(|status| others.contains(&format!("client start: HTTP/{other} {status}")))
        },
    },
    Known {
        name: "An answer to HEAD has no transfer coding",
        covers: |seen, line| {
            let head = seen.any_request(|request| request.method == "HEAD");
            head && !line.ours && line.text == "client header transfer-encoding: chunked"
        },
    },
    Known {
        name: "A refused HEAD gets no body",
        covers: |seen, line| {
            // What Envoy's codec says behind the head reads as one more answer, which is none.
            let bodies = ["Bad Request", "Not Implemented", "Upgrade Required"];
            let stray = |text: &str| bodies.iter().any(|body| text == format!("client start: {body}"));
            let has_stray = seen.difference.envoy.iter().any(|text| stray(text));
            seen.any_request(|request| request.method == "HEAD")
                && !line.ours
                && (stray(line.text) || (has_stray && line.text == "client: cut short"))
        },
    },
    Known {
        name: "An expectation is answered where a body is read",
        covers: |seen, line| {
            let empty = |body: &Body| matches!(body, Body::None | Body::Length(""));
            // Nobody reads the body of a request that goes nowhere.
            let goes_nowhere = !seen.weft.lines.iter().any(|text| text.starts_with("upstream start: "));
            let expects = |request: &Request| {
                request.lines.contains(&"expect: 100-continue") && (goes_nowhere || empty(&request.body))
            };
            seen.any_request(expects)
                && !line.ours
                && matches!(line.text, "client start: HTTP/1.1 100" | "client start: HTTP/1.0 100")
        },
    },
    Known {
        name: "A line that goes on is refused",
        covers: |seen, line| {
            let folded = |text: &&str| text.starts_with(' ') || text.contains("\r\n ");
            seen.any_request(|request| request.lines.iter().any(folded)) && seen.is_refusal(line)
        },
    },
    Known {
        name: "HTTP/1.0 has no chunks",
        covers: |seen, line| {
            let chunks = |request: &Request| request.body.text().contains("transfer-encoding: chunked\r\n");
            seen.any_request(|request| request.version == "HTTP/1.0" && chunks(request)) && seen.is_refusal(line)
        },
    },
    Known {
        name: "A host that is none is refused, and so are two",
        covers: |seen, line| {
            let none = |request: &Request| {
                let second = request.host.is_some() && request.lines.contains(&"host: second");
                second || matches!(request.host, Some("e:99999" | "a@e"))
            };
            seen.any_request(none) && seen.is_refusal(line)
        },
    },
    Known {
        name: "What came of a body before it broke is passed on",
        covers: |seen, line| {
            let mut answers = seen.case.answers.iter();
            let breaks = answers.any(|answer| answer.body.text().ends_with("5\r\nhelloXX0\r\n\r\n"));
            breaks && line.ours && line.text == "client body: hello"
        },
    },
    Known {
        name: "A broken body need not begin to go upstream",
        covers: |seen, line| {
            let breaks = |request: &Request| {
                let text = request.body.text();
                matches!(request.body, Body::Broken(_)) && text.starts_with("transfer-encoding: chunked\r\n\r\n")
            };
            let begins = seen.difference.envoy.iter().any(|text| text == "upstream: cut short");
            seen.any_request(breaks) && begins && !line.ours && line.text.starts_with("upstream")
        },
    },
    Known {
        name: "A reset does not end a body",
        covers: |seen, line| {
            let resets = |answer: &Answer| answer.then == Then::Reset && matches!(answer.body, Body::None);
            let status = |flags: &str| line.text.starts_with("log: ") && line.text.ends_with(flags);
            let ends = matches!(line.text, "client: cut short" | "client: ends") || status(" UC");
            seen.case.answers.iter().any(resets) && if line.ours { ends } else { status(" -") }
        },
    },
    Known {
        name: "A request without a body says so over HTTP/2",
        covers: |seen, line| seen.has_http2_upstream() && line.ours && line.text == "upstream header content-length: 0",
    },
    Known {
        name: "A request without a host does not go over HTTP/2",
        covers: |seen, line| {
            let none = |request: &Request| request.host == Some("");
            seen.has_http2_upstream() && seen.any_request(none) && seen.is_refusal(line)
        },
    },
    Known {
        name: "An offer that is declined gets the whole answer",
        covers: |seen, line| {
            let offers = |request: &Request| request.lines.iter().any(|text| text.contains("upgrade: websocket"));
            // The rest of the answer, how long it is, and how it ends.
            let starts: &[&str] = if line.ours {
                &[
                    "client header content-length: ",
                    "client header transfer-encoding: ",
                    "client body: ",
                    "client: cut short",
                    "log: 200 UPE",
                ]
            } else {
                &["client header content-length: 0", "log: 200 -"]
            };
            !seen.case.http2 && seen.any_request(offers) && starts.iter().any(|start| line.text.starts_with(start))
        },
    },
    Known {
        name: "What `connection` names in an answer goes",
        covers: |seen, line| {
            let mut answers = seen.case.answers.iter();
            let named = answers.any(|answer| answer.lines.contains(&"connection: x-b"));
            named && !line.ours && line.text.starts_with("client header x-b: ")
        },
    },
];

// === impl Seen ===

impl Seen<'_> {
    fn any_request(&self, fits: impl Fn(&Request) -> bool) -> bool {
        self.case.requests.iter().any(fits)
    }

    fn has_http2_upstream(&self) -> bool {
        let mut pieces = self.case.cluster.iter().map(|index| words::CLUSTERS[*index]);
        pieces.any(|piece| piece.contains("http2_protocol_options"))
    }

    /// Whether a line comes of ours refusing a request that Envoy takes, or refuses in other words.
    fn is_refusal(&self, line: Line<'_>) -> bool {
        const WORDS: [&str; 14] = [
            "client start: HTTP/1.1 400",
            "client start: HTTP/1.0 400",
            "client header connection: close",
            "client header content-length: 0",
            "client header content-length: 11",
            "client header content-type: text/plain",
            "client header date: <date>",
            "client header server: proxy",
            "client header via: proxy",
            "client: cut short",
            "client body: Bad Request",
            "client: ends",
            "log: 400 -",
            "log: 400 DPE",
        ];
        // Nothing follows a refusal on its connection.
        let mut starts = self
            .weft
            .lines
            .iter()
            .rev()
            .filter(|text| text.starts_with("client start: "));
        let refuses = starts.next().is_some_and(|text| text.ends_with(" 400"));
        refuses && (!line.ours || WORDS.contains(&line.text))
    }
}

/// The names of what explains lines of a difference, and the lines that nothing explains.
pub(super) fn explains(ran: &Ran) -> (Vec<&'static str>, Difference) {
    let difference = Difference::of(&ran.envoy, &ran.weft);
    let seen = Seen {
        case: &ran.case,
        weft: &ran.weft,
        difference: &difference,
    };
    let mut names = Vec::new();
    let mut unexplained = |ours: bool, lines: &[String]| {
        let covered = |text: &String| {
            let line = Line { ours, text };
            let known = KNOWN.iter().find(|known| (known.covers)(&seen, line));
            names.extend(known.map(|known| known.name));
            known.is_some()
        };
        let (_, left): (Vec<String>, Vec<String>) = lines.iter().cloned().partition(covered);
        left
    };
    let left = Difference {
        envoy: unexplained(false, &difference.envoy),
        weft: unexplained(true, &difference.weft),
    };
    (names, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_known_difference_and_no_other() {
        let document = include_str!("../../../docs/envoy-differences.md");
        let (_, table) = document.split_once("## Known to `differ`").unwrap();
        let headings: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(headings, KNOWN.iter().map(|known| known.name).collect::<Vec<_>>());
    }
}
