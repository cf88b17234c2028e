//! Header blocks (RFC 7541): fields out of bytes, and bytes out of fields.

mod huffman;
mod table;

pub mod decode;
pub mod encode;

/// Bytes of a dynamic table of which nobody has said anything else (RFC 9113, section 6.5.2).
pub const TABLE_BYTES: usize = 4096;
/// What an entry costs beside its bytes (RFC 7541, section 4.1).
const ENTRY_BYTES: usize = 32;

#[cfg(test)]
mod tests;
