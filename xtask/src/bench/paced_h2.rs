//! Just enough HTTP/2 for the latency client: one stream at a time, a fixed header block (RFC 9113, RFC 7541).

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, bail};

use super::case::{HOST, PATH, USER_AGENT};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Given to the peer for the whole connection at the start; a round never receives as much.
const CONNECTION_WINDOW: u32 = 0x7000_0000;
/// Frames larger than the default maximum are a protocol error (RFC 9113 section 4.2).
const FRAME_BYTES_MAX: usize = 16 << 10;

/// A client connection.
pub(super) struct Http2 {
    stream: TcpStream,
    header_block: Vec<u8>,
    next_id: u32,
}

// === impl Http2 ===

impl Http2 {
    /// Sends the preface; the peer's settings are answered when they come.
    pub(super) fn open(mut stream: TcpStream) -> Result<Self> {
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_HEADER_TABLE_SIZE = 0: the peer may not use the dynamic table, so that answers need no decoder.
        preface.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        preface.extend(frame(WINDOW_UPDATE, 0, 0, &CONNECTION_WINDOW.to_be_bytes()));
        stream.write_all(&preface)?;
        Ok(Self {
            stream,
            header_block: header_block(),
            next_id: 1,
        })
    }

    /// One request and its whole answer.
    pub(super) fn exchange(&mut self) -> Result<()> {
        let id = self.next_id;
        self.next_id += 2;
        self.stream
            .write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &self.header_block))?;
        loop {
            let (kind, flags, of, payload) = self.read_frame()?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
                PING if flags & ACK == 0 => self.stream.write_all(&frame(PING, ACK, 0, &payload))?,
                GOAWAY | RST_STREAM => bail!("the proxy ended the stream or connection (frame type {kind})"),
                HEADERS if of == id && !is_ok(&payload) => bail!("the answer's status is not 200"),
                HEADERS | DATA if of == id && flags & END_STREAM != 0 => return Ok(()),
                _ => {}
            }
        }
    }

    fn read_frame(&mut self) -> Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [l0, l1, l2, kind, flags, i0, i1, i2, i3] = head;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2]))?;
        if length > FRAME_BYTES_MAX {
            bail!("a frame of {length} bytes");
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes([i0, i1, i2, i3]) & 0x7fff_ffff, payload))
    }
}

/// Whether a header block starts with `:status: 200` (index 8 of the static table), maybe behind a table size update.
fn is_ok(block: &[u8]) -> bool {
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
    first == Some(&0x88)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `:method: GET` and `:scheme: http` by index, the others as literals that are never indexed, without Huffman code.
fn header_block() -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    // Names by their index in the static table: :path 4, :authority 1, user-agent 58, accept 19.
    for (index, value) in [(4_u8, PATH), (1, HOST), (58, USER_AGENT), (19, "*/*")] {
        if index < 15 {
            block.push(0x10 | index);
        } else {
            block.extend([0x1f, index - 15]);
        }
        // Every value is shorter than the 127 bytes that one length byte says.
        block.push(u8::try_from(value.len()).unwrap_or(0));
        block.extend(value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_header_blocks_have_the_wire_form() {
        assert_eq!(
            frame(PING, ACK, 3, b"12345678"),
            b"\x00\x00\x08\x06\x01\x00\x00\x00\x0312345678"
        );
        let block = header_block();
        assert_eq!(block[..4], [0x82, 0x86, 0x14, u8::try_from(PATH.len()).unwrap()]);
        assert!(is_ok(&[0x88, 0x5f]));
        assert!(is_ok(&[0x20, 0x88]));
        assert!(!is_ok(&[0x8d]));
    }
}
