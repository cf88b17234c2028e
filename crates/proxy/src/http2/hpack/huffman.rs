//! The code of strings (RFC 7541, appendix B), for reading: nothing is written in it.

/// Bits of each byte's code. The code is canonical: shorter ones first, and of one length in the order of the bytes; last, the end.
#[rustfmt::skip]
const CODE_BITS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
/// Bits of the longest code.
const BITS_MAX: usize = 30;
/// What the symbol behind all bytes means.
const END: u16 = 256;

/// Bytes that are no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoCode;

/// The code, in the form in which it is read fastest.
struct Code {
    /// Symbol and bits of what begins with these eight bits; no bits where the code is longer.
    short: [(u8, u8); 256],
    /// By bits: the first code of so many, at the upper end of 32 bits; the symbols begin there in `symbols`.
    long: [(u32, u16); BITS_MAX + 2],
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut made = Code {
        short: [(0, 0); 256],
        long: [(u32::MAX, 0); BITS_MAX + 2],
        symbols: [0; 257],
    };
    let (mut bits, mut next, mut place) = (1, 0_u32, 0);
    while bits <= BITS_MAX {
        made.long[bits] = (next, place as u16);
        let mut symbol = 0;
        while symbol < 257 {
            if CODE_BITS[symbol] as usize == bits {
                if bits <= 8 {
                    let first = (next >> 24) as usize;
                    let mut at = first;
                    while at < first + (1 << (8 - bits)) {
                        made.short[at] = (symbol as u8, bits as u8);
                        at += 1;
                    }
                }
                made.symbols[place] = symbol as u16;
                place += 1;
                next = next.wrapping_add(1 << (32 - bits));
            }
            symbol += 1;
        }
        bits += 1;
    }
    made
}

/// Appends what bytes stand for.
///
/// # Errors
/// The end of all codes among them, or padding that is none (RFC 7541, section 5.2).
pub(super) fn decode(bytes: &[u8], mut out: impl FnMut(u8)) -> Result<(), NoCode> {
    let mut bytes = bytes.iter();
    // What is read and not used yet, from the upper end on, and how many bits that is.
    let (mut ahead, mut bits) = (0_u64, 0_u32);
    loop {
        while bits <= 56 {
            let Some(byte) = bytes.next() else { break };
            ahead |= u64::from(*byte) << (56 - bits);
            bits += 8;
        }
        let (mut symbol, mut length) = CODE.short[(ahead >> 56) as usize];
        if length == 0 {
            (symbol, length) = long((ahead >> 32) as u32)?;
        }
        let length = u32::from(length);
        if length > bits {
            break;
        }
        out(symbol);
        ahead <<= length;
        bits -= length;
    }
    // Padding is a beginning of the end: at most seven bits, all of them set.
    if bits > 7 || ahead.leading_ones() < bits {
        return Err(NoCode);
    }
    Ok(())
}

/// The symbol with which 32 bits begin, and its bits.
fn long(ahead: u32) -> Result<(u8, u8), NoCode> {
    let mut bits = 9;
    // The last code is all ones: what stands behind it is nothing.
    while bits < BITS_MAX && ahead >= CODE.long[bits + 1].0 {
        bits += 1;
    }
    let (first, place) = CODE.long[bits];
    let symbol = CODE.symbols[usize::from(place) + ((ahead - first) >> (32 - bits)) as usize];
    if symbol == END {
        return Err(NoCode);
    }
    Ok((symbol as u8, bits as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, NoCode> {
        let mut out = Vec::new();
        decode(bytes, |byte| out.push(byte))?;
        Ok(out)
    }

    /// Code and bits of a symbol, found by counting, in the order of the canonical code.
    fn code_of(symbol: usize) -> (u64, u32) {
        let mut order: Vec<usize> = (0..257).collect();
        order.sort_by_key(|symbol| (CODE_BITS[*symbol], *symbol));
        let (mut code, mut bits) = (0_u64, 0);
        for (at, next) in order.into_iter().enumerate() {
            code = (code + u64::from(at > 0)) << (u32::from(CODE_BITS[next]) - bits);
            bits = u32::from(CODE_BITS[next]);
            if next == symbol {
                return (code, bits);
            }
        }
        unreachable!("every symbol is in the order")
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let (code, length) = code_of(usize::from(*byte));
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect()
    }

    /// RFC 7541, appendix C.4.
    #[test]
    fn the_examples_are_read() {
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("", ""),
        ] {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(decoded(&bytes), Ok(text.into()), "{hex}");
            assert_eq!(encoded(text.as_bytes()), bytes, "{text}");
        }
    }

    #[test]
    fn every_byte_is_read_alone_and_among_others() {
        for byte in 0..=255 {
            assert_eq!(decoded(&encoded(&[byte])), Ok(vec![byte]), "{byte}");
            let text = [b'a', byte, byte, b'0'];
            assert_eq!(decoded(&encoded(&text)), Ok(text.to_vec()), "{byte}");
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        // Eight bits of padding, padding with a zero, the end itself, a code cut off.
        for bytes in [&[0xff][..], &[0x18], &[0xff; 4], &[0x1f, 0xff], &[0xff, 0xff]] {
            assert_eq!(decoded(bytes), Err(NoCode), "{bytes:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_is_read(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            proptest::prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }
    }
}
