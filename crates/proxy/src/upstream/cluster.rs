//! A cluster of the running configuration.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::balance;
use super::detector::Detector;
use super::dns::{self, Resolved};
use super::endpoint::{Endpoint, EndpointSet, Monitors};
use super::limits::ClusterState;
use super::outlier::Report;
use crate::model::cluster::{self as model, Discovery, LoadAssignment};
use crate::secrets::SecretStore;
use crate::tls::client::ClientContext;

/// A cluster with its endpoints. Endpoints change without the rest: discovery swaps the set.
#[derive(Debug)]
pub struct Cluster {
    pub model: Arc<model::Cluster>,
    /// Counts, carried by name.
    pub state: Arc<ClusterState>,
    /// TLS contexts: one per transport match, then the default.
    pub contexts: Vec<Option<Arc<ClientContext>>>,
    endpoints: ArcSwap<Members>,
    /// Held while endpoints are grouped anew, so that no grouping is lost to one that began before it.
    grouping: Mutex<()>,
    /// Passive health, where a rule asks for it; carried by name while the rule stays.
    detector: Option<Arc<Detector>>,
    /// Wakes who waits for other endpoints.
    changed: Notify,
    /// Cancelled once the names of a DNS cluster were looked up, with or without success; from the start for others.
    looked_up: CancellationToken,
    /// What the names of a DNS cluster stand for; only its task learns more.
    names: Mutex<Resolved>,
    /// Cancelled when nobody has the cluster any more.
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Members {
    assignment: Arc<LoadAssignment>,
    set: Arc<EndpointSet>,
    /// Number of the last ejection or return that the grouping knows of.
    changes: u64,
}

// === impl Cluster ===

impl Cluster {
    /// Makes a cluster; `previous` is the one of the same name, whose counts and endpoints' states go on.
    pub fn new(
        model: Arc<model::Cluster>,
        previous: Option<&Self>,
        provider: &Arc<CryptoProvider>,
        secrets: &SecretStore,
    ) -> Arc<Self> {
        let context = |tls: &Option<Arc<crate::model::tls::UpstreamTls>>| {
            tls.as_ref()
                .map(|tls| ClientContext::new(tls.clone(), provider.clone(), secrets))
        };
        let mut contexts: Vec<_> = model
            .transport
            .matches
            .iter()
            .map(|entry| context(&entry.tls))
            .collect();
        contexts.push(context(&model.transport.default));
        let detector = model.outlier.as_ref().map(|rule| {
            let carried = previous.and_then(|previous| previous.detector.clone());
            let carried = carried.filter(|detector| detector.rule == *rule);
            carried.unwrap_or_else(|| Arc::new(Detector::new(rule.clone(), Instant::now())))
        });
        let monitors = match (&detector, previous.map(|previous| &previous.detector)) {
            (None, _) => Monitors::None,
            (Some(detector), Some(Some(before))) if Arc::ptr_eq(detector, before) => Monitors::Carried,
            (Some(_), _) => Monitors::New,
        };
        let known = previous.map_or_else(Resolved::new, |previous| {
            dns::carried(&model.discovery, &previous.model.discovery, &previous.names.lock())
        });
        let found = dns::assignment(&model.name, &model.discovery, &known);
        let cluster = Arc::new(Self {
            names: Mutex::new(known),
            gone: CancellationToken::new(),
            state: previous.map_or_else(Arc::default, |previous| previous.state.clone()),
            contexts,
            endpoints: ArcSwap::from_pointee(Members::default()),
            grouping: Mutex::default(),
            detector,
            changed: Notify::new(),
            looked_up: previous.map_or_else(CancellationToken::new, |previous| previous.looked_up.clone()),
            model,
        });
        if !cluster.model.discovery.is_dns() {
            cluster.looked_up.cancel();
        }
        let assignment = match (&cluster.model.discovery, previous) {
            (Discovery::Static(assignment), _) => Arc::new(assignment.clone()),
            (Discovery::StrictDns { .. } | Discovery::LogicalDns { .. }, _) => found.map(Arc::new).unwrap_or_default(),
            (_, Some(previous)) => previous.endpoints.load().assignment.clone(),
            (_, None) => Arc::default(),
        };
        let before = previous
            .map(|previous| previous.endpoints.load().set.clone())
            .unwrap_or_default();
        cluster.assign(assignment, &before, monitors);
        cluster
    }

