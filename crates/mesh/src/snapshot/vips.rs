//! Addresses for ServiceEntries that have none: out of 240.240.0.0/16 and 2001:2::/48, which nobody uses (Istio's ranges).
//!
//! An address follows from the host's name, so that every pilot gives the same one, also after a restart. Where two names fall on
//! one number, the later one in the order of names gets the next free number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_api::meta::Labels;

use super::service::{MeshService, ServiceKey, ServiceKind};
use weft_api::service_entry::Resolution;

/// Set to `false` on a ServiceEntry, it gets no address.
const LABEL: &str = "networking.istio.io/enable-autoallocate-ip";

/// Numbers that are given away: the range without its first and last addresses.
const NUMBERS: u32 = 0xfffe;

/// Whether a service gets addresses: a name that DNS could answer for, with a way to endpoints, and no address of its own.
pub(super) fn wanted(service: &MeshService, labels: &Labels) -> bool {
    service.kind == ServiceKind::Entry
        && service.addresses.is_empty()
        && !service.is_wildcard()
        && service.resolution != Resolution::None
        && labels.get(LABEL).map(String::as_str) != Some("false")
}

/// Gives addresses to the services that want them.
pub(super) fn allocate(services: &mut BTreeMap<ServiceKey, Arc<MeshService>>, wanted: impl Fn(&MeshService) -> bool) {
    let mut taken = BTreeSet::new();
    for service in services.values_mut().filter(|service| wanted(service)) {
        if taken.len() >= NUMBERS as usize {
            return;
        }
        let hash = xxhash_rust::xxh64::xxh64(service.key.to_string().as_bytes(), 0);
        let mut number = u32::try_from(hash % u64::from(NUMBERS)).unwrap_or(0);
        while !taken.insert(number) {
            number = (number + 1) % NUMBERS;
        }
        Arc::make_mut(service).auto_addresses = addresses(number + 1);
    }
}

fn addresses(number: u32) -> Vec<IpAddr> {
    let [_, _, high, low] = number.to_be_bytes();
    let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, u16::from_be_bytes([high, low]));
    vec![Ipv4Addr::new(240, 240, high, low).into(), v6.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_within_the_ranges() {
        let text = |number| addresses(number).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(1), ["240.240.0.1", "2001:2::f0f0:1"]);
        assert_eq!(text(NUMBERS), ["240.240.255.254", "2001:2::f0f0:fffe"]);
    }
}
