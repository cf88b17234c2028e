//! Fields out of header blocks. A field that HTTP does not have is told as such: it breaks its message, not the connection.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};

use super::TABLE_BYTES;
use super::huffman;
use super::table::Table;

/// Room for strings that were written in the code, of several heads.
const SCRATCH_BYTES: usize = 4 << 10;
/// Largest number that is read: none is needed that is larger.
const NUMBER_MAX: usize = 1 << 28;

/// One field of a block.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: Name,
    pub value: Value,
}

/// Whose value it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Pseudo(Pseudo),
    /// In lower case.
    Field(HeaderName),
    /// No name of a field: upper case, no token, an unknown pseudo-header.
    Malformed,
}

/// The control data of a message (RFC 9113, section 8.3; RFC 8441).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    Authority,
    Method,
    Path,
    Protocol,
    Scheme,
    Status,
}

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Header(HeaderValue),
    /// Of a pseudo-header, as it came.
    Raw(Bytes),
    /// With control characters.
    Malformed,
}

/// A block that cannot be read, and so none behind it (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block that cannot be read")]
pub struct BlockError;

/// The decoding end of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    scratch: BytesMut,
}

// === impl Decoder ===

impl Decoder {
    /// Reads every field of a block; `each` gets it with the bytes of its name and value.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn decode(&mut self, mut block: Bytes, mut each: impl FnMut(Field, usize)) -> Result<(), BlockError> {
        let mut may_resize = true;
        while let Some(first) = block.first().copied() {
            if first & 0xe0 == 0x20 {
                let bytes = integer(&mut block, 5)?;
                if !may_resize || bytes > TABLE_BYTES {
                    return Err(BlockError);
                }
                self.table.resize(bytes);
                continue;
            }
            may_resize = false;
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                let field = self.table.get(index).ok_or(BlockError)?;
                each(field.clone(), field.bytes());
                continue;
            }
            let (field, bytes) = self.literal(&mut block, first & 0x40 != 0)?;
            each(field, bytes);
        }
        Ok(())
    }

    /// A field that is written out, and its bytes; one that is to be remembered is.
    fn literal(&mut self, block: &mut Bytes, is_kept: bool) -> Result<(Field, usize), BlockError> {
        let index = integer(block, if is_kept { 6 } else { 4 })?;
        let (name, name_bytes) = if index == 0 {
            let text = self.string(block)?;
            (Name::read(&text), text.len())
        } else {
            let name = &self.table.get(index).ok_or(BlockError)?.name;
            (name.clone(), name.bytes())
        };
        let value = self.string(block)?;
        let bytes = name_bytes + value.len();
        if !is_kept {
            let value = Value::read(&name, value);
            return Ok((Field { name, value }, bytes));
        }
        // What is remembered has its own bytes, and holds none of the block it came in.
        let value = Value::read(&name, Bytes::copy_from_slice(&value));
        let field = Field { name, value };
        self.table.add(field.clone(), bytes);
        Ok((field, bytes))
    }

    fn string(&mut self, block: &mut Bytes) -> Result<Bytes, BlockError> {
        let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
        let length = integer(block, 7)?;
        if length > block.len() {
            return Err(BlockError);
        }
        if !is_coded {
            return Ok(block.split_to(length));
        }
        // The shortest code has five bits.
        let room = length * 8 / 5;
        if self.scratch.capacity() < room {
            self.scratch.reserve(room.max(SCRATCH_BYTES));
        }
        let scratch = &mut self.scratch;
        let read = huffman::decode(&block[..length], |byte| scratch.extend_from_slice(&[byte]));
        let text = scratch.split().freeze();
        read.map_err(|_| BlockError)?;
        block.advance(length);
        Ok(text)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            scratch: BytesMut::new(),
        }
    }
}

/// A number of which the first byte has so many bits (RFC 7541, section 5.1).
fn integer(block: &mut Bytes, bits: u32) -> Result<usize, BlockError> {
    let mask = (1 << bits) - 1;
    let first = usize::from(*block.first().ok_or(BlockError)?) & mask;
    if first < mask {
        block.advance(1);
        return Ok(first);
    }
    let mut value = first;
    for (at, byte) in block.iter().enumerate().skip(1).take(5) {
        value += usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            block.advance(at + 1);
            return if value <= NUMBER_MAX {
                Ok(value)
            } else {
                Err(BlockError)
            };
        }
    }
    Err(BlockError)
}

// === impl Field ===

impl Field {
    /// A field that is written out.
    #[cfg(test)]
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        let name = Name::read(name);
        let value = Value::read(&name, Bytes::copy_from_slice(value));
        Self { name, value }
    }

    /// Bytes of name and value; those of what is malformed are not known any more.
    fn bytes(&self) -> usize {
        let value = match &self.value {
            Value::Header(value) => value.len(),
            Value::Raw(value) => value.len(),
            Value::Malformed => 0,
        };
        self.name.bytes() + value
    }
}

// === impl Name ===

impl Name {
    fn read(text: &[u8]) -> Self {
        if text.first() != Some(&b':') {
            return HeaderName::from_lowercase(text).map_or(Self::Malformed, Self::Field);
        }
        Self::Pseudo(match text {
            b":authority" => Pseudo::Authority,
            b":method" => Pseudo::Method,
            b":path" => Pseudo::Path,
            b":protocol" => Pseudo::Protocol,
            b":scheme" => Pseudo::Scheme,
            b":status" => Pseudo::Status,
            _ => return Self::Malformed,
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Field(name) => name.as_str().len(),
            Self::Pseudo(pseudo) => pseudo.bytes(),
            Self::Malformed => 0,
        }
    }
}

// === impl Pseudo ===

impl Pseudo {
    const fn bytes(self) -> usize {
        match self {
            Self::Path => 5,
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Protocol => 9,
            Self::Authority => 10,
        }
    }
}

// === impl Value ===

impl Value {
    fn read(name: &Name, value: Bytes) -> Self {
        match name {
            Name::Pseudo(_) => Self::Raw(value),
            Name::Field(_) => HeaderValue::from_maybe_shared(value).map_or(Self::Malformed, Self::Header),
            Name::Malformed => Self::Malformed,
        }
    }
}
