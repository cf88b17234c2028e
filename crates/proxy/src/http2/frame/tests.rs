//! A table of frames and of what breaks their rules.

use proptest::prelude::*;

use super::*;

/// A frame's bytes.
fn wire(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
    let mut out = Vec::new();
    head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    BytesMut::from(&out[..])
}

#[track_caller]
fn check(kind: u8, flags: u8, stream: u32, payload: &[u8], expected: Result<Frame, Fault>) {
    let whole = wire(kind, flags, stream, payload);
    for cut in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..cut]);
        assert_eq!((Frame::take(&mut part), part.len()), (Ok(None), cut), "cut at {cut}");
    }
    let mut more = whole;
    more.extend_from_slice(b"next");
    assert_eq!((Frame::take(&mut more), &more[..]), (expected.map(Some), &b"next"[..]));
}

fn of_connection(reason: Reason) -> Result<Frame, Fault> {
    Err(Fault::Connection(reason))
}

fn of_stream(stream: u32, reason: Reason) -> Result<Frame, Fault> {
    Err(Fault::Stream(stream, reason))
}

const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;
const SIZE: Reason = Reason::FRAME_SIZE_ERROR;

#[test]
fn messages_are_read() {
    let data = |data: &'static [u8], charged, ends| Frame::Data {
        stream: 1,
        data: Bytes::from_static(data),
        charged,
        ends,
    };
    check(DATA, 0, 1, b"hello", Ok(data(b"hello", 5, false)));
    check(DATA, END_STREAM, 1, b"", Ok(data(b"", 0, true)));
    check(DATA, PADDED, 1, b"\x02hello\0\0", Ok(data(b"hello", 8, false)));
    check(DATA, PADDED, 1, b"\x05hello", Ok(data(b"", 6, false)));
    check(DATA, PADDED, 1, b"\x06hello", of_connection(PROTOCOL));
    check(DATA, PADDED, 1, b"", of_connection(SIZE));
    check(DATA, 0, 0, b"hello", of_connection(PROTOCOL));
    let head = |block: &'static [u8], ends, is_whole| Frame::Headers {
        stream: 3,
        block: Bytes::from_static(block),
        ends,
        is_whole,
    };
    check(HEADERS, END_HEADERS, 3, b"\x82", Ok(head(b"\x82", false, true)));
    check(
        HEADERS,
        END_STREAM | PADDED | WITH_PRIORITY,
        3,
        b"\x01\0\0\0\x01\x10\x82\0",
        Ok(head(b"\x82", true, false)),
    );
    check(HEADERS, WITH_PRIORITY, 3, b"\0\0\0\x03\0", of_connection(PROTOCOL));
    check(HEADERS, WITH_PRIORITY, 3, b"\0\0\0\x01", of_connection(SIZE));
    check(HEADERS, 0, 0, b"\x82", of_connection(PROTOCOL));
    let more = |is_whole| Frame::Continuation {
        stream: 3,
        block: Bytes::from_static(b"\x84"),
        is_whole,
    };
    check(CONTINUATION, END_HEADERS, 3, b"\x84", Ok(more(true)));
    check(CONTINUATION, 0, 3, b"\x84", Ok(more(false)));
    check(CONTINUATION, 0, 0, b"\x84", of_connection(PROTOCOL));
}

#[test]
fn control_frames_are_read() {
    check(PRIORITY, 0, 3, &[0, 0, 0, 1, 0], Ok(Frame::Priority));
    check(PRIORITY, 0, 3, &[0, 0, 0, 3, 0], of_stream(3, PROTOCOL));
    check(PRIORITY, 0, 3, &[0; 4], of_stream(3, SIZE));
    check(PRIORITY, 0, 0, &[0; 5], of_connection(PROTOCOL));
    check(
        RST_STREAM,
        0,
        3,
        &[0, 0, 0, 8],
        Ok(Frame::Reset {
            stream: 3,
            reason: Reason::CANCEL,
        }),
    );
    check(RST_STREAM, 0, 3, &[0; 3], of_connection(SIZE));
    check(RST_STREAM, 0, 0, &[0; 4], of_connection(PROTOCOL));
    check(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2], of_connection(PROTOCOL));
    check(PING, 0, 0, b"opaque 8", Ok(Frame::Ping(*b"opaque 8")));
    check(PING, ACK, 0, b"opaque 8", Ok(Frame::Pong(*b"opaque 8")));
    check(PING, 0, 0, &[0; 7], of_connection(SIZE));
    check(PING, 0, 1, &[0; 8], of_connection(PROTOCOL));
    check(
        GOAWAY,
        0,
        0,
        &[0, 0, 0, 1, 0, 0, 0, 11, b'x'],
        Ok(Frame::GoAway(Reason::ENHANCE_YOUR_CALM)),
    );
    check(GOAWAY, 0, 0, &[0; 7], of_connection(SIZE));
    check(GOAWAY, 0, 1, &[0; 8], of_connection(PROTOCOL));
    check(
        WINDOW_UPDATE,
        0,
        0,
        &[0x80, 0, 0, 1],
        Ok(Frame::Window {
            stream: 0,
            increment: 1,
        }),
    );
    check(WINDOW_UPDATE, 0, 0, &[0; 4], of_connection(PROTOCOL));
    check(WINDOW_UPDATE, 0, 1, &[0x80, 0, 0, 0], of_stream(1, PROTOCOL));
    check(WINDOW_UPDATE, 0, 1, &[0; 5], of_connection(SIZE));
    check(0xfe, 0xff, 7, b"whatever", Ok(Frame::Unknown));
}