    /// Replaces the endpoints with what discovery found.
    pub fn update(&self, assignment: Arc<LoadAssignment>) {
        let _alone = self.grouping.lock();
        self.regroup(assignment);
    }

    /// Replaces the endpoints unless they are the very same.
    pub fn update_if_changed(&self, assignment: &Arc<LoadAssignment>) {
        if !Arc::ptr_eq(&self.endpoints.load().assignment, assignment) {
            self.update(assignment.clone());
        }
    }

    fn assign(&self, assignment: Arc<LoadAssignment>, before: &EndpointSet, monitors: Monitors) {
        // Read before the endpoints are, so that what changes meanwhile is seen as a change.
        let changes = self.detector.as_ref().map_or(0, |detector| detector.changes());
        let panic = self.model.panic_threshold_percent;
        let transport = &self.model.transport;
        let set = EndpointSet::new(&assignment, transport, &self.contexts, panic, before, monitors);
        self.endpoints.store(Arc::new(Members {
            assignment,
            set: Arc::new(set),
            changes,
        }));
        self.changed.notify_waiters();
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.endpoints.load().set.clone()
    }

    /// A name of a DNS cluster stands for these addresses now, which may be none.
    pub fn resolved(&self, host: &Arc<str>, addresses: Vec<IpAddr>) {
        let mut names = self.names.lock();
        if dns::learn(&mut names, &self.model.discovery, host, addresses)
            && let Some(assignment) = dns::assignment(&self.model.name, &self.model.discovery, &names)
        {
            self.update(Arc::new(assignment));
        }
    }

    /// Cancelled when nobody has the cluster any more.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// The names were looked up, with or without success.
    pub fn looked_up(&self) {
        self.looked_up.cancel();
    }

    /// Chooses an endpoint: after `looks` more looks that hit one in `avoid`, whichever other there is. A DNS cluster whose names were
    /// never looked up has none yet: that is waited for, at most for the connect timeout (Envoy takes a cluster into use only after
    /// it, "Cluster manager", cluster warming).
    pub async fn endpoint(&self, avoid: &[u64], looks: u32, mut random: impl FnMut() -> u64) -> Option<Arc<Endpoint>> {
        let chosen = self.choose(avoid, looks, &mut random);
        if chosen.is_some() || self.looked_up.is_cancelled() {
            return chosen;
        }
        // Late or not, what is there now is used.
        let _ = tokio::time::timeout(self.model.connect_timeout, self.looked_up.cancelled()).await;
        self.choose(avoid, looks, random)
    }

    fn choose(&self, avoid: &[u64], looks: u32, mut random: impl FnMut() -> u64) -> Option<Arc<Endpoint>> {
        let members = self.endpoints.load();
        let mut choose = || balance::choose(&members.set, &self.model.balancer, &self.state.turn, &mut random);
        let mut chosen = choose()?;
        for _ in 0..looks {
            if !avoid.contains(&chosen.state.id) {
                return Some(chosen.clone());
            }
            chosen = choose()?;
        }
        if looks > 0 && avoid.contains(&chosen.state.id) {
            chosen = balance::other_than(&members.set, avoid, random()).unwrap_or(chosen);
        }
        Some(chosen.clone())
    }

    /// Whether `tried` are all the healthy endpoints that there are, and discovery may bring others.
    pub fn is_exhausted(&self, tried: &[u64]) -> bool {
        matches!(self.model.discovery, Discovery::Eds(_) | Discovery::StrictDns { .. }) && !self.has_other_than(tried)
    }

