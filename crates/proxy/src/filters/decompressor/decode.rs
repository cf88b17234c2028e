//! Decompressing a body as it streams, a little at a time however much a chunk becomes.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use zstd::stream::raw::Operation;

use crate::body::BodyError;
use crate::filters::compressor::Sizes;
use crate::filters::stages::Transform;
use crate::model::filters::decompressor::Library;

/// Most that is decompressed at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Largest window of zstd, as a power of two: 8 MiB (RFC 9659, section 3). The decoder would take what a client asks for, up to 128 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// As much may a body become whatever the ratio is: a short one may be made of one letter.
const FREE_BYTES: u64 = 64 << 10;

/// Decompresses a body.
pub struct Decompress {
    decoder: Decoder,
    /// What the decoder of zstd has not taken yet.
    input: Bytes,
    /// The compressed stream is over; what follows it is nobody's.
    finished: bool,
    counts: Arc<Sizes>,
    trailers: Arc<[HeaderName; 2]>,
    ratio_max: u64,
    taken: u64,
    given: u64,
}

enum Decoder {
    Gzip(Box<flate2::bufread::GzDecoder<Feed>>),
    Brotli(Box<brotli::Decompressor<Feed>>),
    Zstd(zstd::stream::raw::Decoder<'static>),
}

/// What decoders read that read by themselves: at its end for now, reading would block.
#[derive(Debug, Default)]
struct Feed(Bytes);

// === impl Feed ===

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.0)
    }

    fn consume(&mut self, amount: usize) {
        self.0.advance(amount);
    }
}

// === impl Decompress ===

impl std::fmt::Debug for Decompress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompress").finish_non_exhaustive()
    }
}

impl Decompress {
    /// `trailers` tell how many bytes there were before and after.
    pub(super) fn new(
        library: Library,
        ratio_max: u32,
        counts: Arc<Sizes>,
        trailers: Arc<[HeaderName; 2]>,
    ) -> io::Result<Self> {
        let decoder = match library {
            Library::Gzip => Decoder::Gzip(Box::new(flate2::bufread::GzDecoder::new(Feed::default()))),
            Library::Brotli => Decoder::Brotli(Box::new(brotli::Decompressor::new(Feed::default(), CHUNK_BYTES))),
            Library::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
                Decoder::Zstd(decoder)
            }
        };
        Ok(Self {
            decoder,
            input: Bytes::new(),
            finished: false,
            counts,
            trailers,
            ratio_max: u64::from(ratio_max),
            taken: 0,
            given: 0,
        })
    }

    /// Decompresses into `out`; nothing where more input is needed, or none is.
    fn step(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.read(out),
            Decoder::Brotli(decoder) => decoder.read(out),
            Decoder::Zstd(decoder) => {
                let status = decoder.run_on_buffers(&self.input, out)?;
                self.input.advance(status.bytes_read);
                self.finished = status.remaining == 0 && self.input.is_empty();
                return Ok(status.bytes_written);
            }
        };
        match read {
            Ok(0) => {
                self.finished = true;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }
}

impl Transform for Decompress {
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        self.taken += chunk.len() as u64;
        self.counts.compressed.add(chunk.len() as u64);
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut().0 = chunk,
            Decoder::Brotli(decoder) => decoder.get_mut().0 = chunk,
            Decoder::Zstd(_) => self.input = chunk,
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.taken == 0 || (self.finished && self.input.is_empty()) {
            return Ok(None);
        }
        let mut out = vec![0; CHUNK_BYTES];
        let written = self.step(&mut out).map_err(|error| {
            tracing::debug!(%error, "a body cannot be decompressed");
            BodyError::Filter("the body cannot be decompressed")
        })?;
        if written == 0 {
            return Ok(None);
        }
        self.given += written as u64;
        self.counts.plain.add(written as u64);
        if self.given > FREE_BYTES && self.given > self.taken.saturating_mul(self.ratio_max) {
            return Err(BodyError::Filter("the body becomes too large"));
        }
        out.truncate(written);
        Ok(Some(Bytes::from(out)))
    }

    fn end(&mut self, trailers: &mut Option<HeaderMap>) -> Result<(), BodyError> {
        if self.taken > 0 && !self.finished {
            return Err(BodyError::Filter("the compressed body is not whole"));
        }
        let trailers = trailers.get_or_insert_default();
        for (name, bytes) in self.trailers.iter().zip([self.taken, self.given]) {
            trailers.insert(name.clone(), HeaderValue::from(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::filters::compressor::Compress;
    use crate::model::filters::compressor::Library as Compression;

    fn counts() -> Arc<Sizes> {
        Arc::new(Sizes {
            plain: Arc::default(),
            compressed: Arc::default(),
        })
    }

    fn drain(stage: &mut impl Transform, out: &mut Vec<u8>) -> Result<(), BodyError> {
        while let Some(chunk) = stage.pull()? {
            out.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn through(stage: &mut impl Transform, body: &[u8], size: usize) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            stage.push(Bytes::copy_from_slice(chunk))?;
            drain(stage, &mut out)?;
        }
        stage.end(&mut None)?;
        drain(stage, &mut out)?;
        Ok(out)
    }

    fn decompress(library: Library, body: &[u8], size: usize) -> Result<Vec<u8>, BodyError> {
        let trailers = Arc::new([HeaderName::from_static("a"), HeaderName::from_static("b")]);
        let mut stage = Decompress::new(library, 100, counts(), trailers).unwrap();
        through(&mut stage, body, size)
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let plain: Vec<u8> = (0..200_000_u32)
            .flat_map(|number| (number.wrapping_mul(number)).to_be_bytes())
            .collect();
        for (library, compression) in [
            (Library::Gzip, Compression::Gzip(6)),
            (
                Library::Brotli,
                Compression::Brotli {
                    quality: 3,
                    window_bits: 18,
                },
            ),
            (
                Library::Zstd,
                Compression::Zstd {
                    level: 3,
                    checksum: true,
                },
            ),
        ] {
            for size in [1000, 70_000, plain.len()] {
                let mut stage = Compress::new(compression, counts()).unwrap();
                let compressed = through(&mut stage, &plain, size).unwrap();
                assert!(
                    decompress(library, &compressed, size).unwrap() == plain,
                    "{library:?} {size}"
                );
                let cut = decompress(library, &compressed[..compressed.len() / 2], size);
                assert!(cut.is_err(), "{library:?} {size}");
                let wrong = decompress(library, &plain, size);
                assert!(wrong.is_err(), "{library:?} {size}");
            }
        }
    }

    /// What a client asks for is memory of this proxy.
    #[test]
    fn windows_have_a_limit() {
        for (window_log, fits) in [(23, true), (24, false)] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.write_all(&[0; 1000]).unwrap();
            let compressed = encoder.finish().unwrap();
            let got = decompress(Library::Zstd, &compressed, compressed.len());
            assert_eq!(got.is_ok(), fits, "{window_log}: {got:?}");
        }
    }

    #[test]
    fn a_body_does_not_become_too_large() {
        let mut stage = Compress::new(Compression::Gzip(9), counts()).unwrap();
        let compressed = through(&mut stage, &vec![0; 10 << 20], 10 << 20).unwrap();
        let got = decompress(Library::Gzip, &compressed, compressed.len());
        assert_eq!(got.unwrap_err().to_string(), "the body becomes too large");
    }
}
