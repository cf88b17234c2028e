//! One case of the differential run: a configuration, what a client sends and what the upstream answers; and how it is made at random.

use fastrand::Rng;

use super::words;
use crate::wire::{bytes_of, h1};

/// A case. Everything in it is a list of small pieces, so that it can be made smaller piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Pieces of the connection manager, of its routes in their order, and of the cluster: indexes into the tables of `words`.
    pub(super) manager: Vec<usize>,
    pub(super) routes: Vec<usize>,
    pub(super) cluster: Vec<usize>,
    pub(super) http2: bool,
    pub(super) requests: Vec<Request>,
    /// Sent at once, and not one after the other's answer.
    pub(super) pipelined: bool,
    /// The client goes away when all is sent.
    pub(super) aborted: bool,
    pub(super) answers: Vec<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) version: &'static str,
    /// Lines behind the host.
    pub(super) lines: Vec<&'static str>,
    pub(super) host: Option<&'static str>,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// As long as it says.
    Length(&'static str),
    /// In chunks, each as it is here, and the end with trailers.
    Chunks(Vec<&'static str>, &'static str),
    /// The head says one thing, this is another.
    Broken(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) start: &'static str,
    pub(super) lines: Vec<&'static str>,
    pub(super) body: Body,
    pub(super) early: bool,
    /// Sent in two parts.
    pub(super) slow: bool,
    pub(super) then: crate::wire::upstream::Then,
}

fn one<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// Up to `most` of these, each once, in their order.
fn some<T: Copy>(rng: &mut Rng, from: &[T], most: usize) -> Vec<T> {
    let count = rng.usize(..=most);
    let mut indexes: Vec<usize> = (0..count).map(|_| rng.usize(..from.len())).collect();
    indexes.sort_unstable();
    indexes.dedup();
    indexes.into_iter().map(|index| from[index]).collect()
}

// === impl Case ===

impl Case {
    /// The configuration alone.
    pub(super) fn config(rng: &mut Rng) -> Self {
        let all = |count: usize| (0..count).collect::<Vec<usize>>();
        let mut routes = some(rng, &all(words::ROUTES.len() - 1), 3);
        // The last one fits all.
        routes.push(words::ROUTES.len() - 1);
        Self {
            manager: some(rng, &all(words::MANAGERS.len()), 4),
            routes,
            cluster: if rng.u8(..4) == 0 {
                vec![rng.usize(..words::CLUSTERS.len())]
            } else {
                Vec::new()
            },
            http2: false,
            requests: Vec::new(),
            pipelined: false,
            aborted: false,
            answers: Vec::new(),
        }
    }

    /// A case with this configuration, of a client that speaks HTTP/2 or not where `http2` says so.
    pub(super) fn fill(&self, rng: &mut Rng, http2: Option<bool>) -> Self {
        let drawn = rng.u8(..4) == 0;
        let http2 = http2.unwrap_or(drawn);
        let count = if http2 || rng.u8(..3) > 0 { 1 } else { rng.usize(2..=3) };
        Self {
            http2,
            requests: (0..count).map(|_| Request::random(rng, http2)).collect(),
            pipelined: rng.u8(..3) == 0,
            aborted: rng.u8(..40) == 0,
            answers: (0..rng.usize(1..=2)).map(|_| Answer::random(rng)).collect(),
            ..self.clone()
        }
    }

    /// Every case that is this one without a piece.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            let ends = case.answers.iter().all(Answer::ends);
            if case != *self && ends && !case.requests.is_empty() && !case.routes.is_empty() {
                found.push(case);
            }
        };
        for index in 0..self.requests.len() {
            with(&|case| {
                case.requests.remove(index);
            });
            with(&|case| case.requests[index].body = Body::None);
            with(&|case| case.requests[index].target = "/".to_owned());
            with(&|case| case.requests[index].method = "GET");
            with(&|case| case.requests[index].version = "HTTP/1.1");
            for line in 0..self.requests[index].lines.len() {
                with(&|case| {
                    case.requests[index].lines.remove(line);
                });
            }
        }
        for index in 0..self.answers.len() {
            with(&|case| case.answers[index] = Answer::plain());
            with(&|case| case.answers[index].early = false);
            with(&|case| case.answers[index].slow = false);
            with(&|case| case.answers[index].then = crate::wire::upstream::Then::Keep);
            if self.answers.len() > 1 {
                with(&|case| {
                    case.answers.remove(index);
                });
            }
            for line in 0..self.answers[index].lines.len() {
                with(&|case| {
                    case.answers[index].lines.remove(line);
                });
            }
        }
        for index in 0..self.manager.len() {
            with(&|case| {
                case.manager.remove(index);
            });
        }
        for index in 0..self.routes.len() {
            with(&|case| {
                case.routes.remove(index);
            });
        }
        with(&|case| case.cluster.clear());
        with(&|case| case.pipelined = false);
        with(&|case| case.aborted = false);
        found
    }
}

