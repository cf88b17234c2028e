//! Keeping the endpoints of DNS clusters fresh. Runs on the control runtime; one task per cluster, ended with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use weft_base::shutdown::Shutdown;

use super::cluster::Cluster;
use crate::model::cluster::{
    Discovery, DnsEndpoint, DnsFamily, DnsOptions, EndpointAddress, LoadAssignment, LocalityEndpoints,
};

/// Most addresses of one name that become endpoints.
const ADDRESSES_MAX: usize = 256;

/// Starts the task of a DNS cluster; does nothing for clusters of other kinds.
pub fn follow(cluster: &Arc<Cluster>, shutdown: &Shutdown) {
    if !cluster.model.discovery.is_dns() {
        return;
    }
    let weak = Arc::downgrade(cluster);
    let stop = shutdown.token();
    shutdown.spawn(async move {
        let following = run(weak);
        stop.run_until_cancelled(following).await;
    });
}

async fn run(cluster: Weak<Cluster>) {
    loop {
        let refresh = {
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            let (names, options, logical): (&[DnsEndpoint], &DnsOptions, bool) = match &cluster.model.discovery {
                Discovery::StrictDns { names, options } => (names, options, false),
                Discovery::LogicalDns { name, options } => (std::slice::from_ref(name), options, true),
                Discovery::Static(_) | Discovery::Eds(_) | Discovery::OriginalDst { .. } => return,
            };
            resolve_all(&cluster, names, options, logical).await;
            cluster.looked_up();
            options.refresh
        };
        tokio::time::sleep(refresh).await;
    }
}

/// Resolves every name. A name that does not resolve now keeps the whole cluster as it was.
async fn resolve_all(cluster: &Cluster, names: &[DnsEndpoint], options: &DnsOptions, logical: bool) {
    let mut localities = Vec::with_capacity(names.len());
    for name in names {
        let addresses = match resolve(name, options).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(cluster = %cluster.model.name, host = %name.host, %error, "name does not resolve");
                return;
            }
        };
        let wanted = if logical { 1 } else { ADDRESSES_MAX };
        let endpoint = |address| {
            let mut endpoint = name.template.clone();
            endpoint.address = EndpointAddress::Socket(address);
            if endpoint.hostname.is_empty() {
                endpoint.hostname = name.host.clone();
            }
            endpoint
        };
        localities.push(LocalityEndpoints {
            locality: name.locality.clone(),
            priority: name.priority,
            weight: name.locality_weight,
            endpoints: addresses.into_iter().take(wanted).map(endpoint).collect(),
        });
    }
    cluster.update(Arc::new(LoadAssignment {
        name: cluster.model.name.clone(),
        localities,
        overprovisioning_percent: 140,
    }));
}

async fn resolve(name: &DnsEndpoint, options: &DnsOptions) -> std::io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = match name.host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, name.port)],
        Err(_) => tokio::net::lookup_host((&*name.host, name.port)).await?.collect(),
    };
    let mut addresses = by_family(found, options.family);
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn by_family(found: Vec<SocketAddr>, family: DnsFamily) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
    let first_of = |first: Vec<SocketAddr>, second: Vec<SocketAddr>| if first.is_empty() { second } else { first };
    match family {
        DnsFamily::V4Only => v4,
        DnsFamily::V6Only => v6,
        DnsFamily::Auto => first_of(v6, v4),
        DnsFamily::V4Preferred => first_of(v4, v6),
        DnsFamily::All => v4.into_iter().chain(v6).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_chosen() {
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        for (family, both, only_v4) in [
            (DnsFamily::Auto, vec![v6], vec![v4]),
            (DnsFamily::V4Only, vec![v4], vec![v4]),
            (DnsFamily::V6Only, vec![v6], vec![]),
            (DnsFamily::V4Preferred, vec![v4], vec![v4]),
            (DnsFamily::All, vec![v4, v6], vec![v4]),
        ] {
            assert_eq!(by_family(vec![v6, v4], family), both, "{family:?}");
            assert_eq!(by_family(vec![v4], family), only_v4, "{family:?}");
        }
    }
}