#[test]
fn settings_are_read() {
    let said = Settings {
        table_bytes: Some(100),
        window_bytes: Some(STREAM_MAX),
        payload_bytes_max: Some(1 << 14),
        streams_max: Some(0),
        extended_connect: Some(true),
    };
    let mut out = Vec::new();
    say_settings(&mut out, &said);
    check(SETTINGS, 0, 0, &out[HEAD_BYTES..], Ok(Frame::Settings(said)));
    check(
        SETTINGS,
        0,
        0,
        &[0, 99, 1, 1, 1, 1],
        Ok(Frame::Settings(Settings::default())),
    );
    check(SETTINGS, ACK, 0, &[], Ok(Frame::SettingsAck));
    check(SETTINGS, ACK, 0, &[0; 6], of_connection(SIZE));
    check(SETTINGS, 0, 0, &[0; 5], of_connection(SIZE));
    check(SETTINGS, 0, 1, &[], of_connection(PROTOCOL));
    for (name, value, reason) in [
        (2, 2, PROTOCOL),
        (4, STREAM_MAX + 1, Reason::FLOW_CONTROL_ERROR),
        (5, (1 << 14) - 1, PROTOCOL),
        (5, 1 << 24, PROTOCOL),
        (8, 2, PROTOCOL),
    ] {
        let payload = [&[0, name][..], &value.to_be_bytes()].concat();
        check(SETTINGS, 0, 0, &payload, of_connection(reason));
    }
}

#[test]
fn a_frame_has_an_upper_bound() {
    let mut long = BytesMut::from(&wire(DATA, 0, 1, &[0; PAYLOAD_BYTES_MAX + 1])[..HEAD_BYTES]);
    assert_eq!(Frame::take(&mut long), Err(Fault::Connection(SIZE)));
}

/// All frames of some bytes.
fn all(out: &[u8]) -> Vec<Frame> {
    let mut input = BytesMut::from(out);
    let frames = std::iter::from_fn(|| Frame::take(&mut input).unwrap()).collect();
    assert!(input.is_empty());
    frames
}

#[test]
fn what_is_written_is_read() {
    let mut out = Vec::new();
    data(&mut out, 1, 0, true);
    reset(&mut out, 3, Reason::CANCEL);
    settings_ack(&mut out);
    ping(&mut out, [7; 8], false);
    ping(&mut out, [7; 8], true);
    go_away(&mut out, 5, Reason::NO_ERROR);
    window(&mut out, 7, 9);
    let expected = [
        Frame::Data {
            stream: 1,
            data: Bytes::new(),
            charged: 0,
            ends: true,
        },
        Frame::Reset {
            stream: 3,
            reason: Reason::CANCEL,
        },
        Frame::SettingsAck,
        Frame::Ping([7; 8]),
        Frame::Pong([7; 8]),
        Frame::GoAway(Reason::NO_ERROR),
        Frame::Window {
            stream: 7,
            increment: 9,
        },
    ];
    assert_eq!(all(&out), expected);
}

#[test]
fn a_long_head_is_several_frames() {
    for (length, frames) in [(0, 1), (9, 1), (10, 1), (11, 2), (30, 3), (31, 4)] {
        let block: Vec<u8> = (0..length).collect();
        let mut out = b"before".to_vec();
        let at = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        out.extend_from_slice(&block);
        headers(&mut out, at, 1, true, 10);
        let read = all(&out[at..]);
        let mut joined = Vec::new();
        for (number, frame) in read.iter().enumerate() {
            let (block, is_whole) = if let Frame::Headers {
                block, ends, is_whole, ..
            } = frame
                && number == 0
            {
                assert!(*ends);
                (block, is_whole)
            } else if let Frame::Continuation { block, is_whole, .. } = frame {
                (block, is_whole)
            } else {
                panic!("{frame:?}");
            };
            joined.extend_from_slice(block);
            assert_eq!(*is_whole, number + 1 == frames);
        }
        assert_eq!((read.len(), joined), (frames, block));
    }
}

proptest! {
    /// Nothing panics, and every call takes something, asks for more, or ends it.
    #[test]
    fn any_bytes_come_to_an_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if bytes.len() > 2 {
            bytes[..2].fill(0);
        }
        let mut input = BytesMut::from(&bytes[..]);
        loop {
            let before = input.len();
            match Frame::take(&mut input) {
                Ok(None) | Err(Fault::Connection(_)) => break,
                Ok(Some(_)) | Err(Fault::Stream(..)) => prop_assert!(input.len() < before),
            }
        }
    }
}
