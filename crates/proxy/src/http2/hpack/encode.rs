//! Header blocks out of fields. What an answer says again and again (`server`, `content-type`, `date` within a second) is told once, and
//! then in a byte. Strings are written as they are: the code would cost more than the bytes it saves between machines of one mesh.

use std::collections::VecDeque;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::table::{self, STATIC_COUNT};
use super::{ENTRY_BYTES, TABLE_BYTES};

/// Names beyond the static table of which the last value is remembered.
const OTHERS_MAX: usize = 16;
/// Longest value that is worth remembering.
const VALUE_BYTES_MAX: usize = 256;

/// The encoding end of a connection.
#[derive(Debug)]
pub struct Encoder {
    /// Where in `known` the last value of a name of the static table is, from 1.
    places: [u8; STATIC_COUNT + 1],
    known: Vec<Last>,
    /// Last values of other names.
    others: Vec<(HeaderName, Last)>,
    /// Which of `others` makes room for the next.
    oldest: usize,
    /// Bytes of what the peer has in its table, the newest first.
    table: VecDeque<usize>,
    bytes: usize,
    bytes_max: usize,
    /// How many entries were ever added.
    added: u64,
    /// The peer is to be told of `bytes_max` with the next block; the lowest that it was meanwhile.
    resized: Option<usize>,
}

/// What was said of a name last.
#[derive(Clone, Debug, Default)]
struct Last {
    value: Option<HeaderValue>,
    /// Number of its entry, from 1; 0 where there is none.
    entry: u64,
}

/// How a field is to be written.
enum Form {
    /// All of it is in the table.
    Indexed(usize),
    /// To be added to the table; the index of its name, or 0.
    Added(usize),
    /// As it is.
    Plain(usize),
    /// As it is, and never in any table.
    Secret(usize),
}

// === impl Encoder ===

impl Encoder {
    /// The peer's table may have so many bytes.
    pub fn resize(&mut self, bytes: u32) {
        let bytes = (bytes as usize).min(TABLE_BYTES);
        if bytes == self.bytes_max && self.resized.is_none() {
            return;
        }
        let lowest = self.resized.map_or(bytes, |lowest| lowest.min(bytes));
        self.resized = Some(lowest);
        self.bytes_max = lowest;
        self.shrink(0);
        self.bytes_max = bytes;
    }

    /// Appends the head of an answer.
    pub fn answer(&mut self, out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
        self.begin(out);
        match status.as_u16() {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => {
                out.push(8);
                string(out, status.as_str().as_bytes());
            }
        }
        self.rest(out, headers);
    }

    /// Appends fields alone: trailers.
    pub fn fields(&mut self, out: &mut Vec<u8>, headers: &HeaderMap) {
        self.begin(out);
        self.rest(out, headers);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(lowest) = self.resized.take() {
            integer(out, 0x20, 5, lowest);
            if lowest != self.bytes_max {
                integer(out, 0x20, 5, self.bytes_max);
            }
        }
    }

    fn rest(&mut self, out: &mut Vec<u8>, headers: &HeaderMap) {
        for (name, value) in headers {
            let index = match self.form(name, value) {
                Form::Indexed(index) => {
                    integer(out, 0x80, 7, index);
                    continue;
                }
                Form::Added(index) => {
                    integer(out, 0x40, 6, index);
                    index
                }
                Form::Plain(index) => {
                    integer(out, 0, 4, index);
                    index
                }
                Form::Secret(index) => {
                    integer(out, 0x10, 4, index);
                    index
                }
            };
            if index == 0 {
                string(out, name.as_str().as_bytes());
            }
            string(out, value.as_bytes());
        }
    }

    fn form(&mut self, name: &HeaderName, value: &HeaderValue) -> Form {
        let known = usize::from(table::index_of(name.as_str()));
        if value.is_sensitive() {
            return Form::Secret(known);
        }
        // Of what differs from one answer to the next nothing is to be gained, and cookies are nobody's to guess.
        if matches!(known, 28 | 34 | 55) || value.len() > VALUE_BYTES_MAX {
            return Form::Plain(known);
        }
        let (added, held) = (self.added, self.table.len() as u64);
        let last = match known {
            0 => match self.others.iter().position(|(other, _)| other == name) {
                Some(at) => &mut self.others[at].1,
                None => {
                    self.remember(name, value);
                    return Form::Plain(0);
                }
            },
            known => {
                if self.places[known] == 0 {
                    self.known.push(Last::default());
                    self.places[known] = self.known.len() as u8;
                }
                &mut self.known[usize::from(self.places[known]) - 1]
            }
        };
        // The newest is right behind the static ones.
        let index = STATIC_COUNT + 1 + (added - last.entry) as usize;
        let is_held = last.entry > 0 && last.entry + held > added;
        if last.value.as_ref() != Some(value) {
            last.value = Some(value.clone());
            // Of another name beyond the static table, the entry still has the name.
            if known == 0 && is_held {
                last.value = None;
                return Form::Plain(index);
            }
            last.entry = 0;
            return Form::Plain(known);
        }
        if is_held {
            return Form::Indexed(index);
        }
        // It was said twice: the third time it is a byte.
        last.entry = added + 1;
        let bytes = name.as_str().len() + value.len() + ENTRY_BYTES;
        if bytes > self.bytes_max {
            last.entry = 0;
            return Form::Plain(known);
        }
        self.shrink(bytes);
        self.table.push_front(bytes);
        self.bytes += bytes;
        self.added += 1;
        Form::Added(known)
    }

    fn remember(&mut self, name: &HeaderName, value: &HeaderValue) {
        let last = Last {
            value: Some(value.clone()),
            entry: 0,
        };
        if self.others.len() < OTHERS_MAX {
            self.others.push((name.clone(), last));
            return;
        }
        self.others[self.oldest] = (name.clone(), last);
        self.oldest = (self.oldest + 1) % OTHERS_MAX;
    }

    /// Makes room for so many bytes.
    fn shrink(&mut self, bytes: usize) {
        while self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.table.pop_back() else { return };
            self.bytes -= oldest;
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            places: [0; STATIC_COUNT + 1],
            known: Vec::new(),
            others: Vec::new(),
            oldest: 0,
            table: VecDeque::new(),
            bytes: 0,
            bytes_max: TABLE_BYTES,
            added: 0,
            resized: None,
        }
    }
}

/// Appends a number behind the bits in front of it (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, kind: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        out.push(kind | value as u8);
        return;
    }
    out.push(kind | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}
