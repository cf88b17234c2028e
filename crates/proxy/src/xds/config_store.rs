//! All resources that the proxy knows, static and discovered, as the checked model.
//!
//! What of a resource cannot be used is rejected by its place; of that the last good form stays (`keep`), and the rest is used. What waits
//! for others is not used yet (`warming`).

mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_proto::ads::Kind;

use super::check::{self, Checked, Read};
use super::keep;
pub use super::resource::{Origin, Resource};
use super::session::Names;
use super::warming::Warm;
use crate::compile::Resources;
use crate::dns::NameHandle;
use crate::model::bootstrap::Bootstrap;
use crate::model::cluster::Discovery;
use crate::model::convert;
use crate::model::secret::SdsSource;
use crate::secrets::SecretStore;

/// Everything that is known.
#[derive(Debug)]
pub struct ConfigStore {
    fixed: Resources,
    known: Resources,
    warm: Warm,
    /// What the resources in use were made of; not for secrets, whose keys are to be in one place only.
    origins: BTreeMap<(Kind, Arc<str>), Origin>,
    /// What is refused; not for secrets either.
    failures: BTreeMap<(Kind, Arc<str>), Failure>,
    refused_secrets: BTreeSet<Arc<str>>,
    /// Types of which the first answer has not come yet, or not all of it.
    expected: BTreeSet<Kind>,
    /// Those of them of which something came.
    coming: BTreeSet<Kind>,
    secrets: SecretStore,
    names: Option<NameHandle>,
    /// The uid of the proxy's own pod, and whom to tell that its application has ended.
    application: Option<(Arc<str>, CancellationToken)>,
    tolerate: bool,
}

/// A resource that is refused, as a whole or in part, as it came last.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Every part that is refused, with its place.
    pub reasons: Vec<String>,
    /// The resource itself, for people: nothing of it need be in use.
    pub origin: Origin,
}

/// What an update did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Names and versions of resources that are taken whole.
    pub accepted: Vec<(Arc<str>, String)>,
    /// Of all others their names, with each part that is refused and its place. The parts beside are in use.
    pub rejected: Vec<(Arc<str>, String)>,
}

/// Whether resources of a type are remembered as they came.
fn has_origin(kind: Kind) -> bool {
    !matches!(kind, Kind::Secret | Kind::Names | Kind::ApplicationEnded)
}

// === impl ConfigStore ===

impl ConfigStore {
    /// A store with the bootstrap's static resources. With `tolerate` unsupported fields of discovered resources are left out with a
    /// warning.
    pub fn new(bootstrap: &Bootstrap, secrets: SecretStore, tolerate: bool) -> Self {
        let listeners = bootstrap.listeners.iter();
        let clusters = bootstrap.clusters.iter();
        Self {
            fixed: Resources {
                listeners: listeners
                    .map(|listener| (listener.name.clone(), Arc::new(listener.clone())))
                    .collect(),
                clusters: clusters
                    .map(|cluster| (cluster.name.clone(), Arc::new(cluster.clone())))
                    .collect(),
                ..Resources::default()
            },
            known: Resources::default(),
            warm: Warm::default(),
            origins: BTreeMap::new(),
            failures: BTreeMap::new(),
            refused_secrets: BTreeSet::new(),
            expected: BTreeSet::new(),
            coming: BTreeSet::new(),
            secrets,
            names: None,
            application: None,
            tolerate,
        }
    }

    /// Asks for names, too, and keeps them there.
    pub fn follow_names(&mut self, names: NameHandle) {
        self.names = Some(names);
    }

    /// Asks whether the application of the pod with this uid has ended, and cancels `ended` once it has.
    pub fn follow_application(&mut self, uid: Arc<str>, ended: CancellationToken) {
        self.application = Some((uid, ended));
    }

    /// Whether names are asked for.
    pub fn follows_names(&self) -> bool {
        self.names.is_some()
    }

