//! Statistics pages: Envoy's text and JSON, and Prometheus' text with Istio's metrics after Envoy's.

use std::convert::Infallible;
use std::fmt::Write;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Admin, ServerState, stopping};
use crate::stats::prometheus::{Pieces, Type, head, sample};
use crate::stats::{Scope, Stat};

/// Media type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Largest compiled filter, since operators' scripts write it.
const FILTER_BYTES_MAX: usize = 1 << 20;

/// What `/stats` is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    format: Option<String>,
    filter: Option<String>,
    usedonly: Option<String>,
    r#type: Option<String>,
}

pub(super) async fn stats(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> Response {
    let Some(all) = collect(&admin) else {
        return stopping();
    };
    let stats = match wanted.of(all) {
        Ok(stats) => stats,
        Err(reason) => return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    };
    match wanted.format.as_deref() {
        None | Some("" | "text") => {
            let mut text = String::new();
            for stat in stats {
                let _ = writeln!(text, "{}: {}", stat.name(), stat.value);
            }
            text.into_response()
        }
        Some("json") => {
            let stats: Vec<_> = stats
                .iter()
                .map(|stat| json!({"name": stat.name(), "value": stat.value}))
                .collect();
            Json(json!({"stats": stats})).into_response()
        }
        Some("prometheus") => page(std::iter::once(text(stats))),
        Some(other) => {
            let reason = format!("format {other:?} is not supported: text, json and prometheus are\n");
            (StatusCode::BAD_REQUEST, reason).into_response()
        }
    }
}

pub(super) async fn prometheus(State(admin): State<Admin>) -> Response {
    prometheus_page(&admin, String::new())
}

/// Everything for Prometheus; `more` is what follows it, in the same format.
pub(crate) fn prometheus_page(admin: &Admin, more: String) -> Response {
    let (Some(stats), Some(proxy)) = (collect(admin), admin.proxy()) else {
        return stopping();
    };
    let istio = proxy.istio_metrics().pieces();
    page(Pieces::new(std::iter::once(text(stats)).chain(istio)).chain(Some(more).filter(|more| !more.is_empty())))
}

fn page(pieces: impl Iterator<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(futures_util::stream::iter(pieces.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, PROMETHEUS)], body).into_response()
}

/// Everything, sorted by name; `None` once the proxy has stopped.
fn collect(admin: &Admin) -> Option<Vec<Stat>> {
    let proxy = admin.proxy()?;
    let mut stats = proxy.stats();
    let state = admin.state().0;
    let server = Scope::Process("server");
    stats.extend([
        Stat::gauge(&server, "concurrency", proxy.workers() as u64),
        Stat::gauge(&server, "live", u64::from(state != ServerState::Draining)),
        Stat::gauge(&server, "state", state_number(state)),
        Stat::gauge(&server, "uptime", admin.started.elapsed().as_secs()),
    ]);
    stats.sort();
    Some(stats)
}

/// The number of `envoy.admin.v3.ServerInfo.State`.
fn state_number(state: ServerState) -> u64 {
    match state {
        ServerState::Live => 0,
        ServerState::Draining => 1,
        ServerState::Initializing => 3,
    }
}

/// Prometheus' form: all samples of a family together.
fn text(stats: Vec<Stat>) -> String {
    let mut samples: Vec<(String, String, &Stat)> = stats
        .iter()
        .map(|stat| {
            let (name, labels) = stat.prometheus();
            (name, labels, stat)
        })
        .collect();
    samples.sort();
    let mut out = String::new();
    let mut last = "";
    for (name, labels, stat) in &samples {
        if name != last {
            head(
                &mut out,
                name,
                "Envoy's statistic of this name.",
                if stat.gauge { Type::Gauge } else { Type::Counter },
            );
            last = name;
        }
        sample(&mut out, name, labels, stat.value);
    }
    out
}

// === impl Wanted ===

impl Wanted {
    fn of(&self, stats: Vec<Stat>) -> Result<Vec<Stat>, String> {
        let filter = self.filter.as_deref().map(|filter| {
            let built = regex::RegexBuilder::new(filter).size_limit(FILTER_BYTES_MAX).build();
            built.map_err(|error| format!("filter: {error}"))
        });
        let filter = filter.transpose()?;
        let gauges = match self.r#type.as_deref() {
            None | Some("" | "All") => None,
            Some("Counters") => Some(false),
            Some("Gauges") => Some(true),
            Some(other) => return Err(format!("type {other:?} is not supported: Counters, Gauges and All are")),
        };
        let wanted = |stat: &Stat| {
            gauges.is_none_or(|gauge| gauge == stat.gauge)
                && (self.usedonly.is_none() || stat.value > 0)
                && filter.as_ref().is_none_or(|filter| filter.is_match(&stat.name()))
        };
        Ok(stats.into_iter().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn some() -> Vec<Stat> {
        let (a, b) = (Scope::Cluster("a".into()), Scope::Cluster("b\"".into()));
        vec![
            Stat::counter(&a, "upstream_rq_total", 3),
            Stat::gauge(&a, "upstream_rq_active", 0),
            Stat::counter(&b, "upstream_rq_total", 1),
        ]
    }

    #[test]
    fn families_stand_together() {
        expect![[r#"
            # HELP envoy_cluster_upstream_rq_active Envoy's statistic of this name.
            # TYPE envoy_cluster_upstream_rq_active gauge
            envoy_cluster_upstream_rq_active{envoy_cluster_name="a"} 0
            # HELP envoy_cluster_upstream_rq_total Envoy's statistic of this name.
            # TYPE envoy_cluster_upstream_rq_total counter
            envoy_cluster_upstream_rq_total{envoy_cluster_name="a"} 3
            envoy_cluster_upstream_rq_total{envoy_cluster_name="b\""} 1
        "#]]
        .assert_eq(&text(some()));
    }

    #[test]
    fn queries_choose() {
        let check = |wanted: Wanted, expected: Result<&[&str], &str>| match (wanted.of(some()), expected) {
            (Ok(got), Ok(expected)) => {
                let names: Vec<String> = got.iter().map(Stat::name).collect();
                assert_eq!(names, expected, "{wanted:?}");
            }
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, _) => panic!("{wanted:?}: {got:?}"),
        };
        let of = |text: &str| Some(text.to_owned());
        let all = [
            "cluster.a.upstream_rq_total",
            "cluster.a.upstream_rq_active",
            "cluster.b\".upstream_rq_total",
        ];
        check(Wanted::default(), Ok(&all));
        check(
            Wanted {
                filter: of("^cluster\\.a\\."),
                ..Wanted::default()
            },
            Ok(&all[..2]),
        );
        check(
            Wanted {
                usedonly: of(""),
                filter: of("a.upstream"),
                ..Wanted::default()
            },
            Ok(&all[..1]),
        );
        check(
            Wanted {
                r#type: of("Gauges"),
                ..Wanted::default()
            },
            Ok(&all[1..2]),
        );
        check(
            Wanted {
                r#type: of("Histograms"),
                ..Wanted::default()
            },
            Err("Counters, Gauges and All"),
        );
        check(
            Wanted {
                filter: of("("),
                ..Wanted::default()
            },
            Err("filter: "),
        );
    }
}
