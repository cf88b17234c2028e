//! Compressed bodies (`content-encoding`, RFC 9110, section 8.4).

use std::io::{Read, Write};

use anyhow::{Result, bail};

/// The encoding that header lines name, without regard to what else they name.
pub(crate) fn named(lines: impl IntoIterator<Item = (String, String)>) -> Option<String> {
    let mut lines = lines.into_iter();
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"))?;
    Some(value.trim().to_owned())
}

/// A body as an encoding has it; as it is where there is no such encoding.
pub(crate) fn encode(name: Option<&str>, body: &[u8]) -> Vec<u8> {
    let encoded = match name {
        Some("gzip") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        Some("br") => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
            encoder.write_all(body).map(|()| encoder.into_inner())
        }
        Some("zstd") => zstd::stream::encode_all(body, 3),
        _ => Ok(body.to_vec()),
    };
    encoded.expect("writing to memory does not fail")
}

/// What an encoded body says.
pub(crate) fn decode(name: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match name {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out)?,
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out)?,
        "zstd" => {
            out = zstd::stream::decode_all(body)?;
            out.len()
        }
        _ => bail!("{name} is no encoding"),
    };
    Ok(out)
}
