//! Steady traffic through the ingress gateway, counted by what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::tally::Tally;
use crate::http::Client;

/// Clients, each with a connection and a thread.
const CLIENTS: u32 = 12;
/// Requests a second, all clients together.
const RPS: u32 = 300;
/// Each client sends a canary request, and one to the flaky route, once in so many requests.
const CANARY_EVERY: u64 = 50;
const FLAKY_EVERY: u64 = 5;
/// An answer that takes longer is an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    tallies: Receiver<Tally>,
    clients: Vec<JoinHandle<()>>,
}

// === impl Traffic ===

impl Traffic {
    /// Starts the clients.
    pub(super) fn start(target: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, tallies) = channel();
        let gap = Duration::from_secs(1) * CLIENTS / RPS;
        let clients = (0..CLIENTS).map(|index| {
            let (stop, sender) = (Arc::clone(&stop), sender.clone());
            let first = Instant::now() + gap * index / CLIENTS;
            std::thread::spawn(move || run_client(target, first, gap, u64::from(index), &stop, &sender))
        });
        let clients = clients.collect();
        Self { stop, clients, tallies }
    }

    /// What has been counted since the last call.
    pub(super) fn collect(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.try_iter().for_each(|tally| total.add(tally));
        total
    }

    /// Lets requests in flight finish and hands out the rest of the counts.
    pub(super) fn finish(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            if client.join().is_err() {
                bail!("a client of the demo panicked");
            }
        }
        Ok(self.collect())
    }
}

/// Sends requests when they are due; a late answer makes the next request late, not lost.
fn run_client(
    target: SocketAddr,
    first: Instant,
    gap: Duration,
    offset: u64,
    stop: &AtomicBool,
    sender: &Sender<Tally>,
) {
    let mut client = Client::new(target, ANSWER_TIMEOUT);
    let mut due = first;
    // Clients begin at different places, so that kinds of requests are spread evenly.
    let mut number = offset * 7;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        number += 1;
        let tally = if number.is_multiple_of(CANARY_EVERY) {
            canary(&mut client)
        } else {
            split(
                &mut client,
                if number.is_multiple_of(FLAKY_EVERY) {
                    "/flaky"
                } else {
                    "/"
                },
            )
        };
        if sender.send(tally).is_err() {
            return;
        }
    }
}

/// A request that the weights split.
fn split(client: &mut Client, path: &str) -> Tally {
    let start = Instant::now();
    let mut tally = Tally {
        requests: 1,
        ..Tally::default()
    };
    match ask(client, path, "demo/1.0") {
        Ok((version, attempt)) => {
            *if version == "v2" { &mut tally.v2 } else { &mut tally.v1 } += 1;
            tally.retries += attempt.saturating_sub(1);
            tally
                .micros
                .push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Err(error) => note_error(&mut tally, path, &error),
    }
    tally
}

/// A request that the user agent sends to version 2.
fn canary(client: &mut Client) -> Tally {
    let mut tally = Tally {
        canary: 1,
        ..Tally::default()
    };
    match ask(client, "/", "canary/1.0") {
        Ok((version, _)) => tally.canary_lost += u64::from(version != "v2"),
        Err(error) => note_error(&mut tally, "/ (canary)", &error),
    }
    tally
}

fn note_error(tally: &mut Tally, path: &str, error: &anyhow::Error) {
    tally.client_errors += 1;
    tally.last_error = Some(format!("{path}: {error:#}"));
}

/// The version that answered and on which try.
fn ask(client: &mut Client, path: &str, user_agent: &str) -> Result<(String, u64)> {
    let answer = client.get(path, &[("user-agent", user_agent)])?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "status {}: {}", answer.status, text.trim());
    let body: Value = serde_json::from_slice(&answer.body)?;
    let Some(version @ ("v1" | "v2")) = body["callme"]["version"].as_str() else {
        bail!("no version in the answer: {text}");
    };
    Ok((version.to_owned(), body["callme"]["attempt"].as_u64().unwrap_or(1)))
}
