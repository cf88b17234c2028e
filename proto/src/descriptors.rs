//! Descriptors of Envoy's API, for JSON and YAML forms of its messages and for walking them by field name.

use std::io::Read;

use parking_lot::Mutex;
use prost_reflect::DescriptorPool;

/// Written by `cargo xtask gen` from what the xDS types crate ships.
static COMPRESSED: &[u8] = include_bytes!("gen/descriptors.bin.gz");

static POOL: Mutex<Option<DescriptorPool>> = Mutex::new(None);

/// Every message type that an xDS resource or an `Any` within one may have. Decoded at the first call, in some tens of
/// milliseconds, and kept in some tens of mebibytes until [`release`].
pub fn pool() -> DescriptorPool {
    POOL.lock().get_or_insert_with(decode).clone()
}

/// Lets go of the decoded descriptors.
pub fn release() {
    *POOL.lock() = None;
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
