//! Which endpoint takes a request: a pure function of the set, the counters and random numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::endpoint::{Endpoint, EndpointSet, Priority};
use crate::model::cluster::Balancer;

/// Chooses an endpoint. `turn` is the cluster's round-robin counter, `random` yields uniform 64-bit numbers.
pub(crate) fn choose<'a>(
    set: &'a EndpointSet,
    balancer: &Balancer,
    turn: &AtomicU64,
    mut random: impl FnMut() -> u64,
) -> Option<&'a Arc<Endpoint>> {
    let priority = choose_priority(set, &mut random)?;
    let at = match balancer {
        Balancer::RoundRobin => round_robin(priority, turn, &mut random)?,
        Balancer::Random => weighted(priority, random())?,
        Balancer::LeastRequest { choices } => least_request(set, priority, *choices, &mut random)?,
        Balancer::ClusterProvided => return None,
    };
    set.endpoints.get(at)
}

/// An endpoint that is none of `avoid`, if there is one, in the first priority that has one. An endpoint that fails at once is never
/// busy, so that choosing the least busy one again and again would end at it.
pub(crate) fn other_than<'a>(set: &'a EndpointSet, avoid: &[u64], random: u64) -> Option<&'a Arc<Endpoint>> {
    set.priorities.iter().find_map(|priority| {
        let usable = &priority.usable;
        let start = (random % usable.len().max(1) as u64) as usize;
        let (before, after) = usable.split_at(start);
        let mut order = after.iter().chain(before).filter_map(|at| set.endpoints.get(*at));
        order.find(|endpoint| !avoid.contains(&endpoint.state.id))
    })
}

fn choose_priority<'a>(set: &'a EndpointSet, random: &mut impl FnMut() -> u64) -> Option<&'a Priority> {
    if let [only] = set.priorities.as_slice() {
        return Some(only);
    }
    let mut ticket = u32::try_from(random() % 100).unwrap_or(0);
    for priority in &set.priorities {
        if ticket < priority.share {
            return Some(priority);
        }
        ticket -= priority.share;
    }
    set.priorities.iter().find(|priority| !priority.usable.is_empty())
}

fn round_robin(priority: &Priority, turn: &AtomicU64, random: &mut impl FnMut() -> u64) -> Option<usize> {
    let next = turn.fetch_add(1, Ordering::Relaxed);
    let pick = |list: &[usize]| list.get((next % list.len().max(1) as u64) as usize).copied();
    if !priority.schedule.is_empty() {
        return pick(&priority.schedule);
    }
    let equal = priority
        .cumulative
        .windows(2)
        .all(|pair| pair[1] - pair[0] == priority.cumulative[0]);
    if equal {
        pick(&priority.usable)
    } else {
        weighted(priority, random())
    }
}

fn weighted(priority: &Priority, random: u64) -> Option<usize> {
    let total = *priority.cumulative.last()?;
    let ticket = random % total;
    let at = priority.cumulative.partition_point(|sum| *sum <= ticket);
    priority.usable.get(at).copied()
}

/// The least loaded of a few picked by weight; equal loads go to the first picked.
fn least_request(
    set: &EndpointSet,
    priority: &Priority,
    choices: u32,
    random: &mut impl FnMut() -> u64,
) -> Option<usize> {
    let mut best = weighted(priority, random())?;
    for _ in 1..choices {
        let other = weighted(priority, random())?;
        if active(set, other) < active(set, best) {
            best = other;
        }
    }
    Some(best)
}

fn active(set: &EndpointSet, at: usize) -> u32 {
    set.endpoints[at].state.active.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::cluster::{self as model, EndpointAddress, Transport};
    use crate::upstream::endpoint::Monitors;

    fn set(weights: &[u32]) -> EndpointSet {
        let endpoint = |(index, weight): (usize, &u32)| model::Endpoint {
            address: EndpointAddress::Socket(([127, 0, 0, 1], index as u16 + 1).into()),
            hostname: Arc::from(""),
            weight: *weight,
            health: model::Health::Healthy,
            transport_labels: Vec::new(),
            workload: None,
        };
        let assignment = model::LoadAssignment {
            name: Arc::from("c"),
            localities: vec![model::LocalityEndpoints {
                endpoints: weights.iter().enumerate().map(endpoint).collect(),
                ..model::LocalityEndpoints::default()
            }],
            overprovisioning_percent: 140,
        };
        let transport = Transport {
            matches: Vec::new(),
            default: None,
        };
        EndpointSet::new(
            &assignment,
            &transport,
            &[None],
            50,
            &EndpointSet::default(),
            Monitors::None,
        )
    }

    fn counts(set: &EndpointSet, balancer: &Balancer, picks: usize) -> BTreeMap<String, usize> {
        let turn = AtomicU64::new(0);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            let endpoint = choose(set, balancer, &turn, || rng.u64(..)).unwrap();
            *counts.entry(endpoint.text.to_string()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact() {
        let even: Vec<usize> = counts(&set(&[1, 1, 1]), &Balancer::RoundRobin, 300)
            .into_values()
            .collect();
        assert_eq!(even, [100, 100, 100]);
        let uneven: Vec<usize> = counts(&set(&[3, 1]), &Balancer::RoundRobin, 400)
            .into_values()
            .collect();
        assert_eq!(uneven, [300, 100]);
    }

    #[test]
    fn random_follows_weights() {
        let picked: Vec<usize> = counts(&set(&[3, 1]), &Balancer::Random, 10_000).into_values().collect();
        assert!((7_200..7_800).contains(&picked[0]), "{picked:?}");
    }

    #[test]
    fn least_request_avoids_the_loaded() {
        let set = set(&[1, 1]);
        set.endpoints[0].state.active.store(9, Ordering::Relaxed);
        let picked = counts(&set, &Balancer::LeastRequest { choices: 2 }, 1000);
        // Only when both picks fall on the loaded endpoint does it get the request.
        assert!((200..300).contains(&picked["127.0.0.1:1"]), "{picked:?}");
    }

    #[test]
    fn the_last_look_finds_whoever_is_left() {
        let set = set(&[1, 1, 1]);
        let ids: Vec<u64> = set.endpoints.iter().map(|endpoint| endpoint.state.id).collect();
        for random in 0..6 {
            let left = other_than(&set, &ids[..2], random).map(|endpoint| endpoint.state.id);
            assert_eq!(left, Some(ids[2]), "{random}");
            assert!(other_than(&set, &ids, random).is_none(), "{random}");
        }
        assert!(other_than(&EndpointSet::default(), &[], 1).is_none());
    }

    #[test]
    fn an_empty_set_has_no_choice() {
        let turn = AtomicU64::new(0);
        assert!(choose(&EndpointSet::default(), &Balancer::RoundRobin, &turn, || 1).is_none());
        assert!(choose(&set(&[]), &Balancer::RoundRobin, &turn, || 1).is_none());
    }
}
