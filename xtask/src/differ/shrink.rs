//! Makes a case that differs smaller, and says it as a row of the oracle's tables.

use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Answer, Case};
use super::outcome::Difference;
use super::run::{self, Ran};
use super::{known, words};
use crate::wire::locked;
use crate::wire::upstream::Then;

/// Cases that are tried in one pair of processes.
const TOGETHER: usize = 24;
/// Rounds at most; each takes a piece away.
const ROUNDS: usize = 24;
/// A difference is one that shows that many times out of as many runs.
const REPEATS: usize = 2;

/// Runs cases, each on a listener of its own and so with its own configuration.
fn all(dir: &Path, cases: &[Case]) -> Result<Vec<Ran>> {
    let left = Mutex::new(cases.iter().cloned().map(Some).collect::<Vec<_>>());
    run::world(dir, cases, &|lane| locked(&left)[lane].take())
}

/// The difference of a case that shows again each time; none where it does not.
pub(super) fn confirmed(dir: &Path, case: &Case) -> Result<Option<Ran>> {
    let mut ran = all(dir, &vec![case.clone(); REPEATS])?;
    let differs = |ran: &Ran| !unexplained(ran).is_empty();
    Ok(if ran.iter().all(differs) { ran.pop() } else { None })
}

fn unexplained(ran: &Ran) -> Difference {
    known::explains(ran).1
}

/// The smallest case that is found of the same difference, or of a part of it: several causes may have come together in the first.
pub(super) fn shrunk(dir: &Path, first: Ran) -> Result<Ran> {
    let mut labels = unexplained(&first).labels();
    let mut best = first;
    for _ in 0..ROUNDS {
        let smaller = best.case.smaller();
        let mut found = None;
        for some in smaller.chunks(TOGETHER) {
            let ran = all(dir, some)?;
            let is_part = |ran: &Ran| {
                let smaller = unexplained(ran).labels();
                !smaller.is_empty() && smaller.is_subset(&labels)
            };
            found = ran.into_iter().find(is_part);
            if let Some(found) = &found {
                labels = unexplained(found).labels();
                break;
            }
        }
        match found {
            Some(ran) => best = ran,
            None => break,
        }
    }
    Ok(best)
}

/// A row for `tests/tests/it/oracle/rows`.
pub(super) fn row(name: &str, ran: &Ran) -> String {
    let case = &ran.case;
    let statuses = ran.envoy.expectation();
    let asked = ran
        .envoy
        .lines
        .iter()
        .filter(|line| line.starts_with("upstream start: "))
        .count();
    let asked = " a".repeat(asked);
    let routes: Vec<Value> = case
        .routes
        .iter()
        .map(|index| run::parsed(words::ROUTES[*index]))
        .collect();
    let answers: Vec<Value> = case.answers.iter().map(answer).collect();
    let mut text = format!("- name: {name}\n");
    let mut field = |name: &str, value: &Value, empty: &Value| {
        if value != empty {
            text += &format!("  {name}: {value}\n");
        }
    };
    field("hcm", &run::manager(case), &json!({}));
    field("clusters", &json!({"a": run::cluster(case)}), &json!({"a": {}}));
    field("routes", &json!(routes), &json!([]));
    field("backends", &json!({"a": answers}), &Value::Null);
    // What a row has no word for.
    for (so, said) in [
        (case.aborted, "the client goes away when all is sent"),
        (
            case.requests.len() > 1 && !case.pipelined,
            "requests come one after the other",
        ),
        (
            case.answers.iter().any(|answer| answer.early),
            "answers come before the body has",
        ),
        (
            case.answers.iter().any(|answer| answer.slow),
            "answers come in two parts",
        ),
    ] {
        if so {
            text += &format!("  # {said}\n");
        }
    }
    for answer in case.answers.iter().filter(|answer| answer.then == Then::Reset) {
        text += &format!("  # the reset follows upon {:?}\n", answer.text());
    }
    text += "  requests:\n";
    if case.http2 {
        for request in &case.requests {
            let status = statuses.first().map_or("none", String::as_str);
            let body = String::from_utf8_lossy(&request.body.bytes()).into_owned();
            let row = json!({"http2": true, "method": request.method, "get": request.target, "host": request.host.unwrap_or_default(),
                "headers": request.lines, "body": body, "expect": format!("{status}{asked}")});
            text += &format!("  - {row}\n");
        }
    } else {
        let raw: String = case.requests.iter().map(|request| request.text()).collect();
        let status = statuses.first().map_or("none", String::as_str);
        text += &format!("  - {}\n", json!({"raw": raw, "expect": format!("{status}{asked}")}));
    }
    text
}

fn answer(answer: &Answer) -> Value {
    match answer.then {
        Then::Reset | Then::Hang => json!({"action": "reset"}),
        Then::Keep | Then::Close => json!({"raw": answer.text()}),
    }
}
