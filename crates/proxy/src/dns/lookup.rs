//! Looking a name up for the proxy itself: the machine's hosts file, then its DNS servers, with how long the answer holds.
//!
//! The libc's resolver tells neither that nor whether a name is gone or its servers are (RFC 1035, RFC 2308).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::Semaphore;

use super::RESOLV_CONF;
use super::forward;
use super::server::Resolver;

/// Where names of the machine's own are written.
const HOSTS: &str = "/etc/hosts";

/// Names that are asked for at once; one more waits.
const AT_ONCE: usize = 256;

/// Aliases that are followed in one answer.
const ALIASES_MAX: usize = 16;

/// Bytes of an answer over UDP; a longer one is asked for over TCP.
const UDP_BYTES_MAX: u16 = 1232;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Empty where there is no such name, or it has no address of the family. In the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// How long that holds, where anything says so.
    pub ttl: Option<Duration>,
}

/// Nobody could tell whether there is such a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It cannot be asked for, since a part of it is too long or empty.
    #[error("is no name of DNS")]
    Name,
    /// There is nobody to ask.
    #[error("/etc/resolv.conf names no server")]
    NoServer,
    #[error("no DNS server answered")]
    Silent,
    /// The last server that answered could not tell, either.
    #[error("the DNS server answered {0}")]
    Refused(ResponseCode),
}

/// Looks a name up as the machine says, by files that are read anew each time.
///
/// # Errors
/// It is not known whether there is such a name.
pub async fn look_up(host: &str, family: Family) -> Result<Found, LookupError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Found::fixed([address].into_iter(), family));
    }
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    // Never asked for (RFC 6761, section 6.3).
    if plain == "localhost" || plain.ends_with(".localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(Found::fixed(both.into_iter(), family));
    }
    // A machine without one of the files has nothing to say in it.
    let hosts = tokio::fs::read_to_string(HOSTS).await.unwrap_or_default();
    let written = Found::fixed(in_hosts(&hosts, &plain), family);
    if !written.addresses.is_empty() {
        return Ok(written);
    }
    let resolver = Resolver::parse(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    by_servers(host, family, &resolver).await
}

/// Asks for one name after the other that a host may stand for.
async fn by_servers(host: &str, family: Family, resolver: &Resolver) -> Result<Found, LookupError> {
    if resolver.servers.is_empty() {
        return Err(LookupError::NoServer);
    }
    let _turn = TURNS.acquire().await;
    let mut failed = None;
    for candidate in candidates(host, resolver) {
        match ask(&candidate, family, resolver).await {
            Ok(found) if found.addresses.is_empty() => {}
            Ok(found) => return Ok(found),
            Err(error) => failed = Some(error),
        }
    }
    // A name is not there only if everybody who was asked says so.
    failed.map_or_else(|| Ok(Found::default()), Err)
}

/// The names that a host may stand for, in the order in which they are tried (resolv.conf(5), `search` and `ndots`).
fn candidates(host: &str, resolver: &Resolver) -> Vec<String> {
    if host.ends_with('.') {
        return vec![host.to_owned()];
    }
    let mut names: Vec<String> = resolver
        .search
        .iter()
        .filter(|domain| !domain.is_empty())
        .map(|domain| format!("{host}.{domain}."))
        .collect();
    let dots = host.bytes().filter(|byte| *byte == b'.').count();
    let own = if dots >= resolver.dots_min { 0 } else { names.len() };
    names.insert(own, format!("{host}."));
    names
}

async fn ask(name: &str, family: Family, resolver: &Resolver) -> Result<Found, LookupError> {
    let name = Name::from_ascii(name).map_err(|_| LookupError::Name)?;
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    let mut failed = LookupError::Silent;
    for _ in 0..forward::ROUNDS {
        for server in &resolver.servers {
            let id = fastrand::u16(..);
            let query = query(&name, kind, id).ok_or(LookupError::Name)?;
            let mut answer = None;
            for udp in [true, false] {
                let Ok(bytes) = forward::ask_one(&query, *server, udp).await else {
                    break;
                };
                answer = Message::from_vec(&bytes)
                    .ok()
                    .filter(|answer| answers(answer, &name, kind));
                if answer.as_ref().is_none_or(|answer| !answer.metadata.truncation) {
                    break;
                }
            }
            let Some(answer) = answer else {
                continue;
            };
            let code = answer.metadata.response_code;
            if code == ResponseCode::NoError {
                return Ok(addresses(&answer, &name));
            }
            if code == ResponseCode::NXDomain {
                return Ok(Found::default());
            }
            failed = LookupError::Refused(code);
        }
    }
    Err(failed)
}

