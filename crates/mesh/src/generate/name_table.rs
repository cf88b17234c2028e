//! The names that a captured workload may ask for, with the addresses that its proxy answers.

use std::collections::BTreeSet;

use weft_proto::names::{NameInfo, NameTable};

use super::original::is_captured;
use crate::snapshot::{EndpointAddress, MeshService, ServiceKind};
use crate::view::ProxyView;

/// Name of the one resource.
pub(super) const NAME: &str = "names";

/// The table; `None` for proxies that answer no queries. Names of which the mesh has no address are left to DNS.
pub(super) fn table(view: &ProxyView) -> Option<NameTable> {
    if !is_captured(view) {
        return None;
    }
    let entry = |service: &MeshService| {
        let ips = addresses(view, service);
        (!ips.is_empty()).then(|| (service.key.hostname.to_string(), info(view, service, ips)))
    };
    let mut table = NameTable::default();
    for (name, info) in view.services().into_iter().filter_map(|service| entry(service)) {
        // The same host in another namespace comes later and is not heard.
        table.table.entry(name).or_insert(info);
    }
    Some(table)
}

fn addresses(view: &ProxyView, service: &MeshService) -> Vec<String> {
    if service.headless {
        let ready = view.snapshot.endpoints.of(&service.key);
        let all = ready.into_iter().flat_map(|ready| ready.ports.values().flatten());
        let addresses: BTreeSet<String> = all
            .filter(|endpoint| matches!(endpoint.address, EndpointAddress::Ip(_)))
            .flat_map(|endpoint| {
                let further = endpoint.further_addresses.iter().map(ToString::to_string);
                further.chain([endpoint.address.to_string()])
            })
            .collect();
        return addresses.into_iter().collect();
    }
    let written = service
        .addresses
        .iter()
        .filter(|address| !address.contains('/'))
        .cloned();
    written
        .chain(service.auto_addresses.iter().map(ToString::to_string))
        .collect()
}

fn info(view: &ProxyView, service: &MeshService, ips: Vec<String>) -> NameInfo {
    if service.kind != ServiceKind::Kubernetes {
        return NameInfo {
            ips,
            registry: "External".to_owned(),
            ..NameInfo::default()
        };
    }
    let suffix = format!(".{}.svc.{}", service.key.namespace, view.snapshot.settings.domain);
    NameInfo {
        ips,
        registry: "Kubernetes".to_owned(),
        shortname: service
            .key
            .hostname
            .strip_suffix(&suffix)
            .unwrap_or_default()
            .to_owned(),
        namespace: service.key.namespace.to_string(),
    }
}
