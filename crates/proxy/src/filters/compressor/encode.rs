//! Compressing a body as it streams. What was pushed can be read by the client at once: every chunk is flushed.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::body::BodyError;
use crate::filters::stages::Transform;
use crate::model::filters::compressor::Library;
use crate::stats::counters::Counter;

/// Room that an encoder of brotli has for what it makes at a time.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Compresses a body.
pub struct Compress {
    encoder: Encoder,
    ready: Option<Bytes>,
    counts: Arc<Sizes>,
}

/// Bytes before and after compression, of all bodies.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) plain: Arc<Counter>,
    pub(crate) compressed: Arc<Counter>,
}

enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// All was written.
    Done,
}

// === impl Compress ===

impl std::fmt::Debug for Compress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compress").finish_non_exhaustive()
    }
}

impl Compress {
    pub(crate) fn new(library: Library, counts: Arc<Sizes>) -> io::Result<Self> {
        let encoder = match library {
            Library::Gzip(level) => Encoder::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(level),
            )),
            Library::Brotli { quality, window_bits } => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                quality,
                window_bits,
            ))),
            Library::Zstd { level, checksum } => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level as i32)?;
                encoder.include_checksum(checksum)?;
                Encoder::Zstd(encoder)
            }
        };
        Ok(Self {
            encoder,
            ready: None,
            counts,
        })
    }

    fn give(&mut self, bytes: Vec<u8>) {
        self.counts.compressed.add(bytes.len() as u64);
        self.ready = Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty());
    }
}

impl Transform for Compress {
    fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        self.counts.plain.add(chunk.len() as u64);
        let bytes = self.encoder.write(&chunk).map_err(failed)?;
        self.give(bytes);
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.ready.take())
    }

    fn end(&mut self, _trailers: &mut Option<HeaderMap>) -> Result<(), BodyError> {
        let bytes = std::mem::replace(&mut self.encoder, Encoder::Done)
            .finish()
            .map_err(failed)?;
        self.give(bytes);
        Ok(())
    }
}

fn failed(error: io::Error) -> BodyError {
    tracing::warn!(%error, "a body cannot be compressed");
    BodyError::Filter("the body cannot be compressed")
}

// === impl Encoder ===

impl Encoder {
    /// Writes a chunk, and gives what has become of it.
    fn write(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Brotli(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Done => Ok(Vec::new()),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Done => Ok(Vec::new()),
        }
    }
}