    /// Waits until there is a healthy endpoint that is not in `tried`. Endpoints of this generation of the cluster count.
    pub async fn other_than(&self, tried: &[u64]) {
        loop {
            // Registered before the look, so that no change falls between the two.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_other_than(tried) {
                return;
            }
            changed.await;
        }
    }

    fn has_other_than(&self, tried: &[u64]) -> bool {
        let members = self.endpoints.load();
        let mut endpoints = members.set.endpoints.iter();
        endpoints.any(|endpoint| !tried.contains(&endpoint.state.id) && endpoint.is_healthy())
    }

    /// Whether passive health is watched, and so reports are of use.
    pub fn is_watched(&self) -> bool {
        self.detector.is_some()
    }

    /// Reports how a request or a connection to an endpoint went. Costs nothing where no rule asks for it.
    pub fn report(&self, endpoint: &Endpoint, report: Report, now: Instant, mut random: impl FnMut() -> u64) {
        let (Some(detector), Some(monitor)) = (&self.detector, &endpoint.monitor) else {
            return;
        };
        // That there is a connection says something only where origins are told apart.
        if report == Report::Connected && !detector.rule.split_external_local_origin_errors {
            return;
        }
        let suspicions = monitor.lock().record(&detector.rule, report);
        if suspicions.iter().any(Option::is_some) {
            let _alone = self.grouping.lock();
            let set = self.endpoints();
            for cause in suspicions.into_iter().flatten() {
                detector.suspect(&set, endpoint, cause, now, &mut random);
            }
            self.regroup_if_changed(detector);
        } else if detector.changes() != self.endpoints.load().changes {
            // Another generation of this cluster, which has still requests, has ejected one.
            let _alone = self.grouping.lock();
            self.regroup_if_changed(detector);
        }
    }

    /// Brings endpoints back whose ejection is over and ejects those that fail too often, once an interval. Gives when that is due
    /// again; `None` where no rule asks for it.
    pub fn sweep(&self, now: Instant, mut random: impl FnMut() -> u64) -> Option<Instant> {
        let detector = self.detector.as_ref()?;
        let (is_due, next) = detector.turn(now);
        if is_due {
            let _alone = self.grouping.lock();
            detector.sweep(&self.endpoints(), now, &mut random);
            self.regroup_if_changed(detector);
        }
        Some(next)
    }

    /// Passive health, where a rule asks for it.
    pub fn detector(&self) -> Option<&Arc<Detector>> {
        self.detector.as_ref()
    }

    fn regroup_if_changed(&self, detector: &Detector) {
        let members = self.endpoints.load();
        if detector.changes() != members.changes {
            self.regroup(members.assignment.clone());
        }
    }

