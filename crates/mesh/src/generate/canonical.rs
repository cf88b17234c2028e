//! One form for equal messages: the entries of maps in the order of their keys.
//!
//! Maps are hash maps in the message types, and each has an order of its own. Without this, configuration generated twice would
//! differ in its bytes, so in its version, and everything would be pushed again with every change.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use weft_proto::ads::Kind;

/// Where in a message of some type there are maps: numbers of fields, and what is below them.
struct Shape(&'static [(u32, Below)]);

enum Below {
    /// A message, or several.
    Message(&'static Shape),
    /// A map with entries of this shape: the key is field 1, the value field 2.
    Map(&'static Shape),
}

static OPAQUE: Shape = Shape(&[]);
static VALUE: Shape = Shape(&[(5, Below::Message(&STRUCT)), (6, Below::Message(&LIST))]);
static LIST: Shape = Shape(&[(1, Below::Message(&VALUE))]);
static STRUCT: Shape = Shape(&[(1, Below::Map(&STRUCT_FIELD))]);
static STRUCT_FIELD: Shape = Shape(&[(2, Below::Message(&VALUE))]);
static METADATA: Shape = Shape(&[(1, Below::Map(&METADATA_SECTION))]);
static METADATA_SECTION: Shape = Shape(&[(2, Below::Message(&STRUCT))]);
static LB_ENDPOINT: Shape = Shape(&[(3, Below::Message(&METADATA))]);
static LOCALITY: Shape = Shape(&[(2, Below::Message(&LB_ENDPOINT))]);
static ASSIGNMENT: Shape = Shape(&[(2, Below::Message(&LOCALITY))]);
static CLUSTER: Shape = Shape(&[
    (25, Below::Message(&METADATA)),
    (33, Below::Message(&ASSIGNMENT)),
    (36, Below::Map(&OPAQUE)),
]);
static FILTER_CHAIN: Shape = Shape(&[(5, Below::Message(&METADATA))]);
static LISTENER: Shape = Shape(&[(3, Below::Message(&FILTER_CHAIN)), (6, Below::Message(&METADATA))]);
static ROUTE: Shape = Shape(&[(4, Below::Message(&METADATA)), (13, Below::Map(&OPAQUE))]);
static VIRTUAL_HOST: Shape = Shape(&[(3, Below::Message(&ROUTE)), (15, Below::Map(&OPAQUE))]);
static NAMES: Shape = Shape(&[(1, Below::Map(&OPAQUE))]);
static RULES: Shape = Shape(&[(2, Below::Map(&OPAQUE))]);
// Rules and shadow rules have the same numbers in the filter of requests and in that of connections.
static RBAC: Shape = Shape(&[(1, Below::Message(&RULES)), (2, Below::Message(&RULES))]);
static ROUTES: Shape = Shape(&[(2, Below::Message(&VIRTUAL_HOST))]);

/// The canonical form of an encoded message of a type that is served.
pub(super) fn canonical(type_url: &str, encoded: Vec<u8>) -> Vec<u8> {
    let shape = match Kind::from_type_url(type_url) {
        Some(Kind::Cluster) => &CLUSTER,
        Some(Kind::Endpoints) => &ASSIGNMENT,
        Some(Kind::Listener) => &LISTENER,
        Some(Kind::Routes) => &ROUTES,
        Some(Kind::Names) => &NAMES,
        Some(Kind::ApplicationEnded | Kind::Secret) | None => return encoded,
    };
    let mut out = Vec::with_capacity(encoded.len());
    // It was encoded just now, so it can be read; were it not so, it would still be right as it is.
    match copy(&encoded, shape, &mut out) {
        Some(()) => out,
        None => encoded,
    }
}

/// The canonical form of the configuration of an RBAC filter, which a resource has inside an `Any`, where nobody looks again.
pub(super) fn rbac(encoded: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    match copy(&encoded, &RBAC, &mut out) {
        Some(()) => out,
        None => encoded,
    }
}

/// Copies a message, its maps sorted; `None` where it is not one.
fn copy(mut rest: &[u8], shape: &Shape, out: &mut Vec<u8>) -> Option<()> {
    let mut entries: Vec<(u32, Vec<u8>)> = Vec::new();
    while rest.has_remaining() {
        let field = rest;
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let below = shape.0.iter().find(|(own, _)| *own == number).map(|(_, below)| below);
        if entries.first().is_some_and(|(pending, _)| *pending != number) {
            flush(&mut entries, out);
        }
        let (Some(below), WireType::LengthDelimited) = (below, wire_type) else {
            skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
            out.extend_from_slice(&field[..field.len() - rest.len()]);
            continue;
        };
        let length = usize::try_from(decode_varint(&mut rest).ok()?).unwrap_or(usize::MAX);
        let body = rest.get(..length)?;
        rest.advance(length);
        let (Below::Message(inside) | Below::Map(inside)) = below;
        let mut inner = Vec::with_capacity(length);
        copy(body, inside, &mut inner)?;
        match below {
            Below::Message(_) => write(number, &inner, out),
            // The key comes first in an entry, so entries sort as their keys do.
            Below::Map(_) => entries.push((number, inner)),
        }
    }
    flush(&mut entries, out);
    Some(())
}

fn flush(entries: &mut Vec<(u32, Vec<u8>)>, out: &mut Vec<u8>) {
    entries.sort();
    for (number, entry) in entries.drain(..) {
        write(number, &entry, out);
    }
}

fn write(number: u32, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use prost::{Message, Name};
    use weft_proto::xds::envoy::config::cluster::v3::Cluster;
    use weft_proto::xds::envoy::config::core::v3::Metadata;
    use weft_proto::xds::google::protobuf::Struct;

    use super::super::wire::text;
    use super::*;

    #[test]
    fn equal_messages_have_equal_bytes() {
        let names: Vec<String> = (0..20).map(|i| format!("field-{i}")).collect();
        let make = || {
            let fields = names.iter().map(|name| (name.clone(), text(name)));
            let inner = Struct {
                fields: fields.collect(),
            };
            let sections = names.iter().map(|name| (name.clone(), inner.clone()));
            Cluster {
                name: "a".to_owned(),
                metadata: Some(Metadata {
                    filter_metadata: sections.collect(),
                    ..Metadata::default()
                }),
                alt_stat_name: "after".to_owned(),
                ..Cluster::default()
            }
        };
        let encode = |cluster: &Cluster| canonical(&Cluster::type_url(), cluster.encode_to_vec());
        let (first, second) = (make(), make());
        assert_eq!(encode(&first), encode(&second));
        assert_eq!(Cluster::decode(encode(&first).as_slice()).unwrap(), first);
    }
}