    /// Takes resources of one type. With `whole` those that are not among them are gone.
    pub fn update(&mut self, kind: Kind, resources: &[Resource], removed: &[Arc<str>], whole: bool) -> Applied {
        let mut applied = Applied::default();
        let mut named = BTreeSet::new();
        for resource in resources {
            let Read {
                name,
                taken,
                stand_in,
                mut refused,
            } = check::read(kind, resource, self.tolerate);
            named.insert(name.clone());
            if self.is_static(kind, &name) {
                refused = vec!["the name belongs to a static resource".to_owned()];
            } else if taken.is_some_and(|checked| self.insert(&name, checked)) {
                self.remember(kind, &name, resource);
            } else if !self.is_known(kind, &name)
                && let Some(closed) = stand_in
            {
                self.close(&name, closed);
            }
            if !self.is_known(kind, &name) {
                self.origins.remove(&(kind, name.clone()));
            }
            self.judge(kind, &name, resource, &refused);
            if refused.is_empty() {
                applied.accepted.push((name.clone(), resource.version.clone()));
            }
            applied
                .rejected
                .extend(refused.into_iter().map(|reason| (name.clone(), reason)));
        }
        // One whose name cannot be read may be any of those that are there.
        if whole && kind.is_wildcard() && !named.contains("") {
            // A rejected resource keeps its last good form, so it counts as named.
            self.known
                .listeners
                .retain(|name, _| kind != Kind::Listener || named.contains(name));
            self.known
                .clusters
                .retain(|name, _| kind != Kind::Cluster || named.contains(name));
            self.origins.retain(|(of, name), _| *of != kind || named.contains(name));
            self.failures
                .retain(|(of, name), _| *of != kind || named.contains(name));
        }
        for name in removed {
            self.remove(kind, name);
        }
        if self.expected.contains(&kind) {
            self.coming.insert(kind);
        }
        applied
    }

    /// What serves traffic now: static resources, and discovered ones that have all they need.
    pub fn resources(&mut self, now: Instant) -> Resources {
        self.warm.follow(&self.known, self.expected.is_empty(), now);
        let in_use = self.warm.resources();
        let mut all = self.fixed.clone();
        all.listeners.extend(in_use.listeners.clone());
        all.clusters.extend(in_use.clusters.clone());
        all.routes.clone_from(&in_use.routes);
        all.endpoints.clone_from(&in_use.endpoints);
        all
    }

