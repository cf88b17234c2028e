//! What a scripted server answers, as test tables say it.

use serde::Deserialize;

use super::{coding, wire};

/// One answer. Without any field: 200, the server's name as the body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Answer {
    /// 0 stands for 200.
    pub(crate) status: u16,
    /// Lines `name: value`.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Option<String>,
    /// The body is compressed as `content-encoding` says.
    pub(crate) encoded: bool,
    pub(crate) trailers: Vec<String>,
    pub(crate) chunked: bool,
    /// Interim answers, as `100` or `103 link: </a>`, that are sent when the head of the request has come.
    pub(crate) interim: Vec<String>,
    /// Answers without waiting for the body of the request, and closes.
    pub(crate) unread: bool,
    /// Milliseconds before the head is sent.
    pub(crate) delay_ms: u64,
    /// Waits until the client has finished its other requests.
    pub(crate) held: bool,
    pub(crate) action: Action,
    /// Bytes sent instead of anything else; then the connection is closed.
    pub(crate) raw: Option<String>,
}

/// What is done with the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Answer, and wait for the next request.
    #[default]
    Answer,
    /// Answer, then close.
    AnswerAndClose,
    /// Close without an answer.
    Close,
    /// Reset the connection (HTTP/2: the stream) without an answer.
    Reset,
    Hang,
    /// Answer all but the last byte, and then nothing more (HTTP/1.1).
    Stall,
    /// Answer (101 or 200), then send back every byte that comes.
    Echo,
}

// === impl Answer ===

impl Answer {
    /// The status code to send.
    pub(crate) fn code(&self) -> u16 {
        if self.status == 0 { 200 } else { self.status }
    }

    /// The body, which is the server's name where the script has none.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or(name).as_bytes();
        let fields = self.headers.iter().map(|line| wire::field(line));
        let encoding = coding::named(fields);
        coding::encode(encoding.as_deref().filter(|_| self.encoded), body)
    }

    /// Whether a body is allowed at all.
    pub(crate) fn may_have_body(&self, method: &str) -> bool {
        method != "HEAD"
            && self.code() >= 200
            && self.code() != 204
            && self.code() != 304
            && self.action != Action::Echo
    }
}
