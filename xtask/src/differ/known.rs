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
            let expects = |request: &Request| request.lines.contains(&"expect: 100-continue");
            let said = matches!(line.text, "client start: HTTP/1.1 100" | "client start: HTTP/1.0 100");
            // The code of a request without an answer is what was said to it last.
            let logged = |code: u16| seen.case.aborted && line.text == format!("log: {code} DC");
            seen.any_request(expects) && if line.ours { logged(0) } else { said || logged(100) }
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
            let ends = matches!(line.text, "client: cut short" | "client: ends" | "client: broken") || status(" UC");
            // With the connection that ends go the requests behind.
            let is_last = |text: &String| text == "client: cut short";
            let behind = seen.case.requests.len() > 1 && seen.weft.lines.iter().any(is_last);
            seen.case.answers.iter().any(resets) && if line.ours { ends } else { status(" -") || behind }
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
            seen.has_http2_upstream() && seen.any_request(none) && seen.is_refusal_among_others(line)
        },
    },
    Known {
        name: "Towards HTTP/2 a path has the form of a URI",
        covers: |seen, line| {
            let odd = |request: &Request| request.target.contains(['<', '>', '`', '"', '{', '}', '|', '^', '\\']);
            seen.has_http2_upstream() && seen.any_request(odd) && line.text.starts_with("upstream start: ")
        },
    },
    Known {
        name: "A path over HTTP/2 is UTF-8",
        covers: |seen, line| {
            let other = |request: &Request| !request.target.is_ascii();
            seen.case.http2 && seen.any_request(other) && seen.is_refusal(line)
        },
    },
    Known {
        name: "A length that is none is refused beside no content, too",
        covers: |seen, line| {
            let none = |answer: &Answer| {
                matches!(answer.body, Body::Broken(_)) && answer.body.text().starts_with("content-length: ")
            };
            let refused = |text: &String| text.starts_with("client start: ") && text.ends_with(" 502");
            let of_upstream = line.text.starts_with("upstream");
            seen.case.answers.iter().any(none) && seen.weft.lines.iter().any(refused) && !of_upstream
        },
    },
    Known {
        name: "`close` beside an offer stays here",
        covers: |seen, line| {
            let both = |request: &Request| {
                let has = |text: &str| request.lines.iter().any(|line| line.eq_ignore_ascii_case(text));
                has("connection: close") && has("connection: upgrade\r\nupgrade: websocket")
            };
            seen.any_request(both) && line.text.starts_with("upstream header connection: ")
        },
    },
    Known {
        name: "`close` goes before `keep-alive`",
        covers: |seen, line| {
            let both = |request: &Request| {
                let has = |text: &str| request.lines.iter().any(|line| line.eq_ignore_ascii_case(text));
                has("connection: close") && has("connection: keep-alive")
            };
            let ends = line.text.starts_with("client header connection: ") || line.text == "client: ends";
            seen.any_request(both) && ends
        },
    },
    Known {
        name: "HTTP/1.0 offers nothing",
        covers: |seen, _| {
            let forbidden = |text: &String| text.starts_with("client start: ") && text.ends_with(" 403");
            let offers = |request: &Request| request.version == "HTTP/1.0" && request.offers();
            seen.any_request(offers) && seen.difference.envoy.iter().any(forbidden)
        },
    },
    Known {
        name: "A body beside an offer is the request's",
        covers: |seen, line| {
            let empty = |body: &Body| matches!(body, Body::None | Body::Length(""));
            let begun = line.text.starts_with("upstream body: ")
                || line.text.starts_with("upstream header transfer-encoding: ");
            // Envoy takes it for the tunnel's and goes on waiting.
            let unanswered = !seen.difference.weft.is_empty() && seen.difference.envoy.is_empty();
            seen.any_request(|request| request.offers() && !empty(&request.body)) && line.ours && (begun || unanswered)
        },
    },
    Known {
        name: "Behind an answer that breaks the connection ends at once",
        covers: |seen, line| {
            let head = seen.any_request(|request| request.method == "HEAD");
            head && seen.has_http2_upstream() && line.ours && line.text == "client: ends"
        },
    },
    Known {
        name: "Of a client that has gone away the log has what came first",
        covers: |seen, line| {
            let told = line.text.starts_with("log: ") || line.text.starts_with("upstream ");
            // A client of HTTP/2 that breaks a rule is gone, too.
            let broken = seen.weft.lines.iter().any(|text| text == "client: broken");
            (seen.case.aborted || (seen.case.http2 && broken)) && told
        },
    },
    Known {
        name: "An upstream that reads no body takes it for requests",
        covers: |seen, line| {
            let early = seen.case.answers.iter().any(|answer| answer.early);
            let sends = seen.any_request(|request| !matches!(request.body, Body::None));
            early && sends && line.text.starts_with("upstream ")
        },
    },
    Known {
        name: "Three requests at once are three",
        covers: |seen, _| {
            let gave_up = seen.difference.envoy.iter().any(|text| text == "log: 0 DPE");
            seen.case.pipelined && seen.case.requests.len() > 2 && gave_up
        },
    },
    Known {
        name: "Of two faults one is told",
        covers: |seen, line| {
            let two = |request: &Request| request.host == Some("a b") && request.target.contains('#');
            seen.any_request(two) && seen.is_refusal(line)
        },
    },
    Known {
        name: "An offer that is declined gets the whole answer",
        covers: |seen, line| {
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
            !seen.case.http2
                && seen.any_request(Request::offers)
                && starts.iter().any(|start| line.text.starts_with(start))
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
        // Nothing follows a refusal on its connection.
        let mut starts = self.starts().rev();
        let refuses = starts.next().is_some_and(|text| self.refuses(text));
        refuses && Self::is_word_of_refusals(line)
    }

    /// The same where the connection serves what follows.
    fn is_refusal_among_others(&self, line: Line<'_>) -> bool {
        self.starts().any(|text| self.refuses(text)) && Self::is_word_of_refusals(line)
    }

    fn starts(&self) -> impl DoubleEndedIterator<Item = &str> {
        let lines = self.weft.lines.iter().map(String::as_str);
        lines.filter(|text| text.starts_with("client start: "))
    }

    /// Callers of gRPC are told in its protocol.
    fn refuses(&self, start: &str) -> bool {
        let internal = |text: &String| text == "client header grpc-status: 13";
        start.ends_with(" 400") || (start.ends_with(" 200") && self.weft.lines.iter().any(internal))
    }

    fn is_word_of_refusals(line: Line<'_>) -> bool {
        const WORDS: [&str; 22] = [
            "client start: HTTP/2 400",
            "client start: HTTP/2 200",
            "client start: HTTP/1.1 200",
            "client start: HTTP/1.0 200",
            "client header content-type: application/grpc",
            "client header grpc-status: 13",
            "log: 200 -",
            "log: 200 DPE",
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
        !line.ours || WORDS.contains(&line.text)
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
