//! Which filter chain takes a connection: Envoy's rule, compiled to look-ups.
//!
//! Criteria are tried in a fixed order, the most specific value of each wins, and a choice once made is not taken back
//! (Envoy API, `config.listener.v3.FilterChainMatch`): destination port, destination address, server name, transport
//! protocol, application protocols, direct source address, source type, source address, source port.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::listener::{ChainMatch, SourceType, TransportProtocol};

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Where the client meant to go.
    pub destination: SocketAddr,
    /// The client, as a PROXY protocol header may tell.
    pub source: SocketAddr,
    /// The peer of the socket.
    pub direct_source: SocketAddr,
    /// Server name of the ClientHello, lower case.
    pub server_name: Option<&'a str>,
    /// Whether it is TLS.
    pub transport: TransportProtocol,
    /// Protocols offered by ALPN, or detected.
    pub application_protocols: &'a [Arc<str>],
}

/// Two chains that no connection could tell apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter chains {first} and {second} have the same match")]
pub struct SameMatch {
    /// Index of the first.
    pub first: usize,
    /// Index of the second.
    pub second: usize,
}

/// The compiled matches of a listener's chains.
#[derive(Debug, Default)]
pub struct ChainIndex {
    ports: HashMap<Option<u16>, AddressIndex>,
    /// What refused chains may be for; nearly always empty.
    closed: Vec<ChainMatch>,
    closed_depends_on: DependsOn,
}

#[derive(Debug, Default)]
struct AddressIndex {
    /// Longest prefix first.
    ranges: Vec<(IpNet, NameIndex)>,
    any: Option<NameIndex>,
}

#[derive(Debug, Default)]
struct NameIndex {
    exact: HashMap<Arc<str>, Vec<Candidate>>,
    /// Keyed by the suffix with its leading dot.
    suffix: HashMap<Arc<str>, Vec<Candidate>>,
    any: Vec<Candidate>,
    depends_on: DependsOn,
}

/// What the choice among the chains of one destination depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DependsOn {
    /// Whether it is TLS, and what the ClientHello says.
    pub tls: bool,
    /// Which protocol it speaks in plaintext.
    pub plaintext: bool,
}

/// The criteria after the server name, of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    chain: usize,
    transport: Option<TransportProtocol>,
    application_protocols: Vec<Arc<str>>,
    direct_source_ranges: Vec<IpNet>,
    source_type: SourceType,
    source_ranges: Vec<IpNet>,
    source_ports: Vec<u16>,
}

// === impl ChainIndex ===

impl ChainIndex {
    /// Compiles the matches of chains `0..matches.len()`; refuses two that are the same.
    pub fn compile(matches: &[&ChainMatch]) -> Result<Self, SameMatch> {
        let mut index = Self::default();
        for (chain, criteria) in matches.iter().enumerate() {
            let addresses = index.ports.entry(criteria.destination_port).or_default();
            let ranges: Vec<Option<IpNet>> = or_any(&criteria.destination_ranges);
            for range in ranges {
                let names = addresses.entry(range);
                for name in or_any(&criteria.server_names) {
                    names.insert(name, Candidate::new(chain, criteria))?;
                }
            }
        }
        for addresses in index.ports.values_mut() {
            addresses.ranges.sort_by_key(|(range, _)| Reverse(range.prefix_len()));
        }
        Ok(index)
    }

    /// The same, but that connections are closed which any of these takes.
    pub fn closing(mut self, closed: &[ChainMatch]) -> Self {
        for criteria in closed {
            let depends_on = DependsOn::of(criteria);
            self.closed_depends_on.tls |= depends_on.tls || !criteria.server_names.is_empty();
            self.closed_depends_on.plaintext |= depends_on.plaintext;
        }
        self.closed = closed.to_vec();
        self
    }

    /// Whether a refused chain may be for a connection.
    pub fn closes(&self, facts: &Facts<'_>) -> bool {
        self.closed.iter().any(|criteria| fits(criteria, facts))
    }

    /// The chain of a connection; `None` leaves it to the default chain.
    pub fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        let names = self.names(facts.destination)?;
        narrow(names.candidates(facts.server_name), facts)
    }

    /// What must be known of a connection to a destination before its chain is. A client that waits for the server to speak is
    /// not kept waiting for what would change nothing.
    pub fn depends_on(&self, destination: SocketAddr) -> DependsOn {
        let own = self
            .names(destination)
            .map_or_else(DependsOn::default, |names| names.depends_on);
        DependsOn {
            tls: own.tls || self.closed_depends_on.tls,
            plaintext: own.plaintext || self.closed_depends_on.plaintext,
        }
    }

    fn names(&self, destination: SocketAddr) -> Option<&NameIndex> {
        let port = Some(destination.port());
        let addresses = self.ports.get(&port).or_else(|| self.ports.get(&None))?;
        let ranges = addresses.ranges.iter();
        let mut ranges = ranges.filter(|(range, _)| range.contains(&destination.ip()));
        ranges.next().map(|(_, names)| names).or(addresses.any.as_ref())
    }
}

