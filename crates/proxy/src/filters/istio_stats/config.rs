//! Istio's standard metrics, as configured (`istio.stats`, `stats.PluginConfig`).

use std::time::Duration;

use weft_proto::xds::google::protobuf::Any;

use crate::model::convert::typed_struct::{Fields, boolean, duration, fields_of, sorted};
use crate::model::convert::{Path, Result};

/// Type of the configuration.
const TYPE_URL: &str = "type.googleapis.com/stats.PluginConfig";

/// What is counted, of requests and of connections of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the host of a request names the service where the cluster does not. Off where anybody may send any host.
    pub host_fallback: bool,
    /// How often a connection of bytes reports; zero reports at its end only.
    pub tcp_interval: Duration,
}

pub use super::NoRouteConfig as RouteConfig;
pub(super) use super::nothing_for_routes as read_for_route;

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            host_fallback: true,
            tcp_interval: Duration::from_secs(5),
        }
    }
}

pub(in crate::model) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    let fields = fields_of(any, TYPE_URL, at)?;
    fields.map(|fields| config(&fields, &at.field("value"))).transpose()
}

fn config(fields: &Fields, at: &Path) -> Result<Config> {
    let mut out = Config::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::convert::typed_struct::tests::typed_struct;

    fn check(json: &str, expected: std::result::Result<(bool, u64), &str>) {
        let got = read(&typed_struct(TYPE_URL, json), &Path::root("c")).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(Some(got)), Ok((host_fallback, millis))) => {
                let tcp_interval = Duration::from_millis(millis);
                assert_eq!(
                    got,
                    Config {
                        host_fallback,
                        tcp_interval
                    },
                    "{json}"
                );
            }
            (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}\nshould start with\n{expected}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn fields_are_read_by_name() {
        check("{}", Ok((true, 5000)));
        check(r#"{"disable_host_header_fallback": true}"#, Ok((false, 5000)));
        check(r#"{"tcpReportingDuration": "0.25s"}"#, Ok((true, 250)));
        let wrong = Err("c.value.tcp_reporting_duration: must be");
        check(r#"{"tcp_reporting_duration": "5"}"#, wrong);
        check(r#"{"tcp_reporting_duration": "-1s"}"#, wrong);
        check(r#"{"metrics": []}"#, Err("c.value.metrics: is not supported"));
        let other = typed_struct("type.googleapis.com/other", "{}");
        assert_eq!(read(&other, &Path::root("c")), Ok(None));
    }
}
