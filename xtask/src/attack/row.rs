//! What a row of the table of attacks says.

use crate::wire::upstream::{Reply, Then};

/// Groups of attacks, by what they are after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Paths and hosts that a policy reads otherwise than the upstream.
    Paths,
    /// Headers that are read otherwise by the one and the other.
    Headers,
    /// Where a message ends.
    Framing,
    /// Memory, time and connections.
    Resources,
    /// Certificates and names.
    Identity,
}

/// One attack. It is sent to Envoy and to ours, each followed by other clients.
#[derive(Clone, Debug)]
pub(super) struct Attack {
    pub(super) group: Group,
    pub(super) name: String,
    /// Where it is sent to; names of `setup`.
    pub(super) listener: &'static str,
    pub(super) sent: Sent,
    pub(super) upstream: Upstream,
    /// Why ours may do something that Envoy does not; empty where it must not.
    pub(super) reason: &'static str,
}

/// What the attacker sends.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    /// Bytes, in parts with a pause between them, and how many answers are waited for.
    Http1 {
        parts: Vec<&'static str>,
        answers: usize,
        abort: bool,
    },
    /// Frames behind the preface and settings; streams whose end is waited for.
    Http2 {
        frames: Vec<Frame>,
        streams: Vec<u32>,
        abort: bool,
    },
    /// Bytes, again and again over as many connections, which are all kept open meanwhile; memory is looked at.
    Crowd { bytes: &'static str, connections: usize },
    /// A client of TLS with this identity and server name, which sends these bytes.
    Tls {
        identity: &'static str,
        options: &'static [&'static str],
        bytes: &'static str,
    },
}

/// A frame, or many.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// HEADERS with these fields; `true` where nothing follows.
    Head(u32, Vec<(&'static str, &'static str)>, bool),
    Data(u32, &'static str, bool),
    /// Kind, flags, stream and payload of any frame.
    Raw(u8, u8, u32, Vec<u8>),
    /// The same again.
    Times(usize, Vec<Self>),
    /// The same on every stream from the first number on, as many as are said.
    Streams(usize, fn(u32) -> Vec<Self>),
}

/// What the upstream does with the attacker's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upstream {
    /// Reads all, and says what it was asked.
    Answers,
    /// Answers before the body has come, and takes what follows for the next request.
    Early,
    Stalls,
    Aborts,
    /// Sends these bytes and keeps the connection.
    Says(&'static str),
    /// Sends these bytes and closes.
    SaysAndCloses(&'static str),
}

// === impl Upstream ===

impl Upstream {
    /// As a script; none for one that answers as all do.
    pub(super) fn script(self) -> Vec<Reply> {
        let reply = |early: bool, text: &str, then: Then| {
            vec![Reply {
                early,
                parts: if text.is_empty() {
                    Vec::new()
                } else {
                    vec![crate::wire::bytes_of(text)]
                },
                then,
            }]
        };
        match self {
            Self::Answers => Vec::new(),
            Self::Early => reply(
                true,
                "HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nearly",
                Then::Keep,
            ),
            Self::Stalls => reply(true, "", Then::Hang),
            Self::Aborts => reply(true, "", Then::Reset),
            Self::Says(text) => reply(false, text, Then::Keep),
            Self::SaysAndCloses(text) => reply(false, text, Then::Close),
        }
    }
}

// === impl Group ===

impl Group {
    /// The letter of the group in reports and names.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Paths => 'A',
            Self::Headers => 'B',
            Self::Framing => 'C',
            Self::Resources => 'D',
            Self::Identity => 'E',
        }
    }
}

// === impl Attack ===

impl Attack {
    fn new(group: Group, name: &str, listener: &'static str, sent: Sent) -> Self {
        Self {
            group,
            name: format!("{} {name}", group.letter()),
            listener,
            sent,
            upstream: Upstream::Answers,
            reason: "",
        }
    }

    /// Over HTTP/1.1, as these bytes; one answer is waited for.
    pub(super) fn h1(group: Group, name: &str, listener: &'static str, bytes: &'static str) -> Self {
        Self::parts(group, name, listener, &[bytes])
    }

    /// The same in parts.
    pub(super) fn parts(group: Group, name: &str, listener: &'static str, parts: &[&'static str]) -> Self {
        let parts = parts.to_vec();
        Self::new(
            group,
            name,
            listener,
            Sent::Http1 {
                parts,
                answers: 1,
                abort: false,
            },
        )
    }

    /// Over HTTP/2, with these fields and this body.
    pub(super) fn h2(
        group: Group,
        name: &str,
        listener: &'static str,
        fields: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> Self {
        let mut frames = vec![Frame::Head(1, fields.to_vec(), body.is_empty())];
        if !body.is_empty() {
            frames.push(Frame::Data(1, body, true));
        }
        Self::frames(group, name, listener, frames, &[1])
    }

    /// Over HTTP/2, as these frames.
    pub(super) fn frames(
        group: Group,
        name: &str,
        listener: &'static str,
        frames: Vec<Frame>,
        streams: &[u32],
    ) -> Self {
        let streams = streams.to_vec();
        Self::new(
            group,
            name,
            listener,
            Sent::Http2 {
                frames,
                streams,
                abort: false,
            },
        )
    }

    /// Bytes over many connections at once.
    pub(super) fn crowd(name: &str, listener: &'static str, bytes: &'static str, connections: usize) -> Self {
        Self::new(Group::Resources, name, listener, Sent::Crowd { bytes, connections })
    }

    /// Over TLS, by `openssl s_client` with these options.
    pub(super) fn tls(
        name: &str,
        identity: &'static str,
        options: &'static [&'static str],
        bytes: &'static str,
    ) -> Self {
        Self::new(
            Group::Identity,
            name,
            "mutual",
            Sent::Tls {
                identity,
                options,
                bytes,
            },
        )
    }

    /// With an upstream that does not just answer.
    pub(super) fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = upstream;
        self
    }

    /// Waits for that many answers.
    pub(super) fn answers(mut self, count: usize) -> Self {
        if let Sent::Http1 { answers, .. } = &mut self.sent {
            *answers = count;
        }
        self
    }

    /// The attacker goes away when all is sent.
    pub(super) fn abort(mut self) -> Self {
        if let Sent::Http1 { abort, .. } | Sent::Http2 { abort, .. } = &mut self.sent {
            *abort = true;
        }
        self
    }
}
