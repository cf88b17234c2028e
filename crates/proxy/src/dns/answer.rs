//! One query and what to do about it, without I/O (RFC 1035, RFC 6891).

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::table::NameTable;

/// How long a resolver may keep what it was told, in seconds (Istio's value).
const TTL_SECONDS: u32 = 30;

/// Bytes of an answer over UDP to a client that does not say what it takes (RFC 1035, section 4.2.1).
pub(super) const UDP_BYTES: usize = 512;

/// Bytes of an answer over UDP that are sent at most, whatever the client takes: more would be fragmented.
const UDP_BYTES_MAX: usize = 1232;

/// What becomes of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is answered.
    Answer(Vec<u8>),
    /// Somebody else has to be asked.
    Forward,
    /// It is not worth an answer: no query, or too broken to have an id.
    Drop,
}

/// Decides on a query. `limit` is `None` over TCP; `turn` changes the order of addresses from query to query.
pub(super) fn reply(query: &[u8], table: &NameTable, search: &[String], udp: bool, turn: usize) -> Reply {
    let Ok(message) = Message::from_vec(query) else {
        return broken(query);
    };
    if message.metadata.message_type != MessageType::Query {
        return Reply::Drop;
    }
    let [asked] = message.queries.as_slice() else {
        return Reply::Forward;
    };
    let wanted = asked.query_type();
    let ours = matches!(wanted, RecordType::A | RecordType::AAAA | RecordType::ANY);
    if message.metadata.op_code != OpCode::Query || asked.query_class() != DNSClass::IN || !ours {
        return Reply::Forward;
    }
    let Some(found) = table.find(&asked.name().to_ascii(), search) else {
        return Reply::Forward;
    };
    let mut answer = respond(&message, ResponseCode::NoError);
    let mut owner = asked.name().clone();
    if let Some(plain) = &found.without_search {
        let Ok(plain) = Name::from_ascii(format!("{plain}.")) else {
            return Reply::Forward;
        };
        answer.add_answer(Record::from_rdata(
            owner,
            TTL_SECONDS,
            RData::CNAME(CNAME(plain.clone())),
        ));
        owner = plain;
    }
    let of_type: Vec<IpAddr> = (found.addresses.iter().copied())
        .filter(|address| wanted == RecordType::ANY || address.is_ipv4() == (wanted == RecordType::A))
        .collect();
    for at in 0..of_type.len() {
        let data = match of_type[(at + turn) % of_type.len()] {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        answer.add_answer(Record::from_rdata(owner.clone(), TTL_SECONDS, data));
    }
    let limit = if udp {
        udp_limit(&message)
    } else {
        usize::from(u16::MAX)
    };
    encode(&mut answer, limit).map_or(Reply::Drop, Reply::Answer)
}

/// The answer of a server that could not do it, to a query that could be read.
pub(super) fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(query).ok()?;
    respond(&message, ResponseCode::ServFail).to_vec().ok()
}

fn udp_limit(query: &Message) -> usize {
    let takes = query
        .edns
        .as_ref()
        .map_or(UDP_BYTES, |edns| usize::from(edns.max_payload()));
    takes.clamp(UDP_BYTES, UDP_BYTES_MAX)
}

fn respond(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(UDP_BYTES_MAX).unwrap_or(u16::MAX));
        answer.set_edns(edns);
    }
    answer
}

/// Encodes an answer, with the truncation bit and as many records as fit (RFC 2181, section 9: the client asks again over TCP).
fn encode(answer: &mut Message, limit: usize) -> Option<Vec<u8>> {
    loop {
        let bytes = answer.to_vec().ok()?;
        if bytes.len() <= limit || answer.answers.is_empty() {
            return Some(bytes);
        }
        answer.metadata.truncation = true;
        answer.answers.truncate(answer.answers.len() / 2);
    }
}

/// A header that can be read gets an error with its id.
fn broken(query: &[u8]) -> Reply {
    let (Some(id), true) = (query.get(..2), query.get(2).is_some_and(|flags| flags & 0x80 == 0)) else {
        return Reply::Drop;
    };
    if query.len() < 12 {
        return Reply::Drop;
    }
    let id = u16::from_be_bytes([id[0], id[1]]);
    let error = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    error.to_vec().map_or(Reply::Drop, Reply::Answer)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::super::table::Entry;
    use super::*;

    fn table(count: u8) -> NameTable {
        let v4 = (1..=count).map(|last| IpAddr::from([10, 0, 0, last]));
        NameTable::new(vec![Entry {
            name: "web.example.com".to_owned(),
            addresses: v4.chain(["fd00::1".parse().unwrap()]).collect(),
            short: None,
        }])
    }

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn ask(query: &[u8], count: u8, udp: bool) -> Message {
        match reply(query, &table(count), &["cluster.local".to_owned()], udp, 0) {
            Reply::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
            other @ (Reply::Forward | Reply::Drop) => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_the_mesh_are_answered() {
        let answer = ask(&query("web.example.com.", RecordType::A), 2, true);
        assert_eq!((answer.metadata.id, answer.answers.len()), (7, 2));
        assert_eq!(answer.queries.len(), 1);
        assert_eq!(
            ask(&query("web.example.com.", RecordType::AAAA), 2, true).answers.len(),
            1
        );
        let searched = ask(&query("web.example.com.cluster.local.", RecordType::A), 1, true);
        let kinds: Vec<RecordType> = searched.answers.iter().map(Record::record_type).collect();
        assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);
    }

    #[test]
    fn others_are_forwarded() {
        for (name, kind) in [
            ("other.example.com.", RecordType::A),
            ("web.example.com.", RecordType::TXT),
        ] {
            assert_eq!(
                reply(&query(name, kind), &table(1), &[], true, 0),
                Reply::Forward,
                "{name}"
            );
        }
    }

    #[test]
    fn long_answers_are_cut_over_udp_only() {
        let long = query("web.example.com.", RecordType::A);
        let cut = ask(&long, 100, true);
        assert!(cut.metadata.truncation && !cut.answers.is_empty(), "{cut:?}");
        let whole = ask(&long, 100, false);
        assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
    }

    #[test]
    fn garbage_gets_an_error_or_nothing() {
        assert_eq!(reply(&[1, 2, 3], &table(1), &[], true, 0), Reply::Drop);
        let mut cut = query("web.example.com.", RecordType::A);
        cut.truncate(20);
        let answer = ask(&cut, 1, true);
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        let mut response = query("web.example.com.", RecordType::A);
        response[2] |= 0x80;
        assert_eq!(reply(&response, &table(1), &[], true, 0), Reply::Drop);
    }
}
