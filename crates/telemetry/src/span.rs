//! A span as it is kept, whatever wire it came on, within limits.

use std::sync::Arc;

/// Longest name or value that is kept, in bytes; the rest is cut off.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Attributes kept of one span.
pub const ATTRIBUTES_MAX: usize = 64;

/// A trace's id; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// One span of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace: TraceId,
    /// Id within the trace; never zero.
    pub id: u64,
    /// The span that caused it.
    pub parent: Option<u64>,
    /// Who reports it.
    pub service: Arc<str>,
    /// What was done.
    pub name: Box<str>,
    /// Its side of a call.
    pub kind: SpanKind,
    /// Start, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Whether it failed.
    pub failed: bool,
    /// Facts of the span, in the order in which they came.
    pub attributes: Vec<(Box<str>, Box<str>)>,
}

/// The side of a call that a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Within a process, or unknown.
    Internal,
    Server,
    Client,
    /// Sends without waiting.
    Producer,
    /// Takes what was sent.
    Consumer,
}

// === impl TraceId ===

impl TraceId {
    /// Reads 16 or 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (text.len() == 32 || text.len() == 16) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0)?;
        Some(Self(id))
    }
}

impl std::fmt::Display for TraceId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

// === impl Span ===

impl Span {
    /// Adds an attribute unless there are too many already.
    pub fn add(&mut self, key: &str, value: &str) {
        if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes.push((short(key), short(value)));
        }
    }

    /// Memory that it takes, in bytes and about right.
    pub fn bytes(&self) -> usize {
        let attributes: usize = (self.attributes.iter())
            .map(|(key, value)| key.len() + value.len() + 2 * size_of::<Box<str>>())
            .sum();
        size_of::<Self>() + self.service.len() + self.name.len() + attributes
    }
}

// === impl SpanKind ===

impl SpanKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// The text, cut to what is kept.
pub fn short(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into()
}
