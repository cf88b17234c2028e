//! Tables of what clients say, and what is said back.

mod bounds;
mod talk;

use std::pin::Pin;
use std::rc::Rc;

use bytes::BytesMut;
use http_body::Body as _;

use self::talk::{GET, POST, SETTINGS, Talk, Told, body, receive_preface};
use super::LEAVING;
use crate::http2::frame::{self, STREAM_MAX};
use crate::http2::reason::Reason;
use crate::http2::stream::StreamFault;

#[track_caller]
fn check(talk: impl FnOnce(&mut Talk) -> &mut Talk, expected: &str) {
    let mut told = Talk::new(SETTINGS);
    let told = talk(&mut told).told();
    assert_eq!(told, expected);
}

#[test]
fn answers_say_how_they_end() {
    check(|talk| talk.get(1).answer(200, None, || body(&[])), "GET /x; 1: 200 end");
    check(
        |talk| talk.get(1).answer(200, None, || body(&[5])),
        "GET /x; 1: 200; 1: 5 bytes end",
    );
    check(
        |talk| talk.get(1).answer(200, Some("5"), || body(&[2, 3])),
        "GET /x; 1: 200,content-length=5; 1: 2 bytes; 1: 3 bytes end",
    );
    check(
        |talk| talk.get(1).answer(204, Some("5"), || body(&[5])),
        "GET /x; 1: 204 end",
    );
    check(
        |talk| talk.get(1).answer(304, Some("5"), || body(&[])),
        "GET /x; 1: 304,content-length=5 end",
    );
    let mut head = GET;
    head[0].1 = "HEAD";
    check(
        |talk| talk.head(1, &head, true).answer(200, Some("5"), || body(&[])),
        "HEAD /x; 1: 200,content-length=5 end",
    );
    // What is not what it says is no whole answer.
    for chunks in [&[4][..], &[4, 2], &[]] {
        let mut talk = Talk::new(SETTINGS);
        let told = talk.get(1).answer(200, Some("5"), || body(chunks)).told();
        assert!(told.ends_with("1: reset INTERNAL_ERROR"), "{told}");
    }
    check(
        |talk| {
            talk.get(1).answer(200, None, || Told {
                breaks: true,
                ..body(&[5])
            })
        },
        "GET /x; 1: 200; 1: 5 bytes; 1: reset INTERNAL_ERROR",
    );
    // An answer ahead of the request's end cuts it off; what crosses that on its way is passed over.
    check(
        |talk| {
            talk.head(1, &POST, false).answer(200, None, || body(&[5]));
            talk.data(1, "more", true).head(1, &[("a", "b")], true).hold()
        },
        "POST /x; 1: 200; 1: 5 bytes end; 1: reset NO_ERROR",
    );
    check(
        |talk| talk.get(1).serve(|_, stream, _| Box::pin(async { drop(stream) })),
        "GET /x; 1: reset INTERNAL_ERROR",
    );
}

#[test]
fn heads_that_are_none_cost_their_stream() {
    for fields in [
        &[("content-length", "5")][..],
        &[("content-length", "0"), ("content-length", "0")],
        &[("connection", "close")],
        &[(":path", "/y")],
        &[("A", "b")],
    ] {
        let mut talk = Talk::new(SETTINGS);
        let told = talk.head(1, &[&GET[..], fields].concat(), true).get(3).hold().told();
        assert!(
            told.starts_with("refused: ") && told.ends_with("; GET /x; 1: reset PROTOCOL_ERROR"),
            "{told}"
        );
    }
    let many = [&GET[..], &[("a", "b"); 17]].concat();
    check(
        |talk| talk.head(1, &many, true).hold(),
        "refused: a head of too many fields; 1: reset INTERNAL_ERROR",
    );
}

#[test]
fn bodies_that_are_none_cost_their_stream() {
    let row = |frames: fn(&mut Talk) -> &mut Talk, reason: &str| {
        let expected = format!("POST /x; 1: reset {reason}");
        check(
            |talk| frames(talk.head(1, &[&POST[..], &[("content-length", "5")]].concat(), false)).hold(),
            &expected,
        );
    };
    row(|talk| talk.data(1, "hell", true), "PROTOCOL_ERROR");
    row(|talk| talk.data(1, "hello!", false), "PROTOCOL_ERROR");
    row(|talk| talk.head(1, &[("a", "b")], true), "PROTOCOL_ERROR");
    row(
        |talk| talk.data(1, "hello", false).head(1, &[("a", "b")], false),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", false).head(1, &[("content-length", "5")], true),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", false).head(1, &GET, true),
        "PROTOCOL_ERROR",
    );
    row(
        |talk| talk.data(1, "hello", true).data(1, "more", true),
        "STREAM_CLOSED",
    );
    check(
        |talk| talk.head(1, &POST, false).data(1, &"x".repeat(101), false).hold(),
        "POST /x; 1: reset FLOW_CONTROL_ERROR",
    );
    check(
        |talk| talk.get(1).head(1, &GET, true).hold(),
        "GET /x; 1: reset STREAM_CLOSED",
    );
}

