//! Endpoints of a cluster with the state that outlives configuration changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::outlier::Monitor;
use crate::model::cluster::{self as model, EndpointAddress, Health, Transport};
use crate::tls::client::ClientContext;

/// An endpoint of the running configuration.
#[derive(Debug)]
pub struct Endpoint {
    /// What discovery says.
    pub model: model::Endpoint,
    /// Its address as text, for logs.
    pub text: Arc<str>,
    /// TLS towards it; `None` is plaintext.
    pub tls: Option<Arc<ClientContext>>,
    /// What is carried over changes.
    pub state: Arc<EndpointState>,
    /// Its passive health, where the cluster has a rule for it. Goes on for as long as the rule and the address stay.
    pub monitor: Option<Arc<Mutex<Monitor>>>,
}

/// What is known of an endpoint from traffic; one for as long as the address stays in the cluster.
#[derive(Debug)]
pub struct EndpointState {
    /// Unique within the process; keys the pools of the workers.
    pub id: u64,
    /// Requests in flight.
    pub active: AtomicU32,
}

/// Where the passive health of a set's endpoints comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitors {
    /// No rule asks for it.
    None,
    /// A rule that is new: nothing is known yet.
    New,
    /// From the set before, by address.
    Carried,
}

/// All endpoints of a cluster, grouped for choosing.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// In the order of discovery.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Usable endpoints by priority, with the share of traffic each priority gets in percent.
    pub priorities: Vec<Priority>,
}

/// The usable endpoints of one priority.
#[derive(Debug, Default)]
pub struct Priority {
    /// Indices into the set; the whole priority where too few are healthy (panic).
    pub usable: Vec<usize>,
    /// One turn of weighted round robin over `usable`; empty where all weights are equal.
    pub schedule: Vec<usize>,
    /// Sums of the weights up to and with each of `usable`.
    pub cumulative: Vec<u64>,
    /// Share of the traffic in percent.
    pub share: u32,
}

/// Longest schedule of weighted round robin; beyond it weights are honoured by chance.
const SCHEDULE_MAX: u64 = 4096;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

// === impl EndpointState ===

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            active: AtomicU32::new(0),
        }
    }
}

// === impl EndpointSet ===

impl EndpointSet {
    /// Groups endpoints for choosing. States are taken over from `previous` by address; `contexts` are the cluster's TLS contexts:
    /// one per transport match, then the default.
    pub fn new(
        assignment: &model::LoadAssignment,
        transport: &Transport,
        contexts: &[Option<Arc<ClientContext>>],
        panic_threshold_percent: u32,
        previous: &Self,
        monitors: Monitors,
    ) -> Self {
        let previous = previous.endpoints.iter();
        let carried: HashMap<_, _> = previous.map(|endpoint| (&endpoint.model.address, endpoint)).collect();
        let mut endpoints = Vec::new();
        let mut priorities: Vec<Vec<usize>> = Vec::new();
        for group in &assignment.localities {
            let priority = group.priority as usize;
            priorities.resize_with(priorities.len().max(priority + 1), Vec::new);
            for endpoint in &group.endpoints {
                priorities[priority].push(endpoints.len());
                let before = carried.get(&endpoint.address);
                let known = || before.and_then(|before| before.monitor.clone());
                endpoints.push(Arc::new(Endpoint {
                    text: address_text(&endpoint.address),
                    tls: context_of(endpoint, transport, contexts),
                    state: before.map_or_else(Arc::default, |before| before.state.clone()),
                    monitor: match monitors {
                        Monitors::None => None,
                        Monitors::New => Some(Arc::default()),
                        Monitors::Carried => Some(known().unwrap_or_default()),
                    },
                    model: endpoint.clone(),
                }));
            }
        }
        let mut set = Self {
            endpoints,
            priorities: Vec::new(),
        };
        set.group(priorities, assignment.overprovisioning_percent, panic_threshold_percent);
        set
    }

