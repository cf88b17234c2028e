//! What holds whatever a client says: windows are kept, and nothing grows beyond its bounds.

use std::collections::BTreeMap;

use http::Response;
use http::header::HeaderValue;
use proptest::prelude::*;

use super::talk::{GET, SETTINGS, Talk, body, head};
use crate::http2::connection::{REMEMBERED_MAX, Settings};
use crate::http2::floods::Floods;
use crate::http2::frame::{self, Frame, PAYLOAD_BYTES_MAX};

/// What of a body may be sent of each stream, as a peer counts it.
#[derive(Debug, Default)]
struct Counts {
    windows: BTreeMap<u32, i64>,
    connection: i64,
    got: BTreeMap<u32, usize>,
    ended: usize,
}

impl Counts {
    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            if let Frame::Data {
                stream, charged, ends, ..
            } = frame
            {
                self.connection -= i64::from(charged);
                *self.windows.get_mut(&stream).unwrap() -= i64::from(charged);
                assert!(self.connection >= 0 && self.windows[&stream] >= 0, "more than fits");
                *self.got.entry(stream).or_default() += charged as usize;
                self.ended += usize::from(ends);
            }
        }
    }
}

/// Who takes nothing of what it is told is not told more and more.
#[test]
fn what_waits_for_a_client_has_a_bound() {
    let mut talk = Talk::new(SETTINGS);
    let mut id = 1;
    while !talk.connection.is_over() {
        // Each request is let go of, and its stream is reset.
        talk.get(id).serve(|_, _, _| Box::pin(async {}));
        id += 2;
        let (waiting, _) = talk.connection.written();
        assert!(waiting < (1 << 20) + 1000, "{waiting} bytes wait");
    }
}

proptest! {
    /// Whatever windows a client gives, in whatever order, it gets all of every body, and never more than it has room for.
    #[test]
    fn bodies_come_as_windows_let_them(
        bodies in proptest::collection::vec(proptest::collection::vec(0_usize..40_000, 0..5), 1..6),
        initial in 0_u32..50_000,
        steps in proptest::collection::vec((0_usize..8, 1_u32..60_000), 0..60),
    ) {
        let settings = Settings { streams_max: 10, ..SETTINGS };
        let mut talk = Talk::new(settings);
        let mut counts = Counts { connection: 65_535, ..Counts::default() };
        talk.say(|out| frame::say_settings(out, &frame::Settings { window_bytes: Some(initial), ..frame::Settings::default() }));
        let mut left = bodies.clone().into_iter();
        for at in 0..bodies.len() as u32 {
            counts.windows.insert(at * 2 + 1, i64::from(initial));
            talk.get(at * 2 + 1);
        }
        talk.serve(|_, stream, _| {
            let body = body(&left.next().unwrap());
            Box::pin(async move {
                let (head, body) = Response::new(body).into_parts();
                stream.answer(head, body, &HeaderValue::from_static("now")).await;
            })
        });
        counts.take(talk.heard());
        let grant = |talk: &mut Talk, counts: &mut Counts, id: u32, bytes: u32| {
            // No flood: the client takes what it was sent meanwhile.
            talk.connection.0.borrow_mut().floods = Floods::new(talk.now);
            talk.say(|out| frame::window(out, id, bytes)).hold();
            match id {
                0 => counts.connection += i64::from(bytes),
                id => *counts.windows.get_mut(&id).unwrap() += i64::from(bytes),
            }
            let waiting = talk.connection.written().0;
            assert!(waiting < (64 << 10) + PAYLOAD_BYTES_MAX + 1000, "{waiting} bytes wait");
            counts.take(talk.heard());
            talk.run();
            counts.take(talk.heard());
        };
        for (stream, bytes) in steps {
            let id = if stream == 0 { 0 } else { (stream as u32 - 1) * 2 + 1 };
            if id == 0 || counts.windows.contains_key(&id) {
                grant(&mut talk, &mut counts, id, bytes);
            }
        }
        let ids: Vec<u32> = counts.windows.keys().copied().collect();
        for id in ids.into_iter().chain([0]) {
            grant(&mut talk, &mut counts, id, 400_000);
        }
        for _ in 0..100 {
            talk.run();
            counts.take(talk.heard());
        }
        prop_assert_eq!(counts.ended, bodies.iter().filter(|body| !body.is_empty()).count());
        for (at, body) in bodies.iter().enumerate() {
            let got = counts.got.get(&(at as u32 * 2 + 1)).copied().unwrap_or_default();
            prop_assert_eq!(got, body.iter().sum::<usize>());
        }
        prop_assert!(talk.tasks.is_empty() && talk.connection.is_idle());
    }

    /// Whatever frames come: nothing panics, and nothing grows beyond its bounds.
    #[test]
    fn any_frames_stay_within_bounds(
        frames in proptest::collection::vec((0_u8..11, any::<u8>(), 0_u32..8, proptest::collection::vec(any::<u8>(), 0..30)), 0..80),
        piece in 1_usize..60,
    ) {
        let mut talk = Talk::new(SETTINGS);
        for (kind, flags, stream, payload) in frames {
            talk.say(|out| match kind {
                10 => head(out, stream, &GET, flags & 1 != 0),
                kind => {
                    out.extend_from_slice(&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream as u8]);
                    out.extend_from_slice(&payload);
                }
            });
        }
        let all = talk.wire.split();
        for piece in all.chunks(piece) {
            talk.wire.extend_from_slice(piece);
            talk.hold();
            let state = talk.connection.0.borrow();
            prop_assert!(state.streams.len() <= 3 && state.resets.len() <= REMEMBERED_MAX);
            prop_assert!(state.output.waiting() < 20_000);
        }
    }
}
