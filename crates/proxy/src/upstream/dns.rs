//! Keeping the endpoints of DNS clusters fresh. Runs on the control runtime; one task per cluster, ended with it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use weft_base::shutdown::Shutdown;

use super::cluster::Cluster;
use crate::dns::lookup::{Family, Found, LookupError, look_up};
use crate::model::cluster::{
    Discovery, DnsEndpoint, DnsFamily, DnsOptions, EndpointAddress, LoadAssignment, LocalityEndpoints,
};

/// Most addresses of one name that become endpoints.
const ADDRESSES_MAX: usize = 256;

/// The addresses of the names of a cluster, as far as they were ever found.
pub(crate) type Resolved = HashMap<Arc<str>, Vec<IpAddr>>;

/// The names of a DNS cluster, and how they are resolved; `None` for clusters of other kinds.
fn names_of(discovery: &Discovery) -> Option<(&[DnsEndpoint], &DnsOptions, bool)> {
    match discovery {
        Discovery::StrictDns { names, options } => Some((names, options, false)),
        Discovery::LogicalDns { name, options } => Some((std::slice::from_ref(name), options, true)),
        Discovery::Static(_) | Discovery::Eds(_) | Discovery::OriginalDst { .. } => None,
    }
}

/// Starts the task of a DNS cluster; does nothing for clusters of other kinds.
pub(crate) fn follow(cluster: &Arc<Cluster>, shutdown: &Shutdown) {
    let Some((names, options, _)) = names_of(&cluster.model.discovery) else {
        return;
    };
    let mut hosts: Vec<Arc<str>> = names.iter().map(|name| name.host.clone()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let following = run(Arc::downgrade(cluster), hosts, options.clone());
    let (stop, gone) = (shutdown.token(), cluster.gone());
    shutdown.spawn(async move {
        stop.run_until_cancelled(gone.run_until_cancelled(following)).await;
    });
}

/// Looks each name up by its own times.
async fn run(cluster: Weak<Cluster>, hosts: Vec<Arc<str>>, options: DnsOptions) {
    let mut first_looks = hosts.len();
    if first_looks == 0
        && let Some(cluster) = cluster.upgrade()
    {
        cluster.looked_up();
    }
    let begin = |host| look_after(Duration::ZERO, host, 0, options.family);
    let mut looks: FuturesUnordered<_> = hosts.into_iter().map(begin).collect();
    while let Some(Look { host, failures, found }) = looks.next().await {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let (pause, failures) = match found {
            Ok(found) => {
                let pause = options.ttl_counts.then_some(found.ttl).flatten();
                cluster.resolved(&host, found.addresses);
                (pause.unwrap_or(options.refresh), 0)
            }
            Err(error) => {
                tracing::warn!(cluster = %cluster.model.name, %host, %error, "name cannot be looked up, its endpoints stay");
                let failures: u32 = failures.saturating_add(1);
                let pause = options
                    .failure_pauses
                    .map_or(options.refresh, |pauses| pauses.pause(failures, fastrand::u64(..)));
                (pause.max(PAUSE_MIN), failures)
            }
        };
        first_looks = first_looks.saturating_sub(1);
        if first_looks == 0 {
            cluster.looked_up();
        }
        looks.push(look_after(pause, host, failures, options.family));
    }
}

/// Shortest pause after a failure, whatever chance says.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What came of one look at a name.
struct Look {
    host: Arc<str>,
    /// Failed looks in a row before this one.
    failures: u32,
    found: Result<Found, LookupError>,
}

async fn look_after(pause: Duration, host: Arc<str>, failures: u32, family: DnsFamily) -> Look {
    tokio::time::sleep(pause).await;
    Look {
        found: by_family(family, |family| look_up(&host, family)).await,
        host,
        failures,
    }
}

/// Looks up what a cluster wants of a name (Envoy `DnsLookupFamily`). With two families, one that fails does no harm if the other has
/// addresses; if that has none, nobody knows.
async fn by_family<F>(family: DnsFamily, look: impl Fn(Family) -> F) -> Result<Found, LookupError>
where
    F: Future<Output = Result<Found, LookupError>>,
{
    let (first, second) = match family {
        DnsFamily::V4Only => return look(Family::V4).await,
        DnsFamily::V6Only => return look(Family::V6).await,
        DnsFamily::Auto => (Family::V6, Family::V4),
        DnsFamily::V4Preferred | DnsFamily::All => (Family::V4, Family::V6),
    };
    if family == DnsFamily::All {
        return match tokio::join!(look(first), look(second)) {
            (Ok(first), Ok(second)) => Ok(both(first, second)),
            (Ok(found), Err(error)) | (Err(error), Ok(found)) => found_or(found, error),
            (Err(error), Err(_)) => Err(error),
        };
    }
    match look(first).await {
        Ok(found) if found.addresses.is_empty() => look(second).await,
        Ok(found) => Ok(found),
        Err(error) => found_or(look(second).await?, error),
    }
}

fn found_or(found: Found, error: LookupError) -> Result<Found, LookupError> {
    if found.addresses.is_empty() {
        Err(error)
    } else {
        Ok(found)
    }
}

fn both(first: Found, second: Found) -> Found {
    let ttl = match (first.ttl, second.ttl) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (one, other) => one.or(other),
    };
    let mut addresses = first.addresses;
    addresses.extend(second.addresses);
    Found { addresses, ttl }
}

