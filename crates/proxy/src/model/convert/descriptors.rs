//! Descriptors of the messages that the proxy carries, for reading YAML and JSON and for finding fields that are not carried.
//!
//! They are cut down from Envoy's by the build script. All of Envoy's API (`weft_proto::descriptors`) takes a hundred times
//! as much memory and is decoded only to say more about what is not carried.

use parking_lot::Mutex;
use prost_reflect::{DescriptorPool, MessageDescriptor};

static CARRIED: Mutex<Cached> = Mutex::new(Cached {
    pool: None,
    used: false,
});

struct Cached {
    pool: Option<DescriptorPool>,
    /// Since the last look of [`release_unused_descriptors`].
    used: bool,
}

/// A message that the proxy carries, or has to know of to refuse it by name. The first call decodes the descriptors, in a
/// millisecond.
pub fn carried_message(type_name: &str) -> Option<MessageDescriptor> {
    let mut cached = CARRIED.lock();
    cached.used = true;
    cached.pool.get_or_insert_with(decode).get_message_by_name(type_name)
}

/// Lets go of the decoded descriptors if nobody asked for them since the last call. Configuration is read rarely and memory is
/// held for ever: call this every few seconds.
pub fn release_unused_descriptors() {
    let mut cached = CARRIED.lock();
    if !std::mem::take(&mut cached.used) {
        cached.pool = None;
    }
}

fn decode() -> DescriptorPool {
    let set: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/carried.bin"));
    DescriptorPool::decode(set).expect("the build script writes a descriptor set")
}

#[cfg(test)]
mod tests {
    use super::super::supported::carried_types;
    use super::*;

    #[test]
    fn every_type_and_field_of_the_table_exists() {
        for (type_name, fields) in carried_types() {
            let message = carried_message(type_name).unwrap_or_else(|| panic!("{type_name} does not exist"));
            for field in fields.iter().filter(|field| **field != "*") {
                assert!(
                    message.get_field_by_name(field).is_some(),
                    "{type_name}.{field} does not exist"
                );
            }
        }
    }

    #[test]
    fn what_is_not_carried_is_known_by_name_only() {
        let listener = carried_message("envoy.config.listener.v3.Listener").unwrap();
        let all = weft_proto::descriptors::pool()
            .get_message_by_name("envoy.config.listener.v3.Listener")
            .unwrap();
        assert_eq!(listener.fields().len(), all.fields().len());
        let udp = carried_message("envoy.config.listener.v3.UdpListenerConfig").unwrap();
        assert_eq!(udp.fields().len(), 0);
        assert_eq!(carried_message("envoy.extensions.filters.http.lua.v3.Lua"), None);
    }
}