// === impl Request ===

impl Request {
    /// Whether it offers another protocol.
    pub(super) fn offers(&self) -> bool {
        self.lines.iter().any(|text| text.contains("upgrade: websocket"))
    }

    fn random(rng: &mut Rng, http2: bool) -> Self {
        let odd = rng.u8(..4) == 0;
        let method = if rng.u8(..2) == 0 {
            "GET"
        } else {
            one(rng, words::METHODS)
        };
        let target = if odd {
            one(rng, words::ODD_TARGETS)
        } else {
            one(rng, words::TARGETS)
        };
        let lines = if http2 {
            words::FIELD_LINES
        } else {
            words::REQUEST_LINES
        };
        let host = match rng.u8(..10) {
            0 => Some(one(rng, words::HOSTS)),
            1 if odd => None,
            _ => Some("e"),
        };
        Self {
            method,
            target: target.to_owned(),
            version: if rng.u8(..12) == 0 { "HTTP/1.0" } else { "HTTP/1.1" },
            lines: some(rng, lines, 3),
            host,
            body: Body::random(rng, method == "GET" || method == "HEAD"),
        }
    }

    /// As bytes of HTTP/1.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if let Some(host) = self.host {
            text += &format!("host: {host}\r\n");
        }
        self.lines.iter().for_each(|line| text += &format!("{line}\r\n"));
        text + &self.body.text()
    }
}

// === impl Body ===

impl Body {
    fn random(rng: &mut Rng, rarely: bool) -> Self {
        match rng.u8(..if rarely { 30 } else { 6 }) {
            0 | 1 => Self::Length(one(rng, words::BODIES)),
            2 | 3 => Self::Chunks(some(rng, words::CHUNKS, 3), one(rng, words::CHUNK_ENDS)),
            4 if rng.u8(..3) == 0 => Self::Broken(one(rng, words::BROKEN_BODIES)),
            _ => Self::None,
        }
    }

    /// The rest of a head, and the body.
    pub(super) fn text(&self) -> String {
        match self {
            Self::None => "\r\n".to_owned(),
            Self::Length(body) => format!("content-length: {}\r\n\r\n{body}", body.len()),
            Self::Chunks(chunks, end) => format!("transfer-encoding: chunked\r\n\r\n{}{end}", chunks.concat()),
            Self::Broken(text) => (*text).to_owned(),
        }
    }

    /// The bytes alone.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::None | Self::Broken(_) => Vec::new(),
            Self::Length(body) => body.as_bytes().to_vec(),
            Self::Chunks(chunks, _) => chunks.concat().into_bytes(),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The one that shows nothing.
    fn plain() -> Self {
        Self {
            start: "HTTP/1.1 200 OK",
            lines: Vec::new(),
            body: Body::Length("ok"),
            early: false,
            slow: false,
            then: crate::wire::upstream::Then::Keep,
        }
    }

    fn random(rng: &mut Rng) -> Self {
        use crate::wire::upstream::Then;
        if rng.u8(..3) == 0 {
            return Self::plain();
        }
        let mut answer = Self {
            start: if rng.u8(..2) == 0 {
                "HTTP/1.1 200 OK"
            } else {
                one(rng, words::STATUS_LINES)
            },
            lines: some(rng, words::ANSWER_LINES, 3),
            body: Body::random(rng, false),
            early: rng.u8(..30) == 0,
            slow: rng.u8(..8) == 0,
            then: match rng.u8(..30) {
                0..=4 => Then::Close,
                5 => Then::Reset,
                _ => Then::Keep,
            },
        };
        if !answer.ends() {
            answer.then = Then::Close;
        }
        answer
    }

    /// Whether it says where it ends, or its connection does. Else how much of it comes until the client goes is a matter of time.
    fn ends(&self) -> bool {
        let has_end = || {
            let found = h1::answers(&bytes_of(&self.text()), &[], false);
            found.last().is_some_and(h1::Message::is_final)
        };
        self.then != crate::wire::upstream::Then::Keep || has_end()
    }

    /// As bytes of HTTP/1.
    pub(super) fn text(&self) -> String {
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{}\r\n{lines}{}", self.start, self.body.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_cases() {
        let cases = |seed: u64| {
            let mut rng = Rng::with_seed(seed);
            let config = Case::config(&mut rng);
            (0..50).map(|_| config.fill(&mut rng, None)).collect::<Vec<_>>()
        };
        assert_eq!(cases(7), cases(7));
        assert_ne!(cases(7), cases(8));
    }

    #[test]
    fn a_smaller_case_differs_in_a_piece() {
        let mut rng = Rng::with_seed(1);
        let case = Case::config(&mut rng).fill(&mut rng, Some(false));
        assert!(!case.http2);
        assert!(case.smaller().iter().all(|smaller| *smaller != case));
    }
}
