//! The id of a stream, for `%STREAM_ID%`.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::operators::{Headers, safe};
use super::{StreamInfo, header_names};

/// The request's id, or what stands for a stream without one: as no other's, in this process or another.
pub(super) fn write(info: &StreamInfo, headers: Headers<'_>, out: &mut String) -> bool {
    let kept = info.request.as_ref().map(|request| &request.headers);
    let id = match headers {
        Headers::Live { request, .. } => request.headers.get(header_names::REQUEST_ID),
        Headers::Kept => {
            kept.and_then(|kept| Some(&kept.iter().find(|(name, _)| *name == header_names::REQUEST_ID)?.1))
        }
    };
    if let Some(id) = id {
        return safe(out, id.as_bytes());
    }
    static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let of = |part: u8| PROCESS.hash_one((part, info.connection.id, info.start_time));
    let (high, low) = (of(0), of(1));
    let written = write!(
        out,
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    );
    written.is_ok()
}