    /// How many are ejected.
    pub fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count()
    }

    fn group(&mut self, members: Vec<Vec<usize>>, overprovisioning_percent: u32, panic_threshold_percent: u32) {
        let healthy: Vec<Vec<usize>> = members
            .iter()
            .map(|members| {
                members
                    .iter()
                    .copied()
                    .filter(|at| self.endpoints[*at].is_healthy())
                    .collect()
            })
            .collect();
        let health: Vec<u32> = members
            .iter()
            .zip(&healthy)
            .map(|(all, healthy)| match all.len() {
                0 => 0,
                total => ((healthy.len() * overprovisioning_percent as usize) / total).min(100) as u32,
            })
            .collect();
        let total_health: u32 = health.iter().sum::<u32>().min(100);
        let mut left = 100;
        for ((all, healthy), health) in members.into_iter().zip(healthy).zip(health) {
            let percent = if all.is_empty() {
                0
            } else {
                healthy.len() * 100 / all.len()
            };
            let panic = !all.is_empty() && total_health < 100 && (percent as u32) < panic_threshold_percent;
            let share = match total_health {
                0 if self.priorities.is_empty() => 100,
                0 => 0,
                total => (health * 100 / total).min(left),
            };
            left -= share;
            let usable = if panic { all } else { healthy };
            self.priorities.push(self.priority(usable, share));
        }
        // Rounding must not lose traffic.
        if let Some(first) = self.priorities.iter_mut().find(|priority| priority.share > 0) {
            first.share += left;
        }
    }

    fn priority(&self, usable: Vec<usize>, share: u32) -> Priority {
        let weights: Vec<u64> = usable
            .iter()
            .map(|at| u64::from(self.endpoints[*at].model.weight))
            .collect();
        let mut sum = 0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let schedule = if equal || sum / divisor > SCHEDULE_MAX {
            Vec::new()
        } else {
            smooth(&usable, &weights, sum, divisor)
        };
        Priority {
            usable,
            schedule,
            cumulative,
            share,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint that no discovery listed: where a client meant to go. It has no labels, and so the transport of those without.
    pub fn original(
        address: SocketAddr,
        transport: &Transport,
        contexts: &[Option<Arc<ClientContext>>],
        state: Arc<EndpointState>,
    ) -> Self {
        let model = model::Endpoint {
            address: EndpointAddress::Socket(address),
            hostname: Arc::from(""),
            weight: 1,
            health: Health::Healthy,
            transport_labels: Vec::new(),
            workload: None,
        };
        Self {
            text: address_text(&model.address),
            tls: context_of(&model, transport, contexts),
            state,
            // There is no other to go to instead.
            monitor: None,
            model,
        }
    }

    /// Whether it gets traffic: healthy by discovery and not ejected.
    pub fn is_healthy(&self) -> bool {
        self.model.health == Health::Healthy && !self.is_ejected()
    }

    /// Whether passive health has taken it out.
    pub fn is_ejected(&self) -> bool {
        self.monitor.as_ref().is_some_and(|monitor| monitor.lock().is_ejected())
    }
}

fn address_text(address: &EndpointAddress) -> Arc<str> {
    match address {
        EndpointAddress::Socket(address) => Arc::from(address.to_string()),
        EndpointAddress::Pipe(path) => Arc::from(path.display().to_string()),
    }
}

/// The context of the first transport match whose labels the endpoint has, else the default.
fn context_of(
    endpoint: &model::Endpoint,
    transport: &Transport,
    contexts: &[Option<Arc<ClientContext>>],
) -> Option<Arc<ClientContext>> {
    let fits = |entry: &model::TransportMatch| {
        entry
            .labels
            .iter()
            .all(|label| endpoint.transport_labels.contains(label))
    };
    let at = transport
        .matches
        .iter()
        .position(fits)
        .unwrap_or(transport.matches.len());
    contexts.get(at).cloned().flatten()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Smooth weighted round robin: spreads the turns of heavy endpoints.
fn smooth(usable: &[usize], weights: &[u64], sum: u64, divisor: u64) -> Vec<usize> {
    let turns = sum / divisor;
    let mut current = vec![0_i64; usable.len()];
    let total = i64::try_from(turns).unwrap_or(i64::MAX);
    let step = |at: usize| i64::try_from(weights[at] / divisor).unwrap_or(i64::MAX);
    (0..turns)
        .map(|_| {
            let mut best = 0;
            for at in 0..current.len() {
                current[at] += step(at);
                if current[at] > current[best] {
                    best = at;
                }
            }
            current[best] -= total;
            usable[best]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Priority and members: port, weight, health.
    type Group<'a> = (u32, &'a [(u16, u32, Health)]);

    fn assignment(groups: &[Group<'_>]) -> model::LoadAssignment {
        let locality = |(priority, members): &Group<'_>| model::LocalityEndpoints {
            priority: *priority,
            endpoints: members
                .iter()
                .map(|(port, weight, health)| model::Endpoint {
                    address: EndpointAddress::Socket(([127, 0, 0, 1], *port).into()),
                    hostname: Arc::from(""),
                    weight: *weight,
                    health: *health,
                    transport_labels: Vec::new(),
                    workload: None,
                })
                .collect(),
            ..model::LocalityEndpoints::default()
        };
        model::LoadAssignment {
            name: Arc::from("c"),
            localities: groups.iter().map(locality).collect(),
            overprovisioning_percent: 140,
        }
    }

    fn set(groups: &[Group<'_>], panic: u32) -> EndpointSet {
        let transport = Transport {
            matches: Vec::new(),
            default: None,
        };
        EndpointSet::new(
            &assignment(groups),
            &transport,
            &[None],
            panic,
            &EndpointSet::default(),
            Monitors::None,
        )
    }

    #[test]
    fn priorities_share_by_health() {
        use Health::{Healthy as H, Unhealthy as U};
        let shares = |groups: &[Group<'_>]| -> Vec<u32> {
            set(groups, 0)
                .priorities
                .iter()
                .map(|priority| priority.share)
                .collect()
        };
        assert_eq!(shares(&[(0, &[(1, 1, H)]), (1, &[(2, 1, H)])]), [100, 0]);
        assert_eq!(shares(&[(0, &[(1, 1, H), (2, 1, U)]), (1, &[(3, 1, H)])]), [70, 30]);
        assert_eq!(shares(&[(0, &[(1, 1, U)]), (1, &[(3, 1, H)])]), [0, 100]);
    }

    #[test]
    fn panic_uses_everything() {
        use Health::{Healthy as H, Unhealthy as U};
        let members: &[(u16, u32, Health)] = &[(1, 1, H), (2, 1, U), (3, 1, U), (4, 1, U)];
        assert_eq!(set(&[(0, members)], 50).priorities[0].usable.len(), 4);
        assert_eq!(set(&[(0, members)], 0).priorities[0].usable, [0]);
        assert!(set(&[(0, &[(1, 1, U)])], 0).priorities[0].usable.is_empty());
    }

    #[test]
    fn schedules_are_smooth() {
        let set = set(&[(0, &[(1, 4, Health::Healthy), (2, 2, Health::Healthy)])], 0);
        assert_eq!(set.priorities[0].schedule, [0, 1, 0]);
    }

    #[test]
    fn states_are_carried_by_address() {
        let first = set(&[(0, &[(1, 1, Health::Healthy), (2, 1, Health::Healthy)])], 0);
        let transport = Transport {
            matches: Vec::new(),
            default: None,
        };
        let next = assignment(&[(0, &[(2, 1, Health::Healthy), (3, 1, Health::Healthy)])]);
        let second = EndpointSet::new(&next, &transport, &[None], 0, &first, Monitors::None);
        assert_eq!(second.endpoints[0].state.id, first.endpoints[1].state.id);
        assert_ne!(second.endpoints[1].state.id, first.endpoints[0].state.id);
    }
}