fn query(name: &Name, kind: RecordType, id: u16) -> Option<Vec<u8>> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.set_edns(edns);
    message.to_vec().ok()
}

/// Whether a message answers what was asked, and not something else with the same number (RFC 5452, section 9.1).
fn answers(message: &Message, name: &Name, kind: RecordType) -> bool {
    let [asked] = message.queries.as_slice() else {
        return false;
    };
    message.metadata.message_type == MessageType::Response && asked.name() == name && asked.query_type() == kind
}

/// The addresses of a name, behind its aliases. They hold for as long as the shortest record on the way.
fn addresses(answer: &Message, name: &Name) -> Found {
    let mut owner = name;
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let alias = answer.answers.iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else {
                return None;
            };
            (record.name == *owner).then_some((record, &target.0))
        });
        let Some((record, target)) = alias else {
            break;
        };
        ttl = ttl.min(record.ttl);
        owner = target;
    }
    let address = |record: &Record| {
        if let RData::A(address) = &record.data {
            return Some(IpAddr::V4(address.0));
        }
        let RData::AAAA(address) = &record.data else {
            return None;
        };
        Some(IpAddr::V6(address.0))
    };
    let mut found = Vec::new();
    for record in answer.answers.iter().filter(|record| record.name == *owner) {
        if let Some(address) = address(record) {
            ttl = ttl.min(record.ttl);
            found.push(address);
        }
    }
    Found {
        // None says nothing of how long it holds (Envoy, `respect_dns_ttl`: zero is passed over).
        ttl: (!found.is_empty() && ttl > 0).then(|| Duration::from_secs(u64::from(ttl))),
        addresses: found,
    }
}

/// Addresses of a name in the text of a hosts file.
fn in_hosts<'a>(text: &'a str, host: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    text.lines().filter_map(move |line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    })
}

// === impl Found ===