impl AddressIndex {
    fn entry(&mut self, range: Option<IpNet>) -> &mut NameIndex {
        let Some(range) = range else {
            return self.any.get_or_insert_default();
        };
        let range = range.trunc();
        let at = match self.ranges.iter().position(|(known, _)| *known == range) {
            Some(at) => at,
            None => {
                self.ranges.push((range, NameIndex::default()));
                self.ranges.len() - 1
            }
        };
        &mut self.ranges[at].1
    }
}

impl NameIndex {
    fn insert(&mut self, name: Option<Arc<str>>, candidate: Candidate) -> Result<(), SameMatch> {
        let protocols = !candidate.application_protocols.is_empty();
        self.depends_on.tls |= name.is_some() || candidate.transport.is_some() || protocols;
        self.depends_on.plaintext |= protocols && candidate.transport != Some(TransportProtocol::Tls);
        let candidates = match name {
            None => &mut self.any,
            Some(name) => match name.strip_prefix('*') {
                Some(suffix) => self.suffix.entry(Arc::from(suffix)).or_default(),
                None => self.exact.entry(name).or_default(),
            },
        };
        if let Some(same) = candidates.iter().find(|known| known.same_criteria(&candidate)) {
            return Err(SameMatch {
                first: same.chain,
                second: candidate.chain,
            });
        }
        candidates.push(candidate);
        Ok(())
    }

    fn candidates(&self, server_name: Option<&str>) -> &[Candidate] {
        let Some(name) = server_name else {
            return &self.any;
        };
        if let Some(found) = self.exact.get(name) {
            return found;
        }
        if !self.suffix.is_empty() {
            let dots = name.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| at);
            for at in dots {
                if let Some(found) = self.suffix.get(&name[at..]) {
                    return found;
                }
            }
        }
        &self.any
    }
}

// === impl DependsOn ===

impl DependsOn {
    /// What one match depends on beside the server name.
    fn of(criteria: &ChainMatch) -> Self {
        let protocols = !criteria.application_protocols.is_empty();
        Self {
            tls: criteria.transport.is_some() || protocols,
            plaintext: protocols && criteria.transport != Some(TransportProtocol::Tls),
        }
    }
}

// === impl Candidate ===

impl Candidate {
    fn new(chain: usize, criteria: &ChainMatch) -> Self {
        Self {
            chain,
            transport: criteria.transport,
            application_protocols: criteria.application_protocols.clone(),
            direct_source_ranges: criteria.direct_source_ranges.clone(),
            source_type: criteria.source_type,
            source_ranges: criteria.source_ranges.clone(),
            source_ports: criteria.source_ports.clone(),
        }
    }

    fn same_criteria(&self, other: &Self) -> bool {
        let own = Self {
            chain: other.chain,
            ..self.clone()
        };
        own == *other
    }
}

/// Whether a match takes a connection, whatever other matches there are.
fn fits(criteria: &ChainMatch, facts: &Facts<'_>) -> bool {
    let within =
        |ranges: &[IpNet], address: IpAddr| ranges.is_empty() || ranges.iter().any(|range| range.contains(&address));
    let named = |pattern: &Arc<str>| {
        let is = |name: &str| match pattern.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => *name == **pattern,
        };
        facts.server_name.is_some_and(is)
    };
    let port = criteria.destination_port;
    port.is_none_or(|port| port == facts.destination.port())
        && within(&criteria.destination_ranges, facts.destination.ip())
        && (criteria.server_names.is_empty() || criteria.server_names.iter().any(named))
        && narrow(&[Candidate::new(0, criteria)], facts).is_some()
}

