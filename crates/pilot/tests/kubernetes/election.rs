//! Two candidates for one lease: never two leaders at once, and always one again.
//!
//! Time is paused, so each case says to the second when who leads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use weft_base::kubernetes::leader::{self, LEASE_DURATION, PERIOD, RENEW_DEADLINE, TIMEOUT};
use weft_base::shutdown::{Drained, Shutdown};

use crate::server::{Fault, LEASES, Rule, Server};

const LEASE: &str = "writer";

/// A change of mind: who, whether it leads now, when.
type Turn = (&'static str, bool, Instant);

/// Candidates of one election.
struct Race {
    server: Server,
    turns: Arc<Mutex<Vec<Turn>>>,
    start: Instant,
}

struct Runner {
    shutdown: Shutdown,
    leads: watch::Receiver<bool>,
}

impl Race {
    fn new() -> Self {
        Self {
            server: Server::new(),
            turns: Arc::default(),
            start: Instant::now(),
        }
    }

    /// A candidate, of which every turn is noted.
    fn enter(&self, name: &'static str) -> Runner {
        let shutdown = Shutdown::new();
        let client = self.server.client(name);
        let leads = leader::campaign(client, "weft-system", LEASE, name.to_owned(), &shutdown);
        let (mut watched, turns) = (leads.clone(), self.turns.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let mut led = false;
            while watched.wait_for(|leads| *leads != led).await.is_ok() {
                led = !led;
                turns.lock().push((name, led, Instant::now()));
            }
        });
        Runner { shutdown, leads }
    }

    fn fail(&self, client: &'static str, method: &'static str, fault: Fault, times: usize) {
        self.server.fail(Rule {
            client,
            method,
            path: "leases",
            fault,
            times,
        });
    }

    /// The turns so far, in seconds since the start. Two leaders at once fail the test.
    fn turns(&self) -> Vec<(&'static str, bool, f64)> {
        let turns = self.turns.lock();
        let mut leader = None;
        for (name, leads, _) in turns.iter() {
            match (leader, leads) {
                (None, true) => leader = Some(*name),
                (Some(old), false) if old == *name => leader = None,
                _ => panic!("two leaders: {turns:?}"),
            }
        }
        let seconds = |at: &Instant| (*at - self.start).as_secs_f64();
        turns
            .iter()
            .map(|(name, leads, at)| (*name, *leads, seconds(at)))
            .collect()
    }

    fn holder(&self) -> String {
        let writes = self.server.writes();
        let done = writes.iter().rfind(|write| !write.object.is_null());
        done.map_or_else(String::new, |write| {
            write.object["spec"]["holderIdentity"].as_str().unwrap().to_owned()
        })
    }
}

impl Runner {
    async fn until(&self, leads: bool) {
        let mut watched = self.leads.clone();
        let wait = watched.wait_for(|current| *current == leads);
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap()
            .unwrap();
    }

    async fn stop(&self) {
        assert_eq!(self.shutdown.drain(TIMEOUT * 2).await, Drained::Complete);
    }
}

/// A time in seconds, up to what timers round.
fn check_time(what: &str, actual: f64, expected: Duration) {
    let expected = expected.as_secs_f64();
    assert!((actual - expected).abs() < 0.1, "{what}: {actual} is not {expected}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_gives_way_at_once() {
    let race = Race::new();
    let (a, b) = (race.enter("a"), race.enter("b"));
    tokio::time::sleep(PERIOD * 20).await;
    let first = race.turns();
    assert_eq!(first.len(), 1, "one of them leads, and stays: {first:?}");
    let (winner, loser) = if first[0].0 == "a" { (a, b) } else { (b, a) };
    winner.stop().await;
    let given_back = race.start.elapsed();
    assert_eq!(race.holder(), "");
    loser.until(true).await;
    let turns = race.turns();
    assert_eq!(turns.len(), 3, "{turns:?}");
    assert!(race.start.elapsed() - given_back <= PERIOD, "{turns:?}");
    loser.stop().await;
    assert_eq!(race.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let race = Race::new();
    let a = race.enter("a");
    a.until(true).await;
    let b = race.enter("b");
    // In the middle of a period, so the last renewal was a second ago.
    tokio::time::sleep(PERIOD * 5 / 2).await;
    race.fail("a", "", Fault::Hang, usize::MAX);
    b.until(true).await;
    let turns = race.turns();
    let what: Vec<_> = turns.iter().map(|(name, leads, _)| (*name, *leads)).collect();
    assert_eq!(what, [("a", true), ("a", false), ("b", true)]);
    check_time("a stops", turns[1].2, PERIOD * 2 + RENEW_DEADLINE);
    // b sees the last renewal with its next look, and counts from then.
    assert!(turns[2].2 >= (PERIOD * 2 + LEASE_DURATION).as_secs_f64(), "{turns:?}");
    assert!(turns[2].2 <= (PERIOD * 4 + LEASE_DURATION).as_secs_f64(), "{turns:?}");
    // Back again, it finds the other's lease and leaves it alone.
    race.server.mend("a");
    tokio::time::sleep(LEASE_DURATION * 2).await;
    assert_eq!(race.turns().len(), 3);
    assert_eq!(race.holder(), "b");
    a.stop().await;
    assert_eq!(race.holder(), "b", "who does not hold it gives nothing back");
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn short_failures_cost_no_leadership() {
    let faults = [
        ("GET", Fault::Refuse(500), 3),
        ("PUT", Fault::Refuse(500), 3),
        ("GET", Fault::Hang, 1),
        ("PUT", Fault::Hang, 1),
        ("PUT", Fault::LoseAnswer, 1),
        ("PUT", Fault::SlowAnswer(TIMEOUT / 2), 5),
        ("PUT", Fault::Overtake, 1),
        // More often than is tried at once.
        ("PUT", Fault::Overtake, 4),
        ("PUT", Fault::Refuse(409), 4),
    ];
    for (method, fault, times) in faults {
        let race = Race::new();
        let a = race.enter("a");
        a.until(true).await;
        let b = race.enter("b");
        race.fail("a", method, fault, times);
        tokio::time::sleep(LEASE_DURATION * 3).await;
        assert_eq!(race.turns().len(), 1, "{method} {fault:?}: {:?}", race.turns());
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_given_back_at_the_end() {
    let race = Race::new();
    race.fail("a", "POST", Fault::LoseAnswer, 1);
    let a = race.enter("a");
    tokio::time::sleep(TIMEOUT / 2).await;
    assert_eq!(
        race.turns(),
        [],
        "who does not know that it holds the lease does not lead"
    );
    assert_eq!(race.holder(), "a");
    a.stop().await;
    assert_eq!(race.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn clocks_of_others_do_not_matter() {
    for renewed in ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let race = Race::new();
        let spec =
            json!({"holderIdentity": "gone", "leaseDurationSeconds": 20, "leaseTransitions": 4, "renewTime": renewed});
        race.server
            .put(LEASES, json!({"metadata": {"name": LEASE}, "spec": spec}));
        let a = race.enter("a");
        a.until(true).await;
        let turns = race.turns();
        check_time(renewed, turns[0].2, Duration::from_secs(20));
        let write = race.server.writes().pop().unwrap();
        assert_eq!(write.object["spec"]["leaseTransitions"], 5);
        a.stop().await;
    }
}
