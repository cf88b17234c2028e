//! Descriptors of Envoy's API, for JSON and YAML forms of its messages and for walking them by field name.

use std::io::Read;

use parking_lot::Mutex;
use prost_reflect::DescriptorPool;

/// Written by `cargo xtask gen` from what the xDS types crate ships.
static COMPRESSED: &[u8] = include_bytes!("gen/descriptors.bin.gz");

static POOL: Mutex<Cached> = Mutex::new(Cached {
    pool: None,
    used: false,
});

struct Cached {
    pool: Option<DescriptorPool>,
    /// Since the last look of [`release_unused`].
    used: bool,
}

/// Every message type that an xDS resource or an `Any` within one may have. Decoded at the first call, in some tens of
/// milliseconds, and kept in some tens of mebibytes until [`release_unused`].
pub fn pool() -> DescriptorPool {
    let mut cached = POOL.lock();
    cached.used = true;
    cached.pool.get_or_insert_with(decode).clone()
}

/// Lets go of the decoded descriptors if nobody asked for them since the last call. Configuration is read rarely and memory is
/// held for ever: call this every few seconds.
pub fn release_unused() {
    let mut cached = POOL.lock();
    if !std::mem::take(&mut cached.used) {
        cached.pool = None;
    }
}

/// Lets go of the decoded descriptors now.
pub fn release() {
    POOL.lock().pool = None;
}

fn decode() -> DescriptorPool {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(COMPRESSED)
        .read_to_end(&mut bytes)
        .expect("the committed descriptors are a gzip file");
    DescriptorPool::decode(bytes.as_slice()).expect("the committed descriptors are a descriptor set")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bootstrap_type_is_known() {
        let bootstrap = super::pool().get_message_by_name("envoy.config.bootstrap.v3.Bootstrap");
        assert!(bootstrap.is_some_and(|message| message.get_field_by_name("static_resources").is_some()));
    }
}
