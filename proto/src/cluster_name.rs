//! Names of the mesh's clusters, as Istio has them: built where clusters are made, and taken apart by whoever is told one.
//!
//! Nothing here allocates but `to_string` and [`Outbound::server_name`].

use std::fmt;

/// Name of the cluster that leads where the client meant to go.
pub const PASSTHROUGH: &str = "PassthroughCluster";

/// Name of the same within the pod.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Name of the cluster that leads nowhere.
pub const BLACK_HOLE: &str = "BlackHoleCluster";

/// What the name of a cluster says. Displayed it is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClusterName<'a> {
    /// A port of a service: `outbound|PORT|SUBSET|HOST`.
    Outbound(Outbound<'a>),
    /// A port of the workload itself: `inbound|PORT||`.
    Inbound {
        /// The application's port; a stand-in for it where that is chosen anew at each start.
        port: u16,
    },
    /// [`PASSTHROUGH`].
    Passthrough,
    /// [`INBOUND_PASSTHROUGH`].
    InboundPassthrough,
    /// [`BLACK_HOLE`].
    BlackHole,
}

/// A port of a service, or of a subset of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outbound<'a> {
    /// The service's port.
    pub port: u16,
    /// The subset, a DNS label (RFC 1123); never empty.
    pub subset: Option<&'a str>,
    /// The service's host name in full.
    pub host: &'a str,
}

// === impl ClusterName ===

impl<'a> ClusterName<'a> {
    /// What a name says; `None` for one that is not built like this, as clusters of an Envoy configuration or of the mesh's own servers.
    pub fn parse(name: &'a str) -> Option<Self> {
        match name {
            PASSTHROUGH => return Some(Self::Passthrough),
            INBOUND_PASSTHROUGH => return Some(Self::InboundPassthrough),
            BLACK_HOLE => return Some(Self::BlackHole),
            _ => {}
        }
        let mut parts = name.split('|');
        let (direction, port) = (parts.next()?, parts.next()?);
        let (subset, host) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        match (direction, subset, host) {
            ("outbound", _, "") => None,
            ("outbound", _, _) => Some(Self::Outbound(Outbound::new(parse_port(port)?, Some(subset), host))),
            ("inbound", "", "") => Some(Self::Inbound {
                port: parse_port(port)?,
            }),
            _ => None,
        }
    }

    /// The port in the name.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Outbound(outbound) => Some(outbound.port),
            Self::Inbound { port } => Some(port),
            Self::Passthrough | Self::InboundPassthrough | Self::BlackHole => None,
        }
    }
}

impl fmt::Display for ClusterName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound(outbound) => outbound.fmt(f),
            Self::Inbound { port } => write!(f, "inbound|{port}||"),
            Self::Passthrough => f.write_str(PASSTHROUGH),
            Self::InboundPassthrough => f.write_str(INBOUND_PASSTHROUGH),
            Self::BlackHole => f.write_str(BLACK_HOLE),
        }
    }
}

// === impl Outbound ===

impl<'a> Outbound<'a> {
    /// A port of a service or, where `subset` has a name, of that subset.
    pub fn new(port: u16, subset: Option<&'a str>, host: &'a str) -> Self {
        let subset = subset.filter(|subset| !subset.is_empty());
        Self { port, subset, host }
    }

    /// The server name (SNI) by which clients of the mesh ask for it: `outbound_.PORT_.SUBSET_.HOST`.
    pub fn server_name(self) -> String {
        let Self { port, subset, host } = self;
        format!("outbound_.{port}_.{}_.{host}", subset.unwrap_or_default())
    }
}

impl fmt::Display for Outbound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, subset, host } = self;
        write!(f, "outbound|{port}|{}|{host}", subset.unwrap_or_default())
    }
}

/// A port as it is written: digits alone, and no zero before them.
fn parse_port(text: &str) -> Option<u16> {
    let padded = text.starts_with('0') && text.len() > 1;
    (!padded && !text.starts_with('+')).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_istio() {
        let check = |name: ClusterName<'_>, expected: &str| assert_eq!(name.to_string(), expected);
        let host = "callme.default.svc.cluster.local";
        let subset = Outbound::new(80, Some("v1"), host);
        check(
            ClusterName::Outbound(subset),
            "outbound|80|v1|callme.default.svc.cluster.local",
        );
        check(
            ClusterName::Outbound(Outbound::new(443, None, "*.example.com")),
            "outbound|443||*.example.com",
        );
        check(ClusterName::Inbound { port: 8080 }, "inbound|8080||");
        check(ClusterName::Passthrough, "PassthroughCluster");
        check(ClusterName::InboundPassthrough, "InboundPassthroughCluster");
        check(ClusterName::BlackHole, "BlackHoleCluster");
        assert_eq!(
            subset.server_name(),
            "outbound_.80_.v1_.callme.default.svc.cluster.local"
        );
        assert_eq!(
            Outbound::new(80, Some(""), host).server_name(),
            "outbound_.80_._.callme.default.svc.cluster.local"
        );
    }

    #[test]
    fn other_names_say_nothing() {
        for name in [
            "",
            "weft-telemetry-als",
            "passthroughcluster",
            "PassthroughCluster ",
            "outbound",
            "outbound|80|v1",
            "outbound|80|v1|",
            "outbound|80|v1|host|more",
            "outbound||v1|host",
            "outbound|+80|v1|host",
            "outbound|080|v1|host",
            "outbound|65536|v1|host",
            "outbound_.80_.v1_.host",
            "Outbound|80|v1|host",
            "inbound|80|",
            "inbound|80|||",
            "inbound|80|http|host",
            "inbound-vip|80|http|host",
            "inbound|http|80",
        ] {
            assert_eq!(ClusterName::parse(name), None, "{name}");
        }
    }

    fn built() -> impl Strategy<Value = (u16, Option<String>, String)> {
        let subset = proptest::option::of("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?");
        (any::<u16>(), subset, r"(\*\.)?[a-z0-9_-]{1,8}(\.[a-z0-9-]{1,8}){0,4}")
    }

    proptest! {
        #[test]
        fn what_was_built_is_taken_apart((port, subset, host) in built()) {
            let outbound = ClusterName::Outbound(Outbound::new(port, subset.as_deref(), &host));
            for name in [outbound, ClusterName::Inbound { port }] {
                let text = name.to_string();
                prop_assert_eq!(ClusterName::parse(&text), Some(name));
                prop_assert_eq!(name.port(), Some(port));
            }
        }

        #[test]
        fn what_is_taken_apart_was_built(name in r"(outbound|inbound|x)(\|[+0-9a-z.]{0,5}){1,5}") {
            if let Some(parsed) = ClusterName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }

    #[test]
    fn fixed_names_are_taken_apart() {
        for name in [
            ClusterName::Passthrough,
            ClusterName::InboundPassthrough,
            ClusterName::BlackHole,
        ] {
            assert_eq!(ClusterName::parse(&name.to_string()), Some(name));
            assert_eq!(name.port(), None);
        }
    }
}
