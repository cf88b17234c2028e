//! Chunks of a body that is kept. Clients choose how they cut it, and may send chunks of one byte or of none: small ones are joined,
//! so that what is kept stays in proportion to its bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Neighbours that are together no longer than this become one.
const JOINED_BYTES: usize = 4 << 10;

/// Adds a chunk behind those that are kept.
pub(crate) fn keep(kept: &mut VecDeque<Bytes>, chunk: &Bytes) {
    if chunk.is_empty() {
        return;
    }
    match kept.back_mut() {
        Some(last) if last.len() + chunk.len() <= JOINED_BYTES => {
            let before = std::mem::take(last).try_into_mut();
            let mut joined = before.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            joined.extend_from_slice(chunk);
            *last = joined.freeze();
        }
        Some(_) | None => kept.push_back(chunk.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_chunks_are_few() {
        let body: Vec<u8> = (0..20_000_u32).map(|i| i as u8).collect();
        for (size, kept_max) in [(1, 6), (3, 6), (4095, 10), (4097, 5), (20_000, 1)] {
            let mut kept = VecDeque::new();
            for chunk in body.chunks(size) {
                keep(&mut kept, &Bytes::copy_from_slice(chunk));
                keep(&mut kept, &Bytes::new());
            }
            assert!(kept.len() <= kept_max, "{} of {size}", kept.len());
            let all: Vec<u8> = kept.iter().flatten().copied().collect();
            assert_eq!(all, body, "{size}");
        }
    }

    #[test]
    fn chunks_that_somebody_holds_stay_as_they_are() {
        let mut kept = VecDeque::new();
        keep(&mut kept, &Bytes::from_static(b"a"));
        let held = kept[0].clone();
        keep(&mut kept, &Bytes::from_static(b"b"));
        assert_eq!((&held[..], &kept[0][..]), (&b"a"[..], &b"ab"[..]));
    }
}