impl Found {
    fn fixed(addresses: impl Iterator<Item = IpAddr>, family: Family) -> Self {
        Self {
            addresses: addresses
                .filter(|address| address.is_ipv4() == (family == Family::V4))
                .collect(),
            ttl: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::{A, CNAME};
    use tokio::net::UdpSocket;

    use super::*;

    fn resolver(servers: &[SocketAddr], search: &[&str], dots_min: usize) -> Resolver {
        Resolver {
            servers: servers.to_vec(),
            search: search.iter().map(|&domain| domain.to_owned()).collect(),
            dots_min,
        }
    }

    #[test]
    fn names_are_tried_in_order() {
        #[track_caller]
        fn check(host: &str, dots_min: usize, expected: &[&str]) {
            assert_eq!(
                candidates(host, &resolver(&[], &["ns.svc", "b"], dots_min)),
                expected,
                "{host}"
            );
        }
        check("web.", 1, &["web."]);
        check("web", 1, &["web.ns.svc.", "web.b.", "web."]);
        check("a.b", 1, &["a.b.", "a.b.ns.svc.", "a.b.b."]);
        check("a.b", 5, &["a.b.ns.svc.", "a.b.b.", "a.b."]);
    }

    #[test]
    fn hosts_files_are_read() {
        let text =
            "127.0.0.1 localhost\n# 10.0.0.9 web\n10.0.0.1\tWeb web.example # 10.0.0.2\n10.0.0.3 web\nx web\n::1 web\n";
        let found: Vec<String> = in_hosts(text, "web").map(|address| address.to_string()).collect();
        assert_eq!(found, ["10.0.0.1", "10.0.0.3", "::1"]);
    }

    fn alias(of: &str, to: &str, ttl: u32) -> Record {
        Record::from_rdata(name(of), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn at(of: &str, last: u8, ttl: u32) -> Record {
        Record::from_rdata(name(of), ttl, RData::A(A(Ipv4Addr::new(10, 0, 0, last))))
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn aliases_are_followed_and_the_shortest_record_counts() {
        #[track_caller]
        fn check(records: Vec<Record>, expected: &[u8], ttl: Option<u64>) {
            let mut message = Message::response(1, OpCode::Query);
            message.add_answers(records);
            let found = addresses(&message, &name("web.example."));
            let last: Vec<u8> = found
                .addresses
                .iter()
                .map(|address| match address {
                    IpAddr::V4(address) => address.octets()[3],
                    IpAddr::V6(_) => 0,
                })
                .collect();
            assert_eq!((last.as_slice(), found.ttl), (expected, ttl.map(Duration::from_secs)));
        }
        check(
            vec![at("web.example.", 1, 30), at("WEB.example.", 2, 20)],
            &[1, 2],
            Some(20),
        );
        check(
            vec![at("c.", 2, 30), alias("b.", "c.", 40), alias("web.example.", "b.", 5)],
            &[2],
            Some(5),
        );
        check(vec![at("other.example.", 1, 30)], &[], None);
        check(vec![at("web.example.", 1, 0)], &[1], None);
        check(vec![alias("web.example.", "web.example.", 9)], &[], None);
        check(vec![], &[], None);
    }

    /// A server that answers queries one after the other: a code, and addresses for it.
    async fn server(answers: Vec<(ResponseCode, Vec<Record>)>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            for (code, records) in answers {
                let mut bytes = [0; 4096];
                let (read, client) = socket.recv_from(&mut bytes).await.unwrap();
                let asked = Message::from_vec(&bytes[..read]).unwrap();
                let mut answer = Message::response(asked.metadata.id, OpCode::Query);
                answer.metadata.response_code = code;
                answer.add_queries(asked.queries.iter().cloned());
                answer.add_answers(records);
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        });
        addr
    }

    #[tokio::test]
    async fn a_name_that_is_gone_is_told_from_a_server_that_cannot_tell() {
        use ResponseCode::{NXDomain, NoError, ServFail};
        let found = Ok(vec![1]);
        let gone: Result<Vec<u8>, LookupError> = Ok(vec![]);
        let record = || vec![at("web.example.", 1, 30)];
        for (answers, search, expected) in [
            (vec![(NoError, record())], vec![], found.clone()),
            (vec![(NXDomain, vec![])], vec![], gone.clone()),
            (vec![(NoError, vec![])], vec![], gone.clone()),
            // The second round of the same server.
            (vec![(ServFail, vec![]), (NoError, record())], vec![], found.clone()),
            (
                vec![(ServFail, vec![]), (ServFail, vec![])],
                vec![],
                Err(LookupError::Refused(ServFail)),
            ),
            // One candidate is not there, of the other nobody knows.
            (
                vec![(NXDomain, vec![]), (ServFail, vec![]), (ServFail, vec![])],
                vec!["b"],
                Err(LookupError::Refused(ServFail)),
            ),
            (
                vec![
                    (ServFail, vec![]),
                    (ServFail, vec![]),
                    (NoError, vec![at("web.example.b.", 1, 3)]),
                ],
                vec!["b"],
                found,
            ),
            (vec![(NXDomain, vec![]), (NXDomain, vec![])], vec!["b"], gone),
        ] {
            let at = format!("{answers:?}");
            let resolver = resolver(&[server(answers).await], &search, 1);
            let looked = by_servers("web.example", Family::V4, &resolver).await;
            let looked = looked.map(|found| vec![1; found.addresses.len()]);
            assert_eq!(looked, expected, "{at}");
        }
    }

    #[tokio::test]
    async fn addresses_and_local_names_need_no_server() {
        for (host, family, expected) in [
            ("10.0.0.1", Family::V4, vec!["10.0.0.1"]),
            ("10.0.0.1", Family::V6, vec![]),
            ("fd00::1", Family::V6, vec!["fd00::1"]),
            ("localhost", Family::V4, vec!["127.0.0.1"]),
            ("LocalHost.", Family::V6, vec!["::1"]),
            ("a.localhost", Family::V4, vec!["127.0.0.1"]),
        ] {
            let found = look_up(host, family).await.unwrap();
            let found: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{host} {family:?}");
        }
        let none = by_servers("web", Family::V4, &Resolver::default()).await;
        assert_eq!(none, Err(LookupError::NoServer));
    }
}