    fn regroup(&self, assignment: Arc<LoadAssignment>) {
        let monitors = match self.detector {
            None => Monitors::None,
            Some(_) => Monitors::Carried,
        };
        self.assign(assignment, &self.endpoints(), monitors);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weft_base::shutdown::Shutdown;
    use weft_proto::xds::envoy::config::cluster::v3::{self as pb, cluster as inner};

    use super::*;
    use crate::model::cluster::{EndpointAddress, Health, LocalityEndpoints};
    use crate::model::convert;
    use crate::model::outlier::OutlierDetection;

    /// Ejects at the first failure, for ten seconds.
    fn rule() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 1,
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_secs(10),
            ejection_percent_max: 100,
            ..OutlierDetection::default()
        }
    }

    fn cluster(outlier: Option<OutlierDetection>, previous: Option<&Cluster>) -> Arc<Cluster> {
        let source = pb::Cluster {
            name: "c".to_owned(),
            cluster_discovery_type: Some(inner::ClusterDiscoveryType::Type(
                inner::DiscoveryType::OriginalDst as i32,
            )),
            lb_policy: inner::LbPolicy::ClusterProvided as i32,
            ..pb::Cluster::default()
        };
        let mut model = convert::cluster(&source, &convert::Path::default()).unwrap();
        model.discovery = Discovery::Eds(Arc::from("c"));
        model.balancer = model::Balancer::RoundRobin;
        model.panic_threshold_percent = 0;
        model.outlier = outlier;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Cluster::new(
            Arc::new(model),
            previous,
            &provider,
            &SecretStore::new(&Shutdown::new()),
        )
    }

    fn assignment(ports: &[u16]) -> Arc<LoadAssignment> {
        let endpoint = |port: &u16| model::Endpoint {
            address: EndpointAddress::Socket(([127, 0, 0, 1], *port).into()),
            hostname: Arc::from(""),
            weight: 1,
            health: Health::Healthy,
            transport_labels: Vec::new(),
            workload: None,
        };
        Arc::new(LoadAssignment {
            name: Arc::from("c"),
            localities: vec![LocalityEndpoints {
                endpoints: ports.iter().map(endpoint).collect(),
                ..LocalityEndpoints::default()
            }],
            overprovisioning_percent: 140,
        })
    }

    fn fail(cluster: &Cluster, at: usize) {
        let endpoint = cluster.endpoints().endpoints[at].clone();
        cluster.report(&endpoint, Report::Failed, Instant::now(), || 0);
    }

    /// How many endpoints get requests.
    fn usable(cluster: &Cluster) -> usize {
        cluster.endpoints().priorities[0].usable.len()
    }

    /// A cluster of two endpoints, of which the first is ejected.
    fn ejected() -> Arc<Cluster> {
        let first = cluster(Some(rule()), None);
        first.update(assignment(&[1, 2]));
        fail(&first, 0);
        assert_eq!(usable(&first), 1);
        first
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_ends_with_its_rule() {
        let first = ejected();
        let check = |rule: Option<OutlierDetection>, expected: usize| {
            assert_eq!(usable(&cluster(rule.clone(), Some(&first))), expected, "{rule:?}");
        };
        check(Some(rule()), 1);
        check(None, 2);
        let other = OutlierDetection {
            consecutive_5xx: 9,
            ..rule()
        };
        check(Some(other), 2);
        let without = cluster(None, Some(&first));
        fail(&without, 0);
        assert_eq!(usable(&without), 2, "no rule counts");
        assert_eq!(usable(&cluster(Some(rule()), Some(&without))), 2, "the rule is new");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_is_of_an_endpoint_for_as_long_as_it_is_there() {
        let first = ejected();
        first.update(assignment(&[2, 1]));
        assert_eq!(usable(&first), 1, "the same endpoint elsewhere in the list");
        first.update(assignment(&[2, 3]));
        assert_eq!(usable(&first), 2);
        first.update(assignment(&[1, 2]));
        assert_eq!(usable(&first), 2, "it has left and come again");
    }

    #[tokio::test(start_paused = true)]
    async fn generations_share_what_they_know() {
        let first = cluster(Some(rule()), None);
        first.update(assignment(&[1, 2]));
        let second = cluster(Some(rule()), Some(&first));
        fail(&first, 0);
        let endpoint = second.endpoints().endpoints[1].clone();
        second.report(&endpoint, Report::Status(200), Instant::now(), || 0);
        assert_eq!(usable(&second), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn sweeps_bring_endpoints_back() {
        let first = ejected();
        let begun = Instant::now();
        let mut now = begun;
        while usable(&first) < 2 {
            now = first.sweep(now, || 0).unwrap();
            assert!(now <= begun + Duration::from_secs(12), "it stays ejected");
        }
        assert!(now >= begun + Duration::from_secs(10), "{:?}", now - begun);
        assert_eq!(cluster(None, None).sweep(now, || 0), None);
    }
}
