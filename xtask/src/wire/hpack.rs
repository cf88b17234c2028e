//! HPACK (RFC 7541): whole decoding, and encoding without tables, so that what is sent is what was written.

use super::{Field, bytes_of, latin1};

/// Names and values of appendix A, from index 1.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
    ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// Bits of each byte's code (appendix B). The code is canonical: shorter ones first, and of one length in the order of the bytes.
#[rustfmt::skip]
const CODE_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Bytes of a dynamic table that nobody has said anything else of (RFC 7540 section 6.5.2).
const TABLE_BYTES: usize = 4096;

/// The decoding end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The newest entry first.
    dynamic: Vec<Field>,
}

// === impl Decoder ===

impl Decoder {
    /// The fields of a whole block, or what is wrong with it.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>, &'static str> {
        let mut fields = Vec::new();
        let mut rest = block;
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                integer(&mut rest, 5)?;
            } else {
                let bits = if first & 0x40 != 0 { 6 } else { 4 };
                let index = integer(&mut rest, bits)?;
                let name = if index == 0 {
                    text(&mut rest)?
                } else {
                    self.entry(index)?.0
                };
                let field = (name, text(&mut rest)?);
                if bits == 6 {
                    self.add(field.clone());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<Field, &'static str> {
        let index = index.checked_sub(1).ok_or("index 0")?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let entry = self.dynamic.get(index - STATIC.len());
        entry.cloned().ok_or("an index that is not in the table")
    }

    fn add(&mut self, field: Field) {
        self.dynamic.insert(0, field);
        let size = |(name, value): &Field| name.len() + value.len() + 32;
        while self.dynamic.iter().map(size).sum::<usize>() > TABLE_BYTES {
            self.dynamic.pop();
        }
    }
}

fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, &'static str> {
    let mut next = || {
        let (first, behind) = rest.split_first().ok_or("ends within a number")?;
        *rest = behind;
        Ok::<usize, &'static str>(usize::from(*first))
    };
    let mask = (1 << bits) - 1;
    let mut value = next()? & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number too large")
}

fn text(rest: &mut &[u8]) -> Result<String, &'static str> {
    let huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or("ends within a text")?;
    *rest = behind;
    Ok(if huffman { unpacked(bytes)? } else { latin1(bytes) })
}

/// Bit by bit, by the numbers of codes of each length: slow, and enough for a few fields.
fn unpacked(bytes: &[u8]) -> Result<String, &'static str> {
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|byte| CODE_BITS[usize::from(*byte)]);
    let of_length = |bits: u8| CODE_BITS.iter().filter(|length| **length == bits).count();
    let counts: Vec<usize> = (0..=30).map(of_length).collect();
    let mut text = String::new();
    let (mut code, mut first, mut before, mut bits) = (0_usize, 0_usize, 0_usize, 0_usize);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |place| (byte >> place) & 1))
    {
        code = code << 1 | usize::from(bit);
        bits += 1;
        first <<= 1;
        let count = counts.get(bits).copied().ok_or("no code")?;
        if code < first + count {
            text.push(char::from(order[before + code - first]));
            (code, first, before, bits) = (0, 0, 0, 0);
        } else {
            first += count;
            before += count;
        }
    }
    // What is left is padding.
    Ok(text)
}

/// A block in which every field is written out, as it is: nothing is checked, nothing is remembered.
pub(crate) fn encode<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [bytes_of(name), bytes_of(value)] {
            number(&mut block, part.len());
            block.extend_from_slice(&part);
        }
    }
    block
}

/// A number with seven bits in its first byte.
fn number(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(0x7f) else {
        block.push(value as u8);
        return;
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(decoder: &mut Decoder, hex: &str, fields: &[(&str, &str)]) {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let fields: Vec<Field> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(decoder.decode(&bytes), Ok(fields), "{hex}");
    }

    /// RFC 7541 appendix C.4: three requests of one connection, in Huffman code.
    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        let decoder = &mut Decoder::default();
        let head = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ];
        check(decoder, "828684418cf1e3c2e5f23a6ba0ab90f4ff", &head);
        let mut second = head.to_vec();
        second.push(("cache-control", "no-cache"));
        check(decoder, "828684be5886a8eb10649cbf", &second);
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        check(decoder, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", &third);
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let long = "x".repeat(300);
        let fields = [(":path", "/a b"), ("Odd Name", "\u{ff}\r\n"), ("long", &long)];
        let back = Decoder::default().decode(&encode(fields)).unwrap();
        let fields: Vec<Field> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(back, fields);
        assert!(Decoder::default().decode(&[0xff, 0xff]).is_err());
    }
}
