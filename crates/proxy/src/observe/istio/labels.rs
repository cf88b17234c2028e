//! The labels of Istio's standard metrics (<https://istio.io/latest/docs/reference/config/metrics/>): names, order, and what stands
//! where something is not known. Pure.

use weft_proto::cluster_name::{BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH};

use crate::model::cluster::Cluster;
use crate::model::metadata::WorkloadRef;
use crate::stats::prometheus::label;

const UNKNOWN: &str = "unknown";

/// Which side of a request reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    /// The client's side, and gateways.
    Source,
    /// The server's side.
    Destination,
}

/// What the names of routes say of requests to nowhere in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum CatchAll {
    /// A route like others.
    #[default]
    No,
    /// `block_all`.
    Blocked,
    /// `allow_any`.
    Passed,
}

/// Names of the service that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service<'a> {
    /// The fully qualified name.
    pub host: Option<&'a str>,
    pub name: Option<&'a str>,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parties<'a> {
    pub reporter: Reporter,
    /// The workload of this proxy.
    pub local: &'a WorkloadRef,
    /// The other workload, as far as known.
    pub peer: Option<&'a WorkloadRef>,
    /// URI name of this proxy's certificate on the connection between them.
    pub local_san: Option<&'a str>,
    /// URI name of the peer's verified certificate.
    pub peer_san: Option<&'a str>,
    pub service: Service<'a>,
}

// === impl CatchAll ===

impl CatchAll {
    /// What the name of a route says.
    pub(crate) fn of_route(name: Option<&str>) -> Self {
        match name {
            Some("block_all") => Self::Blocked,
            Some("allow_any") => Self::Passed,
            _ => Self::No,
        }
    }
}

// === impl Service ===

impl<'a> Service<'a> {
    /// The service of a request: what the cluster's metadata says, else the host of the request, where that may be used.
    pub(crate) fn of(cluster: Option<&'a Cluster>, catch_all: CatchAll, host: Option<&'a str>) -> Self {
        let named = |name| Self { host, name: Some(name) };
        match catch_all {
            CatchAll::Blocked => return named(BLACK_HOLE),
            CatchAll::Passed => return named(PASSTHROUGH),
            CatchAll::No => {}
        }
        let Some(cluster) = cluster else {
            return Self { host, name: host };
        };
        if let BLACK_HOLE | PASSTHROUGH | INBOUND_PASSTHROUGH = &*cluster.name {
            return named(&cluster.name);
        }
        match cluster.services.first() {
            Some(service) if !service.host.is_empty() => {
                let short = service.host.split('.').next();
                let name = Some(&*service.name).filter(|name| !name.is_empty()).or(short);
                Self {
                    host: Some(&service.host),
                    name,
                }
            }
            _ => Self { host, name: host },
        }
    }
}

// === impl Parties ===

impl Parties<'_> {
    /// The twenty labels that all metrics of a request have, `reporter` to `destination_cluster`.
    pub(crate) fn labels(&self) -> String {
        let mut out = String::with_capacity(1024);
        let (local, peer) = (Some(self.local), self.peer);
        let peer_namespace = self
            .peer_san
            .and_then(namespace_of)
            .or_else(|| peer.map(|peer| &*peer.namespace));
        let local_namespace = Some(&*self.local.namespace);
        match self.reporter {
            Reporter::Source => {
                label(&mut out, "reporter", "source");
                workload(&mut out, "source", local, local_namespace, self.local_san);
                workload(&mut out, "destination", peer, peer_namespace, self.peer_san);
            }
            Reporter::Destination => {
                label(&mut out, "reporter", "destination");
                workload(&mut out, "source", peer, peer_namespace, self.peer_san);
                workload(&mut out, "destination", local, local_namespace, self.local_san);
            }
        }
        // The server knows its own name where the request's service is not known.
        let (fallback, namespace) = match self.reporter {
            Reporter::Source => (UNKNOWN, peer_namespace),
            Reporter::Destination => (known(Some(&self.local.canonical_name)), local_namespace),
        };
        label(&mut out, "destination_service", self.service.host.unwrap_or(fallback));
        label(
            &mut out,
            "destination_service_name",
            self.service.name.unwrap_or(fallback),
        );
        label(&mut out, "destination_service_namespace", known(namespace));
        out
    }

    /// `connection_security_policy`: only the server's side tells it (Istio's rule).
    pub(crate) fn security_policy(&self) -> &'static str {
        match self.reporter {
            Reporter::Source => UNKNOWN,
            Reporter::Destination if self.peer_san.is_some() && self.local_san.is_some() => "mutual_tls",
            Reporter::Destination => "none",
        }
    }
}

