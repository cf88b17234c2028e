//! Runs cases through both proxies: each lane has a listener, a cluster and an upstream of its own on both sides.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::case::{Answer, Body, Case, Request};
use super::outcome::Outcome;
use super::words;
use crate::wire::rig::{self, Places, Rig, Side};
use crate::wire::upstream::Reply;
use crate::wire::{bytes_of, h1, h2};

/// A client waits no longer for what does not come.
const LIMIT: Duration = Duration::from_secs(1);
/// What the access log says of a request: whose it was, status and flags.
const LOG: &str = "%DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE% %RESPONSE_FLAGS%\n";

/// A case that has been through both.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) case: Case,
    pub(super) envoy: Outcome,
    pub(super) weft: Outcome,
}

/// Gives a lane its next case, until it has none; each lane has the configuration of its own case in `configs`.
pub(super) type Next<'a> = &'a (dyn Fn(usize) -> Option<Case> + Sync);

/// Starts both, runs what `next` gives, ends both, and adds what the access logs say.
pub(super) fn world(dir: &Path, configs: &[Case], next: Next<'_>) -> Result<Vec<Ran>> {
    let _ = std::fs::remove_dir_all(dir);
    let rig = Rig::start(dir, configs.len(), configs.len(), &|places| config(places, configs))?;
    let ran: Result<Vec<Vec<Ran>>> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..configs.len())
            .map(|lane| {
                let rig = &rig;
                scope.spawn(move || run_lane(rig, lane, next))
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
            .collect()
    });
    let mut rig = rig;
    rig.envoy.check_running()?;
    rig.weft.check_running()?;
    let dirs = [rig.envoy.places.dir.clone(), rig.weft.places.dir.clone()];
    rig.stop();
    let mut ran = ran?;
    for (lane, ran) in ran.iter_mut().enumerate() {
        let [envoy, weft] = dirs.each_ref().map(|dir| log(&dir.join(format!("{lane}.log"))));
        for ran in ran {
            ran.envoy.logged(&envoy);
            ran.weft.logged(&weft);
        }
    }
    Ok(ran.into_iter().flatten().collect())
}

fn run_lane(rig: &Rig, lane: usize, next: Next<'_>) -> Result<Vec<Ran>> {
    let mut ran = Vec::new();
    while let Some(case) = next(lane) {
        let (envoy, weft) = std::thread::scope(|scope| {
            let envoy = scope.spawn(|| run(&rig.envoy, lane, &case));
            let weft = run(&rig.weft, lane, &case);
            (envoy.join().unwrap_or_else(|_| bail!("a client panicked")), weft)
        });
        ran.push(Ran {
            envoy: envoy.context("through Envoy")?,
            weft: weft.context("through weft-proxy")?,
            case,
        });
    }
    Ok(ran)
}

/// Lines of an access log by the client's port.
fn log(file: &Path) -> BTreeMap<u16, Vec<String>> {
    let mut lines: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        let Some((client, said)) = line.split_once(' ') else {
            continue;
        };
        if let Some(port) = client.rsplit_once(':').and_then(|(_, port)| port.parse().ok()) {
            lines.entry(port).or_default().push(said.to_owned());
        }
    }
    lines
}

fn run(side: &Side, lane: usize, case: &Case) -> Result<Outcome> {
    let upstream = &side.upstreams[lane];
    upstream.reset(&case.answers.iter().map(reply).collect::<Vec<_>>());
    let to = side.places.listeners[lane];
    let heard = if case.http2 {
        let bytes = case
            .requests
            .iter()
            .zip((1..).step_by(2))
            .flat_map(|(request, stream)| frames(request, stream));
        let talk = h2::Talk {
            settings: Vec::new(),
            bytes: bytes.collect(),
            streams: (1..).step_by(2).take(case.requests.len()).collect(),
            obliging: true,
            abort: case.aborted,
            limit: LIMIT,
        };
        h2::talk(to, &talk)?
    } else {
        let mut parts: Vec<Vec<u8>> = case.requests.iter().map(|request| bytes_of(&request.text())).collect();
        if case.pipelined {
            parts = vec![parts.concat()];
        }
        let talk = h1::Talk {
            parts,
            answers: case.requests.len(),
            abort: case.aborted,
            barren: case.requests.iter().map(|request| request.method == "HEAD").collect(),
            limit: LIMIT,
        };
        h1::talk(to, &talk)?
    };
    Ok(Outcome::new(&heard, &upstream.seen(), case.http2))
}