/// Keeps, criterion by criterion, the candidates with the most specific value that fits.
fn narrow(candidates: &[Candidate], facts: &Facts<'_>) -> Option<usize> {
    let mut left: Vec<&Candidate> = candidates.iter().collect();
    keep_best(&mut left, |c| match c.transport {
        None => Some(0),
        Some(transport) => (transport == facts.transport).then_some(1),
    });
    let offered = facts.application_protocols;
    keep_best(&mut left, |c| match c.application_protocols.as_slice() {
        [] => Some(0),
        // The client's first protocol that any chain wants decides, so an earlier one ranks higher.
        wanted => offered
            .iter()
            .position(|protocol| wanted.contains(protocol))
            .map(|at| offered.len() - at),
    });
    keep_best(&mut left, |c| {
        range_rank(&c.direct_source_ranges, facts.direct_source.ip())
    });
    let same_host = facts.source.ip().is_loopback() || facts.source.ip() == facts.destination.ip();
    keep_best(&mut left, |c| match c.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => same_host.then_some(1),
        SourceType::External => (!same_host).then_some(1),
    });
    keep_best(&mut left, |c| range_rank(&c.source_ranges, facts.source.ip()));
    keep_best(&mut left, |c| match c.source_ports.as_slice() {
        [] => Some(0),
        ports => ports.contains(&facts.source.port()).then_some(1),
    });
    left.first().map(|candidate| candidate.chain)
}

fn keep_best(left: &mut Vec<&Candidate>, rank: impl Fn(&Candidate) -> Option<usize>) {
    if let [only] = left.as_slice() {
        if rank(only).is_none() {
            left.clear();
        }
        return;
    }
    let best = left.iter().filter_map(|candidate| rank(candidate)).max();
    left.retain(|candidate| best.is_some() && rank(candidate) == best);
}

/// The longest prefix among `ranges` that holds `address`, plus one; zero where there are no ranges.
fn range_rank(ranges: &[IpNet], address: IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    let fitting = ranges.iter().filter(|range| range.contains(&address));
    fitting.map(|range| usize::from(range.prefix_len()) + 1).max()
}

