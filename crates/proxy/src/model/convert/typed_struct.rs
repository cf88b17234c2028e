//! Istio's filters: types that Envoy's API does not have come as `xds.type.v3.TypedStruct`, whose fields are read here by name.

use std::collections::HashMap;
use std::time::Duration;

use weft_proto::typed_struct::TypedStruct;
use weft_proto::xds::google::protobuf as pb;

use super::{Path, Result, holds, unpack};
use crate::model::istio::{IstioStats, PeerExchange};

/// Type of the configuration of `istio.stats`.
const STATS: &str = "type.googleapis.com/stats.PluginConfig";

/// Type of the configuration of `istio.metadata_exchange`.
const PEER_METADATA: &str = "type.googleapis.com/io.istio.http.peer_metadata.Config";

/// A filter of Istio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IstioFilter {
    /// Standard metrics.
    Stats(IstioStats),
    /// Peer metadata in headers.
    PeerExchange(PeerExchange),
}

type Fields = HashMap<String, pb::Value>;

/// The filter that a configuration stands for; `None` where it is none of Istio's.
pub(super) fn istio_filter(any: &pb::Any, at: &Path) -> Result<Option<IstioFilter>> {
    let (type_url, fields) = if holds::<TypedStruct>(any) {
        let typed: TypedStruct = unpack(any, at)?;
        (typed.type_url, typed.value.unwrap_or_default().fields)
    } else {
        (any.type_url.clone(), Fields::new())
    };
    let at = &at.field("value");
    Ok(match type_url.as_str() {
        STATS => Some(IstioFilter::Stats(stats(&fields, at)?)),
        PEER_METADATA => Some(IstioFilter::PeerExchange(peer_exchange(&fields, at)?)),
        _ => None,
    })
}

fn stats(fields: &Fields, at: &Path) -> Result<IstioStats> {
    let mut out = IstioStats::default();
    for (name, value) in sorted(fields) {
        let at = at.field(name);
        match name {
            "disable_host_header_fallback" | "disableHostHeaderFallback" => out.host_fallback = !boolean(value, &at)?,
            "tcp_reporting_duration" | "tcpReportingDuration" => out.tcp_interval = duration(value, &at)?,
            _ => return Err(at.error("is not supported: disable_host_header_fallback and tcp_reporting_duration are")),
        }
    }
    Ok(out)
}

fn peer_exchange(fields: &Fields, at: &Path) -> Result<PeerExchange> {
    let mut out = PeerExchange::default();
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

/// In an order that does not change, so that errors do not.
fn sorted(fields: &Fields) -> Vec<(&str, &pb::Value)> {
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

fn boolean(value: &pb::Value, at: &Path) -> Result<bool> {
    match value.kind {
        Some(pb::value::Kind::BoolValue(value)) => Ok(value),
        _ => Err(at.error("must be true or false")),
    }
}

/// A duration in protobuf's JSON form: seconds, with a fraction where there is one, and `s`.
fn duration(value: &pb::Value, at: &Path) -> Result<Duration> {
    let wrong = || at.error("must be a duration in seconds, such as 5s");
    let Some(pb::value::Kind::StringValue(text)) = &value.kind else {
        return Err(wrong());
    };
    let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    let seconds = seconds.ok_or_else(wrong)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn check(type_url: &str, json: &str, expected: std::result::Result<Option<IstioFilter>, &str>) {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let typed = TypedStruct {
            type_url: type_url.to_owned(),
            value: Some(structure(&value)),
        };
        let any = pb::Any {
            type_url: "type.googleapis.com/xds.type.v3.TypedStruct".to_owned(),
            value: typed.encode_to_vec(),
        };
        let got = istio_filter(&any, &Path::root("c")).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{json}"),
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}\nshould start with\n{expected}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    fn structure(value: &serde_json::Value) -> pb::Struct {
        let fields = value.as_object().into_iter().flatten();
        pb::Struct {
            fields: fields.map(|(key, value)| (key.clone(), convert(value))).collect(),
        }
    }

    fn convert(value: &serde_json::Value) -> pb::Value {
        use pb::value::Kind;
        pb::Value {
            kind: Some(match value {
                serde_json::Value::Bool(value) => Kind::BoolValue(*value),
                serde_json::Value::String(text) => Kind::StringValue(text.clone()),
                serde_json::Value::Array(values) => Kind::ListValue(pb::ListValue {
                    values: values.iter().map(convert).collect(),
                }),
                serde_json::Value::Object(_) => Kind::StructValue(structure(value)),
                serde_json::Value::Null | serde_json::Value::Number(_) => Kind::NullValue(0),
            }),
        }
    }

    #[test]
    fn filters_of_istio_are_read_by_name() {
        let stats = |host_fallback, millis| {
            Ok(Some(IstioFilter::Stats(IstioStats {
                host_fallback,
                tcp_interval: Duration::from_millis(millis),
            })))
        };
        check(STATS, "{}", stats(true, 5000));
        check(STATS, r#"{"disable_host_header_fallback": true}"#, stats(false, 5000));
        check(STATS, r#"{"tcpReportingDuration": "0.25s"}"#, stats(true, 250));
        check(
            STATS,
            r#"{"tcp_reporting_duration": "5"}"#,
            Err("c.value.tcp_reporting_duration: must be"),
        );
        check(
            STATS,
            r#"{"tcp_reporting_duration": "-1s"}"#,
            Err("c.value.tcp_reporting_duration: must be"),
        );
        check(STATS, r#"{"metrics": []}"#, Err("c.value.metrics: is not supported"));
        let exchange = |discover, propagate| Ok(Some(IstioFilter::PeerExchange(PeerExchange { discover, propagate })));
        check(
            PEER_METADATA,
            r#"{"downstream_discovery": [{"istio_headers": {}}]}"#,
            exchange(true, false),
        );
        check(
            PEER_METADATA,
            r#"{"upstream_propagation": [{"istio_headers": {}}]}"#,
            exchange(false, true),
        );
        check(
            PEER_METADATA,
            r#"{"downstream_discovery": [{"baggage": {}}]}"#,
            Err("c.value.downstream_discovery[0].baggage: is not supported"),
        );
        check(
            PEER_METADATA,
            r#"{"upstream_discovery": []}"#,
            Err("c.value.upstream_discovery: is not"),
        );
        check("type.googleapis.com/other", "{}", Ok(None));
    }
}