/// The eight labels of one side.
fn workload(
    out: &mut String,
    side: &str,
    workload: Option<&WorkloadRef>,
    namespace: Option<&str>,
    principal: Option<&str>,
) {
    let mut add = |name: &str, value: &str| label(out, &format!("{side}_{name}"), value);
    let of = |field: fn(&WorkloadRef) -> &str| known(workload.map(field));
    add("workload", of(|workload| &workload.name));
    add("workload_namespace", known(namespace));
    add("principal", known(principal));
    add("app", of(|workload| &workload.app));
    add("version", of(|workload| &workload.version));
    add("canonical_service", of(|workload| &workload.canonical_name));
    let revision = workload
        .map(|workload| &*workload.canonical_revision)
        .filter(|name| !name.is_empty());
    add("canonical_revision", revision.unwrap_or("latest"));
    add("cluster", of(|workload| &workload.cluster));
}

fn known(value: Option<&str>) -> &str {
    value.filter(|value| !value.is_empty()).unwrap_or(UNKNOWN)
}

/// The namespace of a SPIFFE id, `.../ns/<namespace>/...`.
fn namespace_of(principal: &str) -> Option<&str> {
    let (_, rest) = principal.split_once("/ns/")?;
    rest.split('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn workload_of(name: &str) -> WorkloadRef {
        WorkloadRef {
            name: format!("{name}-v1").into(),
            namespace: "default".into(),
            canonical_name: name.into(),
            canonical_revision: "v1".into(),
            cluster: "Kubernetes".into(),
            app: name.into(),
            version: "".into(),
        }
    }

    fn check(parties: Parties<'_>, expected: &Expect) {
        let text = format!("{},{}", parties.labels(), parties.security_policy());
        expected.assert_eq(&text.replace("\",", "\"\n"));
        assert_eq!(parties.labels().matches("=\"").count(), 20);
    }

    #[test]
    fn both_sides_name_both_workloads() {
        let (client, server) = (workload_of("client"), workload_of("callme"));
        let service = Service {
            host: Some("callme.default.svc.cluster.local"),
            name: Some("callme"),
        };
        let (own, other) = ("spiffe://td/ns/default/sa/client", "spiffe://td/ns/other/sa/callme");
        let source = Parties {
            reporter: Reporter::Source,
            local: &client,
            peer: Some(&server),
            local_san: Some(own),
            peer_san: Some(other),
            service,
        };
        check(
            source,
            &expect![[r#"
                reporter="source"
                source_workload="client-v1"
                source_workload_namespace="default"
                source_principal="spiffe://td/ns/default/sa/client"
                source_app="client"
                source_version="unknown"
                source_canonical_service="client"
                source_canonical_revision="v1"
                source_cluster="Kubernetes"
                destination_workload="callme-v1"
                destination_workload_namespace="other"
                destination_principal="spiffe://td/ns/other/sa/callme"
                destination_app="callme"
                destination_version="unknown"
                destination_canonical_service="callme"
                destination_canonical_revision="v1"
                destination_cluster="Kubernetes"
                destination_service="callme.default.svc.cluster.local"
                destination_service_name="callme"
                destination_service_namespace="other"
                unknown"#]],
        );
        // Of a peer that told nothing the certificate still tells the namespace.
        let destination = Parties {
            reporter: Reporter::Destination,
            local: &server,
            peer: None,
            local_san: Some(other),
            peer_san: Some(own),
            service: Service::default(),
        };
        check(
            destination,
            &expect![[r#"
                reporter="destination"
                source_workload="unknown"
                source_workload_namespace="default"
                source_principal="spiffe://td/ns/default/sa/client"
                source_app="unknown"
                source_version="unknown"
                source_canonical_service="unknown"
                source_canonical_revision="latest"
                source_cluster="unknown"
                destination_workload="callme-v1"
                destination_workload_namespace="default"
                destination_principal="spiffe://td/ns/other/sa/callme"
                destination_app="callme"
                destination_version="unknown"
                destination_canonical_service="callme"
                destination_canonical_revision="v1"
                destination_cluster="Kubernetes"
                destination_service="callme"
                destination_service_name="callme"
                destination_service_namespace="default"
                mutual_tls"#]],
        );
    }

    #[test]
    fn services_have_fallbacks() {
        let of = |catch_all, host| Service::of(None, catch_all, host);
        let service = |host, name| Service { host, name };
        assert_eq!(
            of(CatchAll::No, Some("a.example")),
            service(Some("a.example"), Some("a.example"))
        );
        assert_eq!(
            of(CatchAll::Blocked, Some("a")),
            service(Some("a"), Some("BlackHoleCluster"))
        );
        assert_eq!(of(CatchAll::Passed, None), service(None, Some("PassthroughCluster")));
        assert_eq!(of(CatchAll::No, None), Service::default());
        for (principal, namespace) in [
            ("spiffe://td/ns/a/sa/b", Some("a")),
            ("spiffe://td/ns//sa/b", None),
            ("spiffe://td/workload", None),
        ] {
            assert_eq!(namespace_of(principal), namespace, "{principal}");
        }
    }
}