/// Puts what a look found among what is known of a cluster's names. Returns whether that changes anything.
pub(crate) fn learn(known: &mut Resolved, discovery: &Discovery, host: &Arc<str>, mut addresses: Vec<IpAddr>) -> bool {
    if matches!(discovery, Discovery::LogicalDns { .. }) {
        // The first counts, and an answer without any leaves it (Envoy, "Logical DNS").
        if addresses.is_empty() {
            return false;
        }
        addresses.truncate(1);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    if known.get(host) == Some(&addresses) {
        return false;
    }
    let some = !addresses.is_empty();
    let before = known.insert(host.clone(), addresses);
    some || before.is_some_and(|before| !before.is_empty())
}

/// The endpoints of a DNS cluster, of the names whose addresses are known; `None` for clusters of other kinds.
pub(crate) fn assignment(cluster: &Arc<str>, discovery: &Discovery, known: &Resolved) -> Option<LoadAssignment> {
    let (names, _, _) = names_of(discovery)?;
    let localities = names.iter().filter_map(|name| {
        let addresses = known.get(&name.host)?;
        let endpoint = |address: &IpAddr| {
            let mut endpoint = name.template.clone();
            endpoint.address = EndpointAddress::Socket(SocketAddr::new(*address, name.port));
            if endpoint.hostname.is_empty() {
                endpoint.hostname = name.host.clone();
            }
            endpoint
        };
        Some(LocalityEndpoints {
            locality: name.locality.clone(),
            priority: name.priority,
            weight: name.locality_weight,
            endpoints: addresses.iter().map(endpoint).collect(),
        })
    });
    Some(LoadAssignment {
        name: cluster.clone(),
        localities: localities.collect(),
        overprovisioning_percent: 140,
    })
}

/// What a cluster knows from the one before it: the addresses of the names that both have, of the same families.
pub(crate) fn carried(now: &Discovery, before: &Discovery, known: &Resolved) -> Resolved {
    let (Some((names, options, logical)), Some((_, options_before, logical_before))) =
        (names_of(now), names_of(before))
    else {
        return Resolved::new();
    };
    if (options.family, logical) != (options_before.family, logical_before) {
        return Resolved::new();
    }
    let of = |name: &DnsEndpoint| Some((name.host.clone(), known.get(&name.host)?.clone()));
    names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside failures")]
    fn found(addresses: &[&str], ttl: u64) -> Result<Found, LookupError> {
        Ok(Found {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ttl: (ttl > 0).then(|| Duration::from_secs(ttl)),
        })
    }

    #[tokio::test]
    async fn families_are_chosen() {
        use DnsFamily::{All, Auto, V4Only, V4Preferred, V6Only};
        let (v4, v6) = (found(&["10.0.0.1"], 9), found(&["fd00::1"], 5));
        let (none, failed) = (found(&[], 0), Err(LookupError::Silent));
        for (family, of_v4, of_v6, expected) in [
            (V4Only, &v4, &failed, &v4),
            (V4Only, &none, &v6, &none),
            (V6Only, &v4, &none, &none),
            (Auto, &v4, &v6, &v6),
            (Auto, &v4, &none, &v4),
            (Auto, &v4, &failed, &v4),
            (Auto, &none, &failed, &failed),
            (Auto, &none, &none, &none),
            (V4Preferred, &v4, &v6, &v4),
            (V4Preferred, &none, &v6, &v6),
            (V4Preferred, &failed, &v6, &v6),
            (V4Preferred, &failed, &none, &failed),
            (All, &v4, &v6, &found(&["10.0.0.1", "fd00::1"], 5)),
            (All, &v4, &none, &v4),
            (All, &v4, &failed, &v4),
            (All, &failed, &v6, &v6),
            (All, &none, &failed, &failed),
            (All, &failed, &failed, &failed),
        ] {
            let look = |family| {
                ready(if family == Family::V4 {
                    of_v4.clone()
                } else {
                    of_v6.clone()
                })
            };
            assert_eq!(
                &by_family(family, look).await,
                expected,
                "{family:?} {of_v4:?} {of_v6:?}"
            );
        }
    }

    fn named(host: &str, port: u16) -> DnsEndpoint {
        DnsEndpoint {
            host: Arc::from(host),
            port,
            template: crate::model::cluster::Endpoint {
                address: EndpointAddress::Socket(([0, 0, 0, 0], port).into()),
                hostname: Arc::from(""),
                weight: 1,
                health: crate::model::cluster::Health::Healthy,
                transport_labels: Vec::new(),
                workload: None,
            },
            locality: crate::model::cluster::Locality::default(),
            locality_weight: None,
            priority: 0,
        }
    }

    fn options(family: DnsFamily) -> DnsOptions {
        DnsOptions {
            refresh: Duration::from_secs(5),
            ttl_counts: false,
            failure_pauses: None,
            family,
        }
    }

    fn strict(names: &[(&str, u16)], family: DnsFamily) -> Discovery {
        Discovery::StrictDns {
            names: names.iter().map(|(host, port)| named(host, *port)).collect(),
            options: options(family),
        }
    }

    fn logical(host: &str) -> Discovery {
        Discovery::LogicalDns {
            name: Box::new(named(host, 80)),
            options: options(DnsFamily::V4Only),
        }
    }

    fn addresses(of: &[&str]) -> Vec<IpAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn endpoints(discovery: &Discovery, known: &Resolved) -> Vec<String> {
        let assignment = assignment(&Arc::from("c"), discovery, known).unwrap();
        let all = assignment.localities.iter().flat_map(|locality| &locality.endpoints);
        all.map(|endpoint| match &endpoint.address {
            EndpointAddress::Socket(address) => format!("{address} {}", endpoint.hostname),
            EndpointAddress::Pipe(path) => path.display().to_string(),
        })
        .collect()
    }

    #[test]
    fn each_name_has_its_own_addresses() {
        let discovery = strict(&[("a", 80), ("b", 81), ("a", 82)], DnsFamily::V4Only);
        let mut known = Resolved::new();
        let mut check = |host: &str, found: &[&str], changes: bool, expected: &[&str]| {
            let changed = learn(&mut known, &discovery, &Arc::from(host), addresses(found));
            assert_eq!(
                (changed, endpoints(&discovery, &known)),
                (changes, expected.iter().map(|&text| text.to_owned()).collect()),
                "{host} {found:?}"
            );
        };
        check(
            "b",
            &["10.0.0.2", "10.0.0.1", "10.0.0.2"],
            true,
            &["10.0.0.1:81 b", "10.0.0.2:81 b"],
        );
        check(
            "b",
            &["10.0.0.1", "10.0.0.2"],
            false,
            &["10.0.0.1:81 b", "10.0.0.2:81 b"],
        );
        check("a", &[], false, &["10.0.0.1:81 b", "10.0.0.2:81 b"]);
        check("b", &["10.0.0.2"], true, &["10.0.0.2:81 b"]);
        check(
            "a",
            &["fd00::1"],
            true,
            &["[fd00::1]:80 a", "10.0.0.2:81 b", "[fd00::1]:82 a"],
        );
        check("b", &[], true, &["[fd00::1]:80 a", "[fd00::1]:82 a"]);
        check(
            "b",
            &["10.0.0.2"],
            true,
            &["[fd00::1]:80 a", "10.0.0.2:81 b", "[fd00::1]:82 a"],
        );
    }

    #[test]
    fn a_logical_name_keeps_its_first_address() {
        let discovery = logical("a");
        let mut known = Resolved::new();
        for (found, expected) in [
            (&["10.0.0.2", "10.0.0.1"][..], "10.0.0.2:80 a"),
            (&[], "10.0.0.2:80 a"),
            (&["10.0.0.1", "10.0.0.2"], "10.0.0.1:80 a"),
        ] {
            learn(&mut known, &discovery, &Arc::from("a"), addresses(found));
            assert_eq!(endpoints(&discovery, &known), [expected], "{found:?}");
        }
    }

    #[test]
    fn what_a_name_stands_for_outlives_a_change() {
        let known = Resolved::from([
            (Arc::from("a"), addresses(&["10.0.0.1"])),
            (Arc::from("b"), addresses(&["10.0.0.2"])),
        ]);
        let before = strict(&[("a", 80), ("b", 80)], DnsFamily::V4Only);
        for (now, expected) in [
            (
                strict(&[("a", 81), ("c", 80)], DnsFamily::V4Only),
                vec!["10.0.0.1:81 a"],
            ),
            (strict(&[("a", 80)], DnsFamily::All), vec![]),
            (logical("a"), vec![]),
        ] {
            assert_eq!(endpoints(&now, &carried(&now, &before, &known)), expected, "{now:?}");
        }
    }
}