fn reply(answer: &Answer) -> Reply {
    let text = bytes_of(&answer.text());
    let parts = if answer.slow {
        let (first, second) = text.split_at(text.len() / 2);
        vec![first.to_vec(), second.to_vec()]
    } else {
        vec![text]
    };
    Reply {
        early: answer.early,
        parts,
        then: answer.then,
    }
}

/// A request as frames.
fn frames(request: &Request, stream: u32) -> Vec<u8> {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = vec![field(":method", request.method), field(":scheme", "http")];
    fields.extend(request.host.map(|host| field(":authority", host)));
    fields.push(field(":path", &request.target));
    for line in request.lines.iter().flat_map(|line| line.split("\r\n")) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        fields.push(field(name, value.trim_start()));
    }
    let mut body = request.body.bytes();
    match &request.body {
        Body::Length(text) => fields.push(field("content-length", &text.len().to_string())),
        Body::Broken(_) => {
            fields.push(field("content-length", "9"));
            body = b"hello".to_vec();
        }
        Body::None | Body::Chunks(..) => {}
    }
    let trailers = match &request.body {
        Body::Chunks(_, end) if end.contains("t: 1") => vec![field("t", "1")],
        Body::None | Body::Length(_) | Body::Chunks(..) | Body::Broken(_) => Vec::new(),
    };
    h2::message(stream, &fields, &body, &trailers)
}

/// The configuration of every lane.
fn config(places: &Places, configs: &[Case]) -> (Vec<Value>, Vec<Value>) {
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (lane, case) in configs.iter().enumerate() {
        let name = format!("a{lane}");
        let mut routes: Vec<Value> = case.routes.iter().map(|index| parsed(words::ROUTES[*index])).collect();
        for route in &mut routes {
            if let Some(cluster) = route.pointer_mut("/route/cluster") {
                *cluster = json!(name);
            }
        }
        let mut manager = manager(case);
        let log = json!([{"name": "envoy.access_loggers.file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": places.dir.join(format!("{lane}.log")).display().to_string(),
            "log_format": {"text_format_source": {"inline_string": LOG}},
        }}]);
        let hosts = json!([{"name": "all", "domains": ["*"], "routes": routes}]);
        rig::merge(
            &mut manager,
            &json!({"access_log": log, "route_config": {"name": "all", "virtual_hosts": hosts}}),
        );
        listeners.push(rig::http_listener(&name, places.listeners[lane], &manager));
        clusters.push(rig::cluster(&name, places.upstreams[lane], &cluster(case)));
    }
    (listeners, clusters)
}

/// The fields of a case's connection manager.
pub(super) fn manager(case: &Case) -> Value {
    together(case.manager.iter().map(|index| words::MANAGERS[*index]))
}

/// The fields of a case's cluster.
pub(super) fn cluster(case: &Case) -> Value {
    together(case.cluster.iter().map(|index| words::CLUSTERS[*index]))
}

fn together<'a>(pieces: impl Iterator<Item = &'a str>) -> Value {
    let mut value = json!({});
    pieces.for_each(|piece| rig::merge(&mut value, &parsed(piece)));
    value
}

/// A piece of `words`; a test reads them all.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_configuration_is_json() {
        for text in [words::MANAGERS, words::ROUTES, words::CLUSTERS].concat() {
            assert!(parsed(text).is_object(), "{text}");
        }
    }
}
