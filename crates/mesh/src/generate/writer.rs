//! The user's object behind a resource, read from the metadata that generation left in it: whom a refusal concerns.

use prost::Message;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::cluster::v3::Cluster;
use weft_proto::xds::envoy::config::core::v3::Metadata;
use weft_proto::xds::envoy::config::listener::v3::Listener;
use weft_proto::xds::envoy::config::route::v3::RouteConfiguration;
use weft_proto::xds::google::protobuf::value::Kind as ValueKind;

use crate::resource::Resource;

/// Section of the metadata that names the user's object.
pub(super) const SECTION: &str = "weft";

/// An object and where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// `Kind/namespace/name`.
    pub object: String,
    /// File; empty where the object came from a server.
    pub file: String,
    /// Line; 0 where unknown.
    pub line: u32,
}

/// Who wrote what a client says `reason` of, as far as the resource tells. Of routes it depends on which one the reason names.
pub fn writer(kind: Kind, resource: &Resource, reason: &str) -> Option<Writer> {
    match kind {
        Kind::Cluster => of_metadata(Cluster::decode(&*resource.bytes).ok()?.metadata.as_ref()),
        Kind::Listener => of_metadata(Listener::decode(&*resource.bytes).ok()?.metadata.as_ref()),
        Kind::Routes => {
            let config = RouteConfiguration::decode(&*resource.bytes).ok()?;
            let host = config.virtual_hosts.get(index(reason, "virtual_hosts[")?)?;
            of_metadata(host.routes.get(index(reason, "routes[")?)?.metadata.as_ref())
        }
        Kind::Endpoints | Kind::Secret | Kind::Names | Kind::ApplicationEnded => None,
    }
}

fn of_metadata(metadata: Option<&Metadata>) -> Option<Writer> {
    let fields = &metadata?.filter_metadata.get(SECTION)?.fields;
    let text = |name: &str| match fields.get(name).and_then(|value| value.kind.as_ref()) {
        Some(ValueKind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    let line = match fields.get("line").and_then(|value| value.kind.as_ref()) {
        // Lines are far below what a float holds exactly.
        Some(ValueKind::NumberValue(line)) => format!("{line:.0}").parse().unwrap_or_default(),
        _ => 0,
    };
    let object = text("object");
    (!object.is_empty()).then(|| Writer {
        object,
        file: text("file"),
        line,
    })
}

/// The number behind a word of a path such as `virtual_hosts[3].routes[1].match`.
fn index(path: &str, word: &str) -> Option<usize> {
    let (_, rest) = path.split_once(word)?;
    rest.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_of_paths() {
        for (path, expected) in [
            ("virtual_hosts[3].routes[12].match: no", (Some(3), Some(12))),
            ("virtual_hosts[x]", (None, None)),
            ("nothing", (None, None)),
        ] {
            let found = (index(path, "virtual_hosts["), index(path, "routes["));
            assert_eq!(found, expected, "{path}");
        }
    }
}
