//! Bytes on sockets for `attack` and `differ`: clients and upstreams that say exactly what they are told to, right or wrong.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod hpack;
pub(crate) mod rig;
pub(crate) mod upstream;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A header field as it was on the wire: the value in Latin-1, so that every byte is a character.
pub(crate) type Field = (String, String);

/// Every byte as the character of its number.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a text that [`latin1`] gave; characters above are UTF-8.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// What a lock holds, also after a panic of whoever held it: it is only ever replaced or added to.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
