//! Counting gRPC messages as they pass (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a message is a flag, its
//! length in four bytes, and as many bytes).

/// Bytes before each message.
const PREFIX_BYTES: u8 = 5;

/// Counts the messages of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageCounter {
    /// Messages that have begun: whose prefix has passed.
    pub messages: u64,
    prefix: u8,
    length: u32,
    left: u32,
}

// === impl MessageCounter ===

impl MessageCounter {
    /// Follows some bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left as usize);
                self.left -= skipped as u32;
                bytes = &bytes[skipped..];
                continue;
            }
            // The first byte of the prefix is the flag; the length follows, most significant byte first.
            if self.prefix > 0 {
                self.length = (self.length << 8) | u32::from(bytes[0]);
            }
            self.prefix += 1;
            bytes = &bytes[1..];
            if self.prefix == PREFIX_BYTES {
                self.messages += 1;
                self.left = self.length;
                (self.prefix, self.length) = (0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut stream = Vec::new();
        for length in [0_u32, 3, 300, 70_000] {
            stream.push(u8::from(length == 3));
            stream.extend(length.to_be_bytes());
            stream.extend(std::iter::repeat_n(0xff, length as usize));
        }
        for size in [1, 2, 3, 5, 7, 1000, stream.len()] {
            let mut counter = MessageCounter::default();
            for chunk in stream.chunks(size) {
                counter.feed(chunk);
            }
            assert_eq!(
                (counter.messages, counter.left, counter.prefix),
                (4, 0, 0),
                "in chunks of {size}"
            );
        }
    }
}