#[test]
fn whoever_reads_a_body_gives_its_room_back() {
    let mut talk = Talk::new(SETTINGS);
    talk.head(1, &POST, false)
        .data(1, &"x".repeat(100), false)
        .serve(|_, stream, mut body| {
            Box::pin(async move {
                let mut lengths = Vec::new();
                while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    match frame {
                        Ok(frame) => lengths.push(frame.into_data().map_or(0, |data| data.len())),
                        Err(fault) => panic!("{fault}"),
                    }
                }
                assert_eq!(lengths, [100, 50, 0]);
                drop(stream);
            })
        });
    assert_eq!(talk.told(), "POST /x; 1: +100");
    talk.data(1, &"x".repeat(50), false).head(1, &[("a", "b")], true).hold();
    // No more comes, so nobody needs room.
    assert_eq!(talk.told(), "1: reset INTERNAL_ERROR");
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let fields = [&POST[..], &[("expect", "100-continue")]].concat();
    check(
        |talk| {
            talk.head(1, &fields, false).serve(|_, stream, mut body| {
                Box::pin(async move {
                    let _ = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                    drop(stream);
                })
            })
        },
        "POST /x; 1: 100",
    );
}

#[test]
fn what_nobody_can_read_ends_the_connection() {
    let row = |frames: fn(&mut Talk) -> &mut Talk, expected: &str| check(|talk| frames(talk).hold(), expected);
    row(|talk| talk.data(1, "x", true), "goaway PROTOCOL_ERROR");
    row(|talk| talk.get(2), "goaway PROTOCOL_ERROR");
    row(|talk| talk.get(5).get(3), "GET /x; goaway STREAM_CLOSED");
    row(
        |talk| talk.say(|out| frame::reset(out, 1, Reason::CANCEL)),
        "goaway PROTOCOL_ERROR",
    );
    row(|talk| talk.say(|out| frame::window(out, 1, 1)), "goaway PROTOCOL_ERROR");
    row(
        |talk| talk.say(|out| frame::window(out, 0, STREAM_MAX)),
        "goaway FLOW_CONTROL_ERROR",
    );
    row(
        |talk| talk.say(|out| out.extend_from_slice(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x80])),
        "goaway COMPRESSION_ERROR",
    );
    // Half a head, then something else; more of a head that has not begun; of another stream.
    fn half(out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]);
    }
    row(
        |talk| talk.say(half).say(|out| frame::ping(out, [0; 8], false)),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| talk.say(half).say(|out| frame::window(out, 1, 0)),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| talk.say(|out| out.extend_from_slice(&[0, 0, 1, 9, 4, 0, 0, 0, 1, 0x82])),
        "goaway PROTOCOL_ERROR",
    );
    row(
        |talk| {
            talk.say(half)
                .say(|out| out.extend_from_slice(&[0, 0, 1, 9, 4, 0, 0, 0, 3, 0x84]))
        },
        "goaway PROTOCOL_ERROR",
    );
    let mut talk = Talk::new(SETTINGS);
    talk.wire = BytesMut::from("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.hold().told(), "goaway PROTOCOL_ERROR");
    let mut talk = Talk::new(SETTINGS);
    talk.wire = BytesMut::from(&receive_preface()[..]);
    assert_eq!(talk.get(1).hold().told(), "goaway PROTOCOL_ERROR");
}

#[test]
fn whoever_serves_learns_of_the_end() {
    let row = |frame: fn(&mut Vec<u8>), expected: StreamFault| {
        let mut talk = Talk::new(SETTINGS);
        let heard = Rc::new(std::cell::Cell::new(None));
        let hears = heard.clone();
        talk.head(1, &POST, false).serve(|_, stream, _| {
            let hears = hears.clone();
            Box::pin(async move {
                let never = std::pin::pin!(std::future::pending::<()>());
                let done = stream.while_there(never).await;
                assert_eq!(done, None);
                hears.set(stream.at().fault());
            })
        });
        talk.say(frame).hold();
        assert_eq!(heard.get(), Some(expected));
    };
    row(|out| frame::reset(out, 1, Reason::CANCEL), StreamFault::Reset);
    row(|out| frame::window(out, 1, 0), StreamFault::Malformed);
    row(
        |out| out.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 9]),
        StreamFault::Malformed,
    );
}

#[test]
fn only_so_many_streams_are_served() {
    check(
        |talk| talk.get(1).get(3).get(5).get(7).hold(),
        "GET /x; GET /x; GET /x; 7: reset REFUSED_STREAM",
    );
}

#[test]
fn a_client_is_sent_away_and_what_crosses_that_is_served() {
    let mut talk = Talk::new(SETTINGS);
    talk.get(1).hold();
    talk.connection.leave();
    assert_eq!(talk.get(3).hold().told(), "GET /x; GET /x; goaway NO_ERROR; ping");
    assert!(talk.connection.is_leaving());
    talk.say(|out| frame::ping(out, LEAVING, true)).get(5).hold();
    talk.head(7, &POST, false).data(7, "body", true).hold();
    assert_eq!(talk.told(), "goaway NO_ERROR");
    assert!(!talk.connection.is_over() && !talk.connection.is_leaving());
    talk.tasks.clear();
    assert!(talk.connection.is_over());
}

#[test]
fn floods_end_a_connection() {
    let row = |most: usize, frame: fn(&mut Vec<u8>)| {
        let mut talk = Talk::new(SETTINGS);
        talk.head(1, &POST, false).hold();
        for _ in 0..most {
            talk.say(frame);
        }
        let told = talk.hold().told();
        assert!(!told.contains("goaway"), "{most} are no flood");
        for _ in 0..most + 2 {
            talk.say(frame);
        }
        assert!(talk.hold().told().ends_with("goaway ENHANCE_YOUR_CALM"), "{most}");
    };
    row(999, |out| frame::ping(out, [0; 8], false));
    row(999, |out| frame::say_settings(out, &frame::Settings::default()));
    row(200, |out| {
        out.extend_from_slice(&[0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9])
    });
    row(7, |out| frame::window(out, 0, 1));
    row(1, |out| frame::data(out, 1, 0, false));
    row(1000, |out| frame::reset(out, 1, Reason::CANCEL));
}