    /// When what serves traffic changes although nothing comes: a cluster has waited for its endpoints long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.warm.deadline()
    }

    /// The names of a type that the known resources refer to.
    pub fn wanted(&self, kind: Kind) -> Names {
        match kind {
            Kind::Cluster | Kind::Listener | Kind::Names => Names::new(),
            Kind::Endpoints => {
                let clusters = self.fixed.clusters.values().chain(self.known.clusters.values());
                let services = clusters.filter_map(|cluster| match &cluster.discovery {
                    Discovery::Eds(service) => Some(service.clone()),
                    Discovery::Static(_)
                    | Discovery::StrictDns { .. }
                    | Discovery::LogicalDns { .. }
                    | Discovery::OriginalDst { .. } => None,
                });
                services.collect()
            }
            Kind::Routes => {
                let listeners = self.fixed.listeners.values().chain(self.known.listeners.values());
                listeners.flat_map(|listener| listener.route_names().cloned()).collect()
            }
            Kind::Secret => self.secrets.wanted(&SdsSource::Ads),
            Kind::ApplicationEnded => self.application.iter().map(|(uid, _)| uid.clone()).collect(),
        }
    }

    /// Takes secrets of a discovery service of their own.
    pub fn update_secrets(&mut self, source: &SdsSource, resources: &[Resource]) -> Applied {
        let mut applied = Applied::default();
        for resource in resources {
            let Read {
                name, taken, refused, ..
            } = check::read(Kind::Secret, resource, self.tolerate);
            if let Some(Checked::Secret(secret)) = taken {
                self.secrets.deliver(source, &name, secret);
                self.refused_secrets.remove(&name);
                applied.accepted.push((name, resource.version.clone()));
            } else {
                self.refused_secrets.insert(name.clone());
                applied
                    .rejected
                    .extend(refused.into_iter().map(|reason| (name.clone(), reason)));
            }
        }
        applied
    }

    /// The secrets that contexts ask of a source.
    pub fn secrets_wanted(&self, source: &SdsSource) -> Names {
        self.secrets.wanted(source)
    }

    /// Clusters of the discovery services that contexts ask for secrets.
    pub fn secret_clusters(&self) -> Names {
        self.secrets.clusters_wanted()
    }

    /// Changes when the secrets that are wanted may have.
    pub fn secret_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.secrets.changes()
    }

    /// Discovered resources of a type as they came, by name.
    pub fn origins(&self, kind: Kind) -> Vec<(Arc<str>, Origin)> {
        let of_kind = self.origins.iter().filter(|((of, _), _)| *of == kind);
        of_kind
            .map(|((_, name), origin)| (name.clone(), origin.clone()))
            .collect()
    }

    /// Discovered resources of a type that are refused, by name.
    pub fn failures(&self, kind: Kind) -> Vec<(Arc<str>, Failure)> {
        let of_kind = self.failures.iter().filter(|((of, _), _)| *of == kind);
        of_kind
            .map(|((_, name), failure)| (name.clone(), failure.clone()))
            .collect()
    }

    fn remember(&mut self, kind: Kind, name: &Arc<str>, resource: &Resource) {
        if has_origin(kind) {
            self.origins.insert((kind, name.clone()), Origin::of(resource));
        }
    }

    /// Notes what is refused of a resource, or that nothing is any more.
    fn judge(&mut self, kind: Kind, name: &Arc<str>, resource: &Resource, refused: &[String]) {
        if kind == Kind::Secret {
            if refused.is_empty() {
                self.refused_secrets.remove(name);
            } else {
                self.refused_secrets.insert(name.clone());
            }
        }
        let key = (kind, name.clone());
        if refused.is_empty() || !has_origin(kind) {
            self.failures.remove(&key);
            return;
        }
        let failure = Failure {
            reasons: refused.to_vec(),
            origin: Origin::of(resource),
        };
        self.failures.insert(key, failure);
    }

    fn is_known(&self, kind: Kind, name: &Arc<str>) -> bool {
        match kind {
            Kind::Cluster => self.known.clusters.contains_key(name),
            Kind::Endpoints => self.known.endpoints.contains_key(name),
            Kind::Listener => self.known.listeners.contains_key(name),
            Kind::Routes => self.known.routes.contains_key(name),
            Kind::ApplicationEnded | Kind::Names | Kind::Secret => false,
        }
    }

    fn is_static(&self, kind: Kind, name: &Arc<str>) -> bool {
        match kind {
            Kind::Cluster => self.fixed.clusters.contains_key(name),
            Kind::Listener => self.fixed.listeners.contains_key(name),
            Kind::ApplicationEnded | Kind::Endpoints | Kind::Routes | Kind::Secret | Kind::Names => false,
        }
    }

    /// Takes a resource, with what goes on of the version before; whether it is used at all.
    fn insert(&mut self, name: &Arc<str>, checked: Checked) -> bool {
        let Resources {
            listeners,
            clusters,
            routes,
            endpoints,
        } = &mut self.known;
        match checked {
            Checked::Cluster(cluster) => drop(clusters.insert(name.clone(), Arc::new(cluster))),
            Checked::ClusterSecurity(security) => {
                let kept = clusters.get(name).and_then(|before| keep::cluster(security, before));
                // Without what protects its connections there are none.
                let Some(kept) = kept else {
                    clusters.remove(name);
                    return false;
                };
                clusters.insert(name.clone(), Arc::new(kept));
            }
            Checked::Endpoints(new) => drop(endpoints.insert(name.clone(), Arc::new(new))),
            Checked::Listener(listener) => {
                let Some(kept) = keep::listener(listener, listeners.get(name).map(|before| &**before)) else {
                    return false;
                };
                listeners.insert(name.clone(), Arc::new(kept));
            }
            Checked::Routes(new) => {
                let kept = keep::routes(new, routes.get(name).map(|before| &**before));
                routes.insert(name.clone(), Arc::new(kept));
            }
            Checked::Secret(secret) => self.secrets.deliver(&SdsSource::Ads, name, secret),
            Checked::ApplicationEnded => {
                if let Some((_, ended)) = self.application.as_ref().filter(|(uid, _)| uid == name) {
                    ended.cancel();
                }
            }
            Checked::Names(table) => {
                if let Some(names) = &self.names {
                    names.store(Arc::new(table));
                }
            }
        }
        true
    }

    /// Takes what closes the place of a resource that is refused.
    fn close(&mut self, name: &Arc<str>, stand_in: Checked) {
        if let Checked::Listener(listener) = stand_in {
            self.known.listeners.insert(name.clone(), Arc::new(listener));
        } else {
            self.insert(name, stand_in);
        }
    }

    fn remove(&mut self, kind: Kind, name: &Arc<str>) {
        let key = (kind, name.clone());
        self.origins.remove(&key);
        self.failures.remove(&key);
        match kind {
            // What was asked for and never came is not there: it is not waited for.
            Kind::Cluster => drop(self.known.clusters.remove(name)),
            Kind::Endpoints if !self.is_known(kind, name) && self.wanted(kind).contains(name) => {
                self.close(name, Checked::Endpoints(check::no_endpoints(name)));
            }
            Kind::Routes if !self.is_known(kind, name) && self.wanted(kind).contains(name) => {
                self.close(name, Checked::Routes(convert::closed_routes(name)));
            }
            Kind::Endpoints => drop(self.known.endpoints.remove(name)),
            Kind::Listener => drop(self.known.listeners.remove(name)),
            Kind::Routes => drop(self.known.routes.remove(name)),
            // A secret in use stays until another replaces it: dropping it would break connections that still work.
            Kind::Secret => {}
            // An end is not taken back.
            Kind::ApplicationEnded => {}
            // Without a table nothing is known, and every query is forwarded.
            Kind::Names => {
                if let Some(names) = &self.names {
                    names.store(Arc::default());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::{Message, Name};
    use weft_base::shutdown::Shutdown;
    use weft_proto::xds::envoy::config::core::v3 as core;
    use weft_proto::xds::envoy::config::{cluster, endpoint, listener, route};
    use weft_proto::xds::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
    use weft_proto::xds::google::protobuf::Any;

    use super::super::warming::FETCH_TIMEOUT;
    use super::*;

    fn resource<T: Message + Name>(name: &str, message: &T) -> Resource {
        Resource {
            name: Arc::from(name),
            version: "1".to_owned(),
            body: Any {
                type_url: T::type_url(),
                value: message.encode_to_vec(),
            },
        }
    }

    fn eds_cluster(name: &str) -> Resource {
        use cluster::v3::cluster as inner;
        let message = cluster::v3::Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(inner::ClusterDiscoveryType::Type(inner::DiscoveryType::Eds as i32)),
            eds_cluster_config: Some(inner::EdsClusterConfig {
                eds_config: Some(core::ConfigSource {
                    config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
                        core::AggregatedConfigSource {},
                    )),
                    ..core::ConfigSource::default()
                }),
                service_name: String::new(),
            }),
            ..cluster::v3::Cluster::default()
        };
        resource(name, &message)
    }

    fn store() -> ConfigStore {
        ConfigStore::new(&Bootstrap::default(), SecretStore::new(&Shutdown::new()), false)
    }

    #[tokio::test]
    async fn a_cluster_waits_for_its_endpoints() {
        let mut store = store();
        let applied = store.update(Kind::Cluster, &[eds_cluster("a")], &[], true);
        assert_eq!((applied.accepted.len(), applied.rejected.len()), (1, 0), "{applied:?}");
        assert!(store.resources(Instant::now()).clusters.is_empty());
        assert_eq!(store.wanted(Kind::Endpoints), Names::from([Arc::from("a")]));
        store.update(Kind::Endpoints, &[endpoints_of("a")], &[], false);
        assert!(store.resources(Instant::now()).clusters.contains_key("a"));
        store.update(Kind::Cluster, &[], &[Arc::from("a")], false);
        assert!(store.resources(Instant::now()).clusters.is_empty());
    }

    fn endpoints_of(name: &str) -> Resource {
        let message = endpoint::v3::ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            ..endpoint::v3::ClusterLoadAssignment::default()
        };
        resource(name, &message)
    }

    /// Routes with a virtual host each for name and cluster.
    fn routes(hosts: &[(&str, &str)]) -> Resource {
        let host = |(name, cluster): &(&str, &str)| route::v3::VirtualHost {
            name: (*name).to_owned(),
            domains: vec![(*name).to_owned()],
            routes: vec![route::v3::Route {
                r#match: Some(route::v3::RouteMatch {
                    path_specifier: Some(route::v3::route_match::PathSpecifier::Prefix("/".to_owned())),
                    ..route::v3::RouteMatch::default()
                }),
                action: Some(route::v3::route::Action::Route(route::v3::RouteAction {
                    cluster_specifier: Some(route::v3::route_action::ClusterSpecifier::Cluster(
                        (*cluster).to_owned(),
                    )),
                    ..route::v3::RouteAction::default()
                })),
                ..route::v3::Route::default()
            }],
            ..route::v3::VirtualHost::default()
        };
        let message = route::v3::RouteConfiguration {
            name: "80".to_owned(),
            virtual_hosts: hosts.iter().map(host).collect(),
            ..route::v3::RouteConfiguration::default()
        };
        resource("80", &message)
    }

    #[tokio::test(start_paused = true)]
    async fn a_virtual_host_waits_for_its_clusters() {
        #[track_caller]
        fn check(store: &mut ConfigStore, expected: &[(&str, &str)]) {
            let resources = store.resources(Instant::now());
            let hosts = resources.routes["80"].virtual_hosts.iter();
            let used: Vec<(&str, &str)> = hosts
                .map(|host| (&*host.name, &**host.cluster_names().last().unwrap()))
                .collect();
            assert_eq!(used, expected);
        }
        let mut store = store();
        store.update(Kind::Cluster, &[eds_cluster("a")], &[], false);
        store.update(Kind::Routes, &[routes(&[("h", "a"), ("other", "a")])], &[], false);
        // There is nothing before it that could stay.
        check(&mut store, &[("h", "a"), ("other", "a")]);
        store.update(Kind::Endpoints, &[endpoints_of("a")], &[], false);

        store.update(Kind::Cluster, &[eds_cluster("b")], &[], false);
        store.update(
            Kind::Routes,
            &[routes(&[("h", "b"), ("new", "b"), ("other", "missing")])],
            &[],
            false,
        );
        // Only what waits stays; a cluster that nobody knows is not waited for.
        check(&mut store, &[("h", "a"), ("new", "b"), ("other", "missing")]);
        store.update(Kind::Endpoints, &[endpoints_of("b")], &[], false);
        check(&mut store, &[("h", "b"), ("new", "b"), ("other", "missing")]);

        // What it used goes at the same time, and stays until the change is done.
        store.update(Kind::Cluster, &[eds_cluster("c")], &[Arc::from("b")], false);
        store.update(Kind::Routes, &[routes(&[("h", "c")])], &[], false);
        store.update(Kind::Endpoints, &[], &[Arc::from("b")], false);
        check(&mut store, &[("h", "b")]);
        let resources = store.resources(Instant::now());
        assert!(resources.clusters.contains_key("b") && resources.endpoints.contains_key("b"));
        store.update(Kind::Endpoints, &[endpoints_of("c")], &[], false);
        check(&mut store, &[("h", "c")]);
        let resources = store.resources(Instant::now());
        assert!(!resources.clusters.contains_key("b") && !resources.endpoints.contains_key("b"));
        assert_eq!(store.deadline(), None);

        // Endpoints that never come are not waited for without end.
        store.update(Kind::Cluster, &[eds_cluster("d")], &[], false);
        store.update(Kind::Routes, &[routes(&[("h", "d")])], &[], false);
        let started = Instant::now();
        check(&mut store, &[("h", "c")]);
        assert_eq!(store.deadline(), Some(started + FETCH_TIMEOUT));
        tokio::time::advance(FETCH_TIMEOUT).await;
        check(&mut store, &[("h", "d")]);
        assert!(store.resources(Instant::now()).clusters.contains_key("d"));
        assert_eq!(store.deadline(), None);
        store.update(Kind::Routes, &[], &[Arc::from("80")], false);
        assert!(store.resources(Instant::now()).routes.is_empty());
    }

    /// A listener that forwards bytes.
    fn forwarding(cluster: &str) -> Resource {
        let proxy = TcpProxy {
            stat_prefix: "t".to_owned(),
            cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
            ..TcpProxy::default()
        };
        let filter = listener::v3::Filter {
            name: "tcp".to_owned(),
            config_type: Some(listener::v3::filter::ConfigType::TypedConfig(Any {
                type_url: TcpProxy::type_url(),
                value: proxy.encode_to_vec(),
            })),
        };
        let address = core::SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..core::SocketAddress::default()
        };
        let message = listener::v3::Listener {
            name: "t".to_owned(),
            address: Some(core::Address {
                address: Some(core::address::Address::SocketAddress(address)),
            }),
            filter_chains: vec![listener::v3::FilterChain {
                filters: vec![filter],
                ..listener::v3::FilterChain::default()
            }],
            ..listener::v3::Listener::default()
        };
        resource("t", &message)
    }

    #[tokio::test]
    async fn a_listener_waits_for_its_clusters() {
        #[track_caller]
        fn check(store: &mut ConfigStore, expected: &str) {
            let resources = store.resources(Instant::now());
            let used: Vec<&str> = resources.listeners["t"].cluster_names().map(|name| &**name).collect();
            assert_eq!(used, [expected]);
            assert!(resources.clusters.contains_key(expected));
        }
        let mut store = store();
        store.update(Kind::Cluster, &[eds_cluster("a")], &[], false);
        store.update(Kind::Endpoints, &[endpoints_of("a")], &[], false);
        let applied = store.update(Kind::Listener, &[forwarding("a")], &[], false);
        assert_eq!(applied.rejected, []);
        check(&mut store, "a");
        store.update(Kind::Cluster, &[eds_cluster("b")], &[Arc::from("a")], false);
        store.update(Kind::Listener, &[forwarding("b")], &[], false);
        check(&mut store, "a");
        store.update(Kind::Endpoints, &[endpoints_of("b")], &[], false);
        check(&mut store, "b");
        assert!(!store.resources(Instant::now()).clusters.contains_key("a"));
    }

    #[tokio::test]
    async fn one_bad_resource_does_not_stop_others() {
        let mut store = store();
        let mut bad = cluster::v3::Cluster {
            name: "bad".to_owned(),
            ..cluster::v3::Cluster::default()
        };
        bad.lb_policy = cluster::v3::cluster::LbPolicy::Maglev as i32;
        let applied = store.update(Kind::Cluster, &[resource("bad", &bad), eds_cluster("good")], &[], true);
        assert_eq!(applied.accepted.len(), 1);
        let (name, reason) = &applied.rejected[0];
        assert!(
            &**name == "bad" && reason.contains("lb_policy") || reason.contains("load_assignment"),
            "{reason}"
        );
        assert_eq!(store.wanted(Kind::Endpoints), Names::from([Arc::from("good")]));
    }

    #[tokio::test]
    async fn only_the_own_pod_ends_the_proxy() {
        let mut store = store();
        assert!(store.wanted(Kind::ApplicationEnded).is_empty());
        let ended = CancellationToken::new();
        store.follow_application("u1".into(), ended.clone());
        assert_eq!(store.wanted(Kind::ApplicationEnded), Names::from([Arc::from("u1")]));
        for (uid, expected) in [("u2", false), ("u1", true)] {
            let resource = Resource {
                name: Arc::from(uid),
                version: "1".to_owned(),
                body: Any {
                    type_url: Kind::ApplicationEnded.type_url().to_owned(),
                    value: Vec::new(),
                },
            };
            store.update(Kind::ApplicationEnded, &[resource], &[], false);
            assert_eq!(ended.is_cancelled(), expected, "{uid}");
        }
    }

    #[tokio::test]
    async fn garbage_is_rejected_by_name() {
        let mut store = store();
        let garbage = Resource {
            name: Arc::from("g"),
            version: String::new(),
            body: Any {
                type_url: Kind::Listener.type_url().to_owned(),
                value: vec![0xff; 9],
            },
        };
        let applied = store.update(Kind::Listener, &[garbage], &[], false);
        assert_eq!(applied.rejected.len(), 1);
        assert_eq!(&*applied.rejected[0].0, "g");
    }
}
