//! Bodies of gRPC-Web and of gRPC (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>): base64 where the content type says
//! text, and trailers as a last frame of the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

use crate::body::BodyError;
use crate::filters::stages::Transform;

/// Bytes before each message: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// Flag of the frame of trailers.
const TRAILERS_FLAG: u8 = 0x80;

/// Text that a browser sent as it should be: padded base64, perhaps in several parts.
#[derive(Debug, Default)]
pub struct Decode {
    /// Fewer than four letters.
    left: BytesMut,
    ready: Option<Bytes>,
}

/// An answer as a browser gets it.
#[derive(Debug)]
pub struct Encode {
    /// In base64, each frame by itself.
    text: bool,
    frame: Frame,
    /// Fewer than three bytes of a frame.
    left: BytesMut,
    ready: BytesMut,
}

/// Where in a frame a body is.
#[derive(Debug, Default)]
struct Frame {
    prefix: usize,
    length: u32,
    /// Bytes of the message that still come.
    left: usize,
}

// === impl Decode ===

impl Transform for Decode {
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        self.left.extend_from_slice(&chunk);
        let whole = self.left.len() / 4 * 4;
        if whole == 0 {
            return Ok(());
        }
        let mut out = BytesMut::with_capacity(whole / 4 * 3);
        // Padding may stand behind every part.
        for group in self.left.split_to(whole).chunks(4) {
            let mut bytes = [0; 3];
            let written = STANDARD.decode_slice(group, &mut bytes).map_err(|_| wrong())?;
            out.extend_from_slice(&bytes[..written]);
        }
        self.ready = Some(out.freeze());
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.ready.take())
    }

    fn end(&mut self, _trailers: &mut Option<HeaderMap>) -> Result<(), BodyError> {
        if self.left.is_empty() { Ok(()) } else { Err(wrong()) }
    }
}

fn wrong() -> BodyError {
    BodyError::Filter("Bad gRPC-web request, invalid base64 data.")
}

// === impl Encode ===

impl Encode {
    /// The answer in base64, or as it is.
    pub(crate) fn new(text: bool) -> Self {
        Self {
            text,
            frame: Frame::default(),
            left: BytesMut::new(),
            ready: BytesMut::new(),
        }
    }

    /// Bytes of one frame, of which these are the last or not.
    fn put(&mut self, bytes: &[u8], is_last: bool) {
        self.left.extend_from_slice(bytes);
        let whole = if is_last {
            self.left.len()
        } else {
            self.left.len() / 3 * 3
        };
        let part = self.left.split_to(whole);
        self.ready.extend_from_slice(STANDARD.encode(&part).as_bytes());
    }
}

impl Transform for Encode {
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        if !self.text {
            self.ready = BytesMut::from(chunk);
            return Ok(());
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (taken, is_last) = self.frame.take(rest);
            self.put(&rest[..taken], is_last);
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        let ready = self.ready.split().freeze();
        Ok((!ready.is_empty()).then_some(ready))
    }

    fn end(&mut self, trailers: &mut Option<HeaderMap>) -> Result<(), BodyError> {
        if !self.left.is_empty() {
            self.put(&[], true);
        }
        let Some(trailers) = trailers.take() else {
            return Ok(());
        };
        let mut lines = BytesMut::new();
        for (name, value) in &trailers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b":");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        let mut frame = BytesMut::with_capacity(PREFIX_BYTES + lines.len());
        frame.put_u8(TRAILERS_FLAG);
        frame.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        frame.extend_from_slice(&lines);
        if self.text {
            self.put(&frame, true);
        } else {
            self.ready.extend_from_slice(&frame);
        }
        Ok(())
    }
}

// === impl Frame ===

impl Frame {
    /// How many of these bytes, at least one, belong together, and whether a frame ends with them.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.left > 0 {
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            return (taken, self.left == 0);
        }
        // The flag comes first, then the length, most significant byte first.
        if self.prefix > 0 {
            self.length = (self.length << 8) | u32::from(bytes[0]);
        }
        self.prefix += 1;
        if self.prefix < PREFIX_BYTES {
            return (1, false);
        }
        self.left = self.length as usize;
        (self.prefix, self.length) = (0, 0);
        (1, self.left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(stage: &mut impl Transform, body: &[u8], size: usize, mut trailers: Option<HeaderMap>) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            stage.push(Bytes::copy_from_slice(chunk)).unwrap();
            while let Some(chunk) = stage.pull().unwrap() {
                out.extend_from_slice(&chunk);
            }
        }
        stage.end(&mut trailers).unwrap();
        assert_eq!(trailers, None);
        while let Some(chunk) = stage.pull().unwrap() {
            out.extend_from_slice(&chunk);
        }
        out
    }

    #[test]
    fn frames_are_encoded_one_by_one_however_they_are_cut() {
        let body = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x04abcd";
        let expected = [&body[..7], &body[7..12], &body[12..]].map(|frame| STANDARD.encode(frame));
        for size in [1, 2, 3, 5, body.len()] {
            let text = through(&mut Encode::new(true), body, size, None);
            assert_eq!(
                String::from_utf8(text).unwrap(),
                expected.concat(),
                "in chunks of {size}"
            );
            let back = through(&mut Decode::default(), expected.concat().as_bytes(), size, None);
            assert_eq!(back, body, "in chunks of {size}");
        }
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = through(&mut Encode::new(false), b"x", 1, Some(trailers));
        assert_eq!(body, b"x\x80\0\0\0\x0fgrpc-status:0\r\n");
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["AAA", "A*AA", "AAAAA"] {
            let mut stage = Decode::default();
            let pushed = stage.push(Bytes::from(text));
            assert!(pushed.is_err() || stage.end(&mut None).is_err(), "{text}");
        }
    }
}
