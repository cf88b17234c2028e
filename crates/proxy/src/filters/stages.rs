//! Changing a body while it streams: one stage for each filter that wants to, one after the other, a little at a time.
//!
//! Nothing here waits or reads: whoever has the body pushes what came and pulls what goes on. A chunk is taken only when all that follows
//! from the one before has gone on, so that no stage keeps more than its own state.

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use super::Stage;
use crate::body::BodyError;

/// What a filter does with a body.
pub(crate) trait Transform {
    /// Takes a chunk. Comes only after [`Self::pull`] has had nothing more.
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError>;

    /// The next that goes on; nothing until more is pushed or the end comes.
    fn pull(&mut self) -> Result<Option<Bytes>, BodyError>;

    /// All has been pushed. Trailers, which follow the body, may be changed, made and taken.
    fn end(&mut self, trailers: &mut Option<HeaderMap>) -> Result<(), BodyError>;

    /// Whether what goes on is as long as what comes.
    fn keeps_length(&self) -> bool {
        false
    }
}

/// The stages of one body.
#[derive(Debug, Default)]
pub struct Stages {
    slots: SmallVec<[Slot; 1]>,
    input: Option<Bytes>,
    ended: bool,
    trailers: Option<HeaderMap>,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    ended: bool,
}

/// Every stage that there is: a variant and its type, which is a [`Transform`].
macro_rules! stage_table {
    ($($kind:ident($type:ty)),* $(,)?) => {
        /// What one filter does with a body.
        #[derive(Debug)]
        pub enum Stage {
            $(
                #[doc = stringify!($type)]
                $kind($type),
            )*
        }

        impl $crate::filters::stages::Transform for Stage {
            fn push(&mut self, chunk: bytes::Bytes) -> Result<(), $crate::body::BodyError> {
                match self {
                    $(Self::$kind(stage) => stage.push(chunk),)*
                }
            }

            fn pull(&mut self) -> Result<Option<bytes::Bytes>, $crate::body::BodyError> {
                match self {
                    $(Self::$kind(stage) => stage.pull(),)*
                }
            }

            fn end(&mut self, trailers: &mut Option<http::HeaderMap>) -> Result<(), $crate::body::BodyError> {
                match self {
                    $(Self::$kind(stage) => stage.end(trailers),)*
                }
            }

            fn keeps_length(&self) -> bool {
                match self {
                    $(Self::$kind(stage) => stage.keeps_length(),)*
                }
            }
        }
    };
}

pub(super) use stage_table;

// === impl Stages ===

impl Stages {
    /// Adds a stage behind those that there are.
    pub fn add(&mut self, stage: Stage) {
        self.slots.push(Slot { stage, ended: false });
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a chunk; comes only when [`Self::pull`] has had nothing more.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.input.is_none(),
            "a chunk is pushed when the one before has gone on"
        );
        self.input = Some(chunk).filter(|chunk| !chunk.is_empty());
    }

    /// All has been pushed; trailers come behind it.
    pub fn end(&mut self, trailers: Option<HeaderMap>) {
        self.ended = true;
        self.trailers = trailers;
    }

    /// What goes on next; with nothing, see [`Self::is_over`] for whether more must be pushed.
    pub fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.pull_from(self.slots.len())? {
                Some(chunk) if chunk.is_empty() => {}
                pulled => return Ok(pulled),
            }
        }
    }

    /// Whether all has gone on but trailers.
    pub fn is_over(&self) -> bool {
        self.is_over_at(self.slots.len())
    }

    /// Trailers that follow when all has gone on.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether the length of what goes on is that of what comes.
    pub fn keeps_length(&self) -> bool {
        self.slots.iter().all(|slot| slot.stage.keeps_length())
    }

    /// What comes out of the first `count` stages.
    fn pull_from(&mut self, count: usize) -> Result<Option<Bytes>, BodyError> {
        let Some(at) = count.checked_sub(1) else {
            return Ok(self.input.take());
        };
        loop {
            let slot = &mut self.slots[at];
            let pulled = slot.stage.pull()?;
            if pulled.is_some() || slot.ended {
                return Ok(pulled);
            }
            match self.pull_from(at)? {
                Some(chunk) => self.slots[at].stage.push(chunk)?,
                None if self.is_over_at(at) => {
                    let slot = &mut self.slots[at];
                    slot.stage.end(&mut self.trailers)?;
                    slot.ended = true;
                }
                None => return Ok(None),
            }
        }
    }

    /// Whether nothing more comes out of the first `count` stages, of which all was pulled.
    fn is_over_at(&self, count: usize) -> bool {
        match count.checked_sub(1) {
            None => self.ended && self.input.is_none(),
            Some(at) => self.slots[at].ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::grpc_web::{Decode, Encode};

    fn run(stages: &mut Stages, chunks: &[&str], trailers: Option<HeaderMap>) -> (String, Option<HeaderMap>) {
        let mut out = Vec::new();
        let drain = |stages: &mut Stages, out: &mut Vec<u8>| {
            while let Some(chunk) = stages.pull().unwrap() {
                assert!(!chunk.is_empty());
                out.extend_from_slice(&chunk);
            }
        };
        for chunk in chunks {
            stages.push(Bytes::copy_from_slice(chunk.as_bytes()));
            drain(stages, &mut out);
            assert!(!stages.is_over());
        }
        stages.end(trailers);
        drain(stages, &mut out);
        assert!(stages.is_over());
        (String::from_utf8(out).unwrap(), stages.take_trailers())
    }

    #[test]
    fn stages_work_one_behind_the_other() {
        for (stages, chunks, expected) in [
            (vec![], &["x", "", "y"][..], "xy"),
            (
                vec![Stage::GrpcWebDecode(Decode::default())],
                &["eA", "==", "eQ=="][..],
                "xy",
            ),
            (
                vec![
                    Stage::GrpcWebEncode(Encode::new(false)),
                    Stage::GrpcWebEncode(Encode::new(false)),
                ],
                &["x"][..],
                "x",
            ),
        ] {
            let mut all = Stages::default();
            stages.into_iter().for_each(|stage| all.add(stage));
            assert_eq!(run(&mut all, chunks, None), (expected.to_owned(), None), "{chunks:?}");
        }
    }

    #[test]
    fn trailers_reach_the_stage_that_wants_them() {
        let mut trailers = HeaderMap::new();
        trailers.insert("a", "b".parse().unwrap());
        let mut all = Stages::default();
        assert_eq!(
            run(&mut all, &["x"], Some(trailers.clone())),
            ("x".to_owned(), Some(trailers.clone()))
        );
        let mut all = Stages::default();
        all.add(Stage::GrpcWebDecode(Decode::default()));
        all.add(Stage::GrpcWebEncode(Encode::new(true)));
        let (text, left) = run(&mut all, &["eA=="], Some(trailers));
        // A byte of a frame that never ends, and the frame of trailers.
        assert_eq!((text.as_str(), left), ("eA==gAAAAAVhOmINCg==", None));
    }
}