/// The values of a criterion, or one `None` that stands for any.
fn or_any<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() {
        vec![None]
    } else {
        values.iter().cloned().map(Some).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(edit: impl FnOnce(&mut ChainMatch)) -> ChainMatch {
        let mut criteria = ChainMatch::default();
        edit(&mut criteria);
        criteria
    }

    fn names(list: &[&str]) -> Vec<Arc<str>> {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    /// `connection` is `destination source [tls|raw] [sni] [alpn,alpn]`, `-` for none.
    fn check(chains: &[ChainMatch], connection: &str, expected: Option<usize>) {
        let index = ChainIndex::compile(&chains.iter().collect::<Vec<_>>()).unwrap();
        check_index(&index, connection, expected);
    }

    fn check_index(index: &ChainIndex, connection: &str, expected: Option<usize>) {
        let mut words = connection.split(' ');
        let mut next = || words.next().unwrap_or("-");
        let destination = next().parse().unwrap();
        let source = next().parse().unwrap();
        let transport = match next() {
            "tls" => TransportProtocol::Tls,
            _ => TransportProtocol::RawBuffer,
        };
        let server_name = Some(next()).filter(|name| *name != "-");
        let alpn = names(&next().split(',').filter(|p| *p != "-").collect::<Vec<_>>());
        let facts = Facts {
            destination,
            source,
            direct_source: source,
            server_name,
            transport,
            application_protocols: &alpn,
        };
        let found = if index.closes(&facts) {
            Some(CLOSED)
        } else {
            index.find(&facts)
        };
        assert_eq!(found, expected, "{connection}");
    }

    /// Stands for no chain: the connection is closed.
    const CLOSED: usize = usize::MAX;

    #[test]
    fn what_a_refused_chain_may_be_for_is_closed() {
        let all = chain(|_| ());
        let closed = [
            chain(|c| c.server_names = names(&["*.example.com", "b.org"])),
            chain(|c| {
                c.destination_port = Some(9);
                c.source_ranges = vec!["10.1.0.0/16".parse().unwrap()];
            }),
        ];
        let index = ChainIndex::compile(&[&all]).unwrap().closing(&closed);
        for (connection, expected) in [
            ("10.0.0.1:443 10.0.0.2:1 tls a.example.com", CLOSED),
            ("10.0.0.1:443 10.0.0.2:1 tls b.org", CLOSED),
            ("10.0.0.1:443 10.0.0.2:1 tls example.com", 0),
            ("10.0.0.1:443 10.0.0.2:1 tls -", 0),
            ("10.0.0.1:9 10.1.0.2:1 raw -", CLOSED),
            ("10.0.0.1:9 10.2.0.2:1 raw -", 0),
            ("10.0.0.1:8 10.1.0.2:1 raw -", 0),
        ] {
            check_index(&index, connection, Some(expected));
        }
        let depends_on = index.depends_on("10.0.0.1:9".parse().unwrap());
        assert_eq!((depends_on.tls, depends_on.plaintext), (true, false));
    }

    #[test]
    fn server_names_go_from_exact_to_any() {
        let chains = [
            chain(|c| c.server_names = names(&["a.example.com"])),
            chain(|c| c.server_names = names(&["*.example.com"])),
            chain(|c| c.server_names = names(&["*.com"])),
            chain(|_| ()),
        ];
        for (name, expected) in [
            ("a.example.com", 0),
            ("b.example.com", 1),
            ("x.b.example.com", 1),
            ("example.com", 2),
            ("example.org", 3),
            ("-", 3),
        ] {
            check(&chains, &format!("10.0.0.1:443 10.0.0.2:1 tls {name}"), Some(expected));
        }
        check(&chains[..3], "10.0.0.1:443 10.0.0.2:1 tls example.org", None);
    }

    #[test]
    fn permissive_inbound_tells_mesh_tls_from_others() {
        let mesh = chain(|c| {
            c.transport = Some(TransportProtocol::Tls);
            c.application_protocols = names(&["istio-http/1.1", "istio-h2"]);
        });
        let plain = chain(|c| c.transport = Some(TransportProtocol::RawBuffer));
        let foreign = chain(|c| c.transport = Some(TransportProtocol::Tls));
        let chains = [mesh, plain, foreign];
        check(&chains, "10.0.0.1:80 10.0.0.2:1 tls - istio-h2", Some(0));
        check(&chains, "10.0.0.1:80 10.0.0.2:1 tls - h2,http/1.1", Some(2));
        check(&chains, "10.0.0.1:80 10.0.0.2:1 raw", Some(1));
    }

    #[test]
    fn a_choice_is_not_taken_back() {
        let chains = [
            chain(|c| {
                c.destination_port = Some(80);
                c.server_names = names(&["a"]);
            }),
            chain(|_| ()),
        ];
        check(&chains, "10.0.0.1:80 10.0.0.2:1 tls b", None);
        check(&chains, "10.0.0.1:81 10.0.0.2:1 tls b", Some(1));
    }

    #[test]
    fn ranges_go_by_longest_prefix() {
        let chains = [
            chain(|c| c.destination_ranges = vec!["10.0.0.0/8".parse().unwrap()]),
            chain(|c| c.destination_ranges = vec!["10.1.0.0/16".parse().unwrap()]),
            chain(|c| c.source_ranges = vec!["192.168.0.0/16".parse().unwrap()]),
        ];
        check(&chains, "10.1.2.3:80 1.1.1.1:1", Some(1));
        check(&chains, "10.2.2.3:80 1.1.1.1:1", Some(0));
        check(&chains, "11.2.2.3:80 192.168.3.4:1", Some(2));
        check(&chains, "11.2.2.3:80 1.1.1.1:1", None);
    }

    #[test]
    fn source_type_knows_the_same_host() {
        let chains = [
            chain(|c| c.source_type = SourceType::SameIpOrLoopback),
            chain(|c| c.source_type = SourceType::External),
        ];
        check(&chains, "10.0.0.1:80 127.0.0.1:1", Some(0));
        check(&chains, "10.0.0.1:80 10.0.0.1:1", Some(0));
        check(&chains, "10.0.0.1:80 10.0.0.9:1", Some(1));
    }

    #[test]
    fn equal_matches_are_refused() {
        let a = chain(|c| c.server_names = names(&["x", "y"]));
        let b = chain(|c| c.server_names = names(&["y"]));
        let error = ChainIndex::compile(&[&a, &b]).unwrap_err();
        assert_eq!(error, SameMatch { first: 0, second: 1 });
    }

    #[test]
    fn only_what_a_destination_depends_on_is_waited_for() {
        let chains = [
            chain(|c| c.destination_port = Some(1)),
            chain(|c| {
                c.destination_port = Some(2);
                c.transport = Some(TransportProtocol::Tls);
                c.application_protocols = vec![Arc::from("istio")];
            }),
            chain(|c| {
                c.destination_port = Some(3);
                c.application_protocols = vec![Arc::from("http/1.1")];
            }),
            chain(|c| {
                c.destination_port = Some(4);
                c.server_names = vec![Arc::from("a.example.com")];
            }),
        ];
        let index = ChainIndex::compile(&chains.iter().collect::<Vec<_>>()).unwrap();
        for (port, tls, plaintext) in [
            (1, false, false),
            (2, true, false),
            (3, true, true),
            (4, true, false),
            (5, false, false),
        ] {
            let found = index.depends_on(([10, 0, 0, 1], port).into());
            assert_eq!(found, DependsOn { tls, plaintext }, "port {port}");
        }
    }
}
