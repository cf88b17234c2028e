//! Bodies out of bytes. A pure state machine: bytes in, chunks and an end out, the same however the bytes were cut on their way.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::framing::Framing;
use super::head;

/// Longest line of a chunk's size with its extensions.
const SIZE_LINE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of chunk extensions in one body: they carry nothing that is passed on.
const EXTENSION_BYTES_MAX: usize = 16 << 10;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 60 << 10;
/// Most lines of trailers.
const TRAILER_COUNT_MAX: usize = 100;

/// Reads one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extension_bytes: usize,
}

#[derive(Debug)]
enum State {
    /// So many bytes are left.
    Length(u64),
    ToClose,
    /// At the size of a chunk.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// At the end of line behind a chunk.
    ChunkEnd,
    Trailers,
    Done,
}

/// What came of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes of the body.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The body is over; trailers follow where there are any.
    End(Option<HeaderMap>),
}

/// How a body breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// No hexadecimal number of at most 64 bits, or its line does not end as lines do.
    #[error("a chunk without a size")]
    ChunkSize,
    /// Extensions are longer than they may be.
    #[error("too long chunk extensions")]
    ChunkExtension,
    /// A chunk is followed by something other than an end of line.
    #[error("a chunk longer than its size")]
    ChunkEnd,
    /// No header lines, or too many.
    #[error("malformed trailers")]
    Trailers,
    /// The connection ended first.
    #[error("the body ended early")]
    Incomplete,
}

// === impl Decoder ===

