//! Peer metadata in headers, as configured (`istio.metadata_exchange`, `io.istio.http.peer_metadata.Config`).

use weft_proto::xds::google::protobuf as pb;
use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::typed_struct::{Fields, fields_of, sorted};
use crate::model::convert::{Path, Result};

/// Type of the configuration.
const TYPE_URL: &str = "type.googleapis.com/io.istio.http.peer_metadata.Config";

/// Which of the two sides are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Read who a mesh client is from its headers, and take them off.
    pub discover: bool,
    /// Tell mesh endpoints who this proxy's workload is.
    pub propagate: bool,
}

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    let fields = fields_of(any, TYPE_URL, at)?;
    fields.map(|fields| config(&fields, &at.field("value"))).transpose()
}

fn config(fields: &Fields, at: &Path) -> Result<Config> {
    let mut out = Config::default();
    for (name, value) in sorted(fields) {
        let at = at.field(name);
        let on = match name {
            "downstream_discovery" | "downstreamDiscovery" => &mut out.discover,
            "upstream_propagation" | "upstreamPropagation" => &mut out.propagate,
            _ => return Err(at.error("is not supported: downstream_discovery and upstream_propagation are")),
        };
        let Some(pb::value::Kind::ListValue(list)) = &value.kind else {
            return Err(at.error("must be a list"));
        };
        for (index, method) in list.values.iter().enumerate() {
            let at = at.index(index);
            let Some(pb::value::Kind::StructValue(method)) = &method.kind else {
                return Err(at.error("must be an object"));
            };
            for (name, value) in sorted(&method.fields) {
                let empty =
                    matches!(&value.kind, Some(pb::value::Kind::StructValue(options)) if options.fields.is_empty());
                if !matches!(name, "istio_headers" | "istioHeaders") || !empty {
                    return Err(at
                        .field(name)
                        .error("is not supported: istio_headers without options is"));
                }
                *on = true;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::convert::typed_struct::tests::typed_struct;

    fn check(json: &str, expected: std::result::Result<(bool, bool), &str>) {
        let got = read(&typed_struct(TYPE_URL, json), &Path::root("c")).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(Some(got)), Ok((discover, propagate))) => assert_eq!(got, Config { discover, propagate }, "{json}"),
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}\nshould start with\n{expected}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn fields_are_read_by_name() {
        check(
            r#"{"downstream_discovery": [{"istio_headers": {}}]}"#,
            Ok((true, false)),
        );
        check(
            r#"{"upstream_propagation": [{"istio_headers": {}}]}"#,
            Ok((false, true)),
        );
        check(
            r#"{"downstream_discovery": [{"baggage": {}}]}"#,
            Err("c.value.downstream_discovery[0].baggage: is not supported"),
        );
        check(
            r#"{"upstream_discovery": []}"#,
            Err("c.value.upstream_discovery: is not"),
        );
    }
}