impl Decoder {
    /// Reads a body that ends as its head says.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::Size,
            Framing::ToClose => State::ToClose,
        };
        Self {
            state,
            extension_bytes: 0,
        }
    }

    /// Whether nothing more comes.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes are left, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            State::ToClose | State::Size | State::Chunk(_) | State::ChunkEnd | State::Trailers => None,
        }
    }

    /// Takes what belongs to the body off `input`.
    ///
    /// # Errors
    /// Bytes that are no body. Nothing behind them can be trusted.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Step, BodyFault> {
        loop {
            match self.state {
                State::Done => return Ok(Step::End(None)),
                State::ToClose if input.is_empty() => return Ok(Step::More),
                State::ToClose => return Ok(Step::Data(input.split().freeze())),
                State::Length(left) => {
                    return Ok(match take(input, left) {
                        None => Step::More,
                        Some((data, 0)) => {
                            self.state = State::Done;
                            Step::Data(data)
                        }
                        Some((data, left)) => {
                            self.state = State::Length(left);
                            Step::Data(data)
                        }
                    });
                }
                State::Size => match self.size(input)? {
                    None => return Ok(Step::More),
                    Some(0) => self.state = State::Trailers,
                    Some(bytes) => self.state = State::Chunk(bytes),
                },
                State::Chunk(left) => {
                    let Some((data, left)) = take(input, left) else {
                        return Ok(Step::More);
                    };
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Step::Data(data));
                }
                State::ChunkEnd => {
                    let end = &input[..input.len().min(2)];
                    if !b"\r\n".starts_with(end) {
                        return Err(BodyFault::ChunkEnd);
                    }
                    if end.len() < 2 {
                        return Ok(Step::More);
                    }
                    input.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(trailers) = trailers(input)? else {
                        return Ok(Step::More);
                    };
                    self.state = State::Done;
                    return Ok(Step::End((!trailers.is_empty()).then_some(trailers)));
                }
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// The body is not whole.
    pub fn closed(&mut self) -> Result<(), BodyFault> {
        match self.state {
            State::ToClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            State::Length(_) | State::Size | State::Chunk(_) | State::ChunkEnd | State::Trailers => {
                Err(BodyFault::Incomplete)
            }
        }
    }

    /// The size of the next chunk, once its line is there.
    fn size(&mut self, input: &mut BytesMut) -> Result<Option<u64>, BodyFault> {
        let looked = input.len().min(SIZE_LINE_BYTES_MAX);
        let Some(end) = input[..looked].iter().position(|byte| *byte == b'\n') else {
            let digits = input.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let is_number = digits > 0 || input.is_empty();
            return match () {
                () if !is_number || digits > 16 => Err(BodyFault::ChunkSize),
                () if looked == SIZE_LINE_BYTES_MAX => Err(BodyFault::ChunkExtension),
                () => Ok(None),
            };
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(BodyFault::ChunkSize)?;
        if line.contains(&b'\r') {
            return Err(BodyFault::ChunkSize);
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        // Some servers pad the size (RFC 9112, section 7.1.1, takes blanks before extensions).
        let behind = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        if digits == 0 || digits > 16 || behind.is_some_and(|byte| *byte != b';') {
            return Err(BodyFault::ChunkSize);
        }
        self.extension_bytes += rest.len();
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(BodyFault::ChunkExtension);
        }
        let size = std::str::from_utf8(&line[..digits]).ok();
        let size = size.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let size = size.ok_or(BodyFault::ChunkSize)?;
        input.advance(end + 1);
        Ok(Some(size))
    }
}

/// At most `left` bytes, and what is left of them then.
fn take(input: &mut BytesMut, left: u64) -> Option<(Bytes, u64)> {
    if input.is_empty() {
        return None;
    }
    let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    Some((input.split_to(bytes).freeze(), left - bytes as u64))
}

fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, BodyFault> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let looked = &input[..input.len().min(TRAILER_BYTES_MAX)];
    let Some(end) = looked.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return if input.len() >= TRAILER_BYTES_MAX {
            Err(BodyFault::Trailers)
        } else {
            Ok(None)
        };
    };
    let lines = input.split_to(end + 4).freeze();
    let parsed = head::fields(&lines, TRAILER_COUNT_MAX).map_err(|_| BodyFault::Trailers)?;
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body's bytes, its trailers, and what is behind it.
    type Whole = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// All of a body that comes in pieces.
    fn read(framing: Framing, pieces: &[&[u8]]) -> Result<Whole, BodyFault> {
        let mut decoder = Decoder::new(framing);
        let mut input = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = pieces.iter();
        loop {
            match decoder.decode(&mut input)? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::End(trailers) => {
                    let rest = pieces.flat_map(|piece| piece.iter().copied());
                    return Ok((body, trailers, input.iter().copied().chain(rest).collect()));
                }
                Step::More => match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => {
                        decoder.closed()?;
                        return Ok((body, None, Vec::new()));
                    }
                },
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str), BodyFault>) {
        let found = read(Framing::Chunked, &[text.as_bytes()]);
        let found = found.map(|(body, _, rest)| (body, rest));
        let expected = expected.map(|(body, rest)| (body.as_bytes().to_vec(), rest.as_bytes().to_vec()));
        assert_eq!(found, expected, "{text:?}");
        // However it was cut.
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let cut = read(Framing::Chunked, &bytes).map(|(body, _, rest)| (body, rest));
        assert_eq!(cut, expected, "{text:?} byte by byte");
    }

    #[test]
    fn chunks_are_joined() {
        check("0\r\n\r\n", Ok(("", "")));
        check("3\r\nabc\r\n0\r\n\r\nGET", Ok(("abc", "GET")));
        check("A;x=y\r\n0123456789\r\n000\r\n\r\n", Ok(("0123456789", "")));
        check("1  \r\na\r\n1 ;q\r\nb\r\n0\r\n\r\n", Ok(("ab", "")));
        check("1\r\na\r\n0\r\nx: y\r\n\r\n", Ok(("a", "")));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [
            "xyz\r\n",
            "\r\n",
            "-1\r\n",
            "0x5\r\nabcde\r\n",
            "1 1\r\na",
            "3\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n",
            "10000000000000000\r\n",
            " 1\r\na\r\n0\r\n\r\n",
        ] {
            check(text, Err(BodyFault::ChunkSize));
        }
        check("1\r\nab\r\n0\r\n\r\n", Err(BodyFault::ChunkEnd));
        check("1\r\na\n0\r\n\r\n", Err(BodyFault::ChunkEnd));
        check("0\r\nno colon\r\n\r\n", Err(BodyFault::Trailers));
        check("0\r\na: b\n\nGET / HTTP/1.1\r\n\r\n", Err(BodyFault::Trailers));
        check("5\r\nabc", Err(BodyFault::Incomplete));
        check("0\r\n", Err(BodyFault::Incomplete));
        let extension = format!("1;{}\r\na\r\n", "x".repeat(SIZE_LINE_BYTES_MAX));
        check(&extension, Err(BodyFault::ChunkExtension));
        let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
        check(&many, Err(BodyFault::ChunkExtension));
    }

    #[test]
    fn other_bodies_end_as_announced() {
        let of = |framing| read(framing, &[b"abc", b"def"]).map(|(body, _, rest)| (body, rest));
        assert_eq!(of(Framing::Empty), Ok((vec![], b"abcdef".to_vec())));
        assert_eq!(of(Framing::Length(4)), Ok((b"abcd".to_vec(), b"ef".to_vec())));
        assert_eq!(of(Framing::Length(7)), Err(BodyFault::Incomplete));
        assert_eq!(of(Framing::ToClose), Ok((b"abcdef".to_vec(), vec![])));
    }

    proptest! {
        /// However a body was cut into chunks, and its bytes on their way, it is the same body.
        #[test]
        fn cuts_do_not_matter(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            chunk in 1_usize..50,
            piece in 1_usize..50,
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut wire = Vec::new();
            for chunk in body.chunks(chunk) {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            wire.extend_from_slice(&rest);
            let pieces: Vec<&[u8]> = wire.chunks(piece).collect();
            let found = read(Framing::Chunked, &pieces);
            prop_assert_eq!(found, Ok((body, None, rest)));
        }

        /// Nothing panics, and nothing is read twice.
        #[test]
        fn any_bytes_come_to_an_end(wire in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
            let pieces: Vec<&[u8]> = wire.chunks(piece).collect();
            if let Ok((body, _, rest)) = read(Framing::Chunked, &pieces) {
                prop_assert!(body.len() + rest.len() < wire.len());
            }
        }
    }
}
