//! Which of several replicas writes: a Lease (`coordination.k8s.io/v1`) that its holder renews.
//!
//! Clocks of replicas need not agree: a lease counts from when its last change was seen here, and its times are only for
//! readers. Every write carries the version that was read, so that of two candidates the server lets one through. A holder
//! counts its time from before it asked, and stops at its deadline even while a request is on its way.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{OWNED, is_status};
use crate::shutdown::Shutdown;

/// A lease that nobody renews for so long is free (client-go's default).
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A holder stops so long after the last renewal that worked began. What is left of the lease is for writes that are still on
/// their way, and for clocks that run at different speeds.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Pause between looks at the lease.
pub const PERIOD: Duration = Duration::from_secs(2);

/// Longest time that one look, with the write that follows from it, may take. Giving the lease back has as long; that is less
/// than the end of the process waits for its tasks.
pub const TIMEOUT: Duration = Duration::from_secs(4);

/// How often a write is tried at once when somebody else was faster.
const TRIES: usize = 3;

/// What was seen of a lease.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    spec: Option<LeaseSpec>,
    since: Option<Instant>,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Write it with our name: it is free, over, or ours.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// How one try to hold the lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// It is ours until then.
    Held(Instant),
    /// Somebody else has it.
    Elsewhere,
    /// It changed between the look and the write, so it must be looked at again.
    Overtaken,
}

struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Seen,
    /// A write with our name was begun, and nothing since says that the lease is not ours.
    claimed: bool,
}

/// The name under which this process takes part: that of its pod, of which there is one. Without it the name of the host with
/// the process and a random number, because containers of one host may share its name and have the same process number.
pub fn identity(pod_name: Option<&str>) -> String {
    if let Some(name) = pod_name.map(str::trim).filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}-{}-{:016x}", std::process::id(), fastrand::u64(..))
}

/// Takes part in the election of `namespace/name` under the name `identity`. The value says whether this process leads. The
/// lease is given back when the shutdown starts.
pub fn campaign(
    client: Client,
    namespace: &str,
    name: &str,
    identity: String,
    shutdown: &Shutdown,
) -> watch::Receiver<bool> {
    let (publish, leads) = watch::channel(false);
    let candidate = Candidate {
        api: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity,
        seen: Seen::default(),
        claimed: false,
    };
    let stop = shutdown.clone();
    shutdown.spawn(candidate.run(publish, stop));
    leads
}

// === impl Seen ===

impl Seen {
    /// Takes in the lease as it is now; a change starts its time anew.
    fn update(&mut self, spec: Option<LeaseSpec>, now: Instant) {
        if self.since.is_none() || self.spec != spec {
            *self = Self { spec, since: Some(now) };
        }
    }

    fn step(&self, identity: &str, now: Instant) -> Step {
        let Some(spec) = &self.spec else {
            return Step::Take;
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
        let over = self.since.is_some_and(|since| now >= since + duration);
        if holder.is_empty() || holder == identity || over {
            Step::Take
        } else {
            Step::Wait
        }
    }
}

// === impl Candidate ===

impl Candidate {
    async fn run(mut self, publish: watch::Sender<bool>, stop: Shutdown) {
        let token = stop.token();
        token.run_until_cancelled(self.stand(&publish)).await;
        publish.send_replace(false);
        if !self.claimed {
            return;
        }
        match tokio::time::timeout(TIMEOUT, self.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease was not given back"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not given back in time"),
        }
    }

    /// Looks at the lease for ever, and says whether it is ours.
    async fn stand(&mut self, publish: &watch::Sender<bool>) {
        let mut until: Option<Instant> = None;
        loop {
            let limit = earlier(Instant::now() + TIMEOUT, until);
            match tokio::time::timeout_at(limit, self.attempt()).await {
                Ok(Ok(Tried::Held(held))) => until = Some(held),
                Ok(Ok(Tried::Elsewhere)) => until = None,
                Ok(Ok(Tried::Overtaken)) => {
                    tracing::warn!(lease = self.name, "the lease changes all the time, trying again");
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot renew or read the lease, trying again");
                }
                Err(_) => tracing::warn!(lease = self.name, "no answer about the lease, trying again"),
            }
            until = self.settle(until, publish);
            tokio::time::sleep_until(earlier(Instant::now() + PERIOD, until)).await;
            until = self.settle(until, publish);
        }
    }

    /// Says whether this process leads now; a deadline that has passed is none.
    fn settle(&self, until: Option<Instant>, publish: &watch::Sender<bool>) -> Option<Instant> {
        let until = until.filter(|until| Instant::now() < *until);
        let leads = until.is_some();
        if publish.send_replace(leads) != leads {
            tracing::info!(lease = self.name, identity = self.identity, leads, "leadership changed");
        }
        until
    }

    /// Takes or renews the lease if it may.
    async fn attempt(&mut self) -> kube::Result<Tried> {
        for _ in 1..TRIES {
            let tried = self.try_once().await?;
            if tried != Tried::Overtaken {
                return Ok(tried);
            }
        }
        self.try_once().await
    }

    async fn try_once(&mut self) -> kube::Result<Tried> {
        let current = self.api.get_opt(&self.name).await?;
        // Another's time counts from the answer: it may have been renewed until just then.
        let now = Instant::now();
        self.seen
            .update(current.as_ref().and_then(|lease| lease.spec.clone()), now);
        if self.seen.step(&self.identity, now) == Step::Wait {
            self.claimed = false;
            return Ok(Tried::Elsewhere);
        }
        self.claimed = true;
        let written = match current {
            None => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        labels: Some(OWNED.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.taken(None)),
                };
                self.api.create(&PostParams::default(), &lease).await
            }
            Some(mut lease) => {
                lease.spec = Some(self.taken(lease.spec.as_ref()));
                // The version in its metadata makes the write fail if somebody was faster.
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            // Our own time counts from before the write: others may have seen it long before we hear of it.
            Ok(_) => Ok(Tried::Held(now + RENEW_DEADLINE)),
            Err(error) if is_status(&error, 409) => Ok(Tried::Overtaken),
            Err(error) => Err(error),
        }
    }

    /// The lease with our name.
    fn taken(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = old.filter(|old| old.holder_identity.as_deref() == Some(&self.identity));
        let transitions = old.and_then(|old| old.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: ours.map_or_else(|| Some(now.clone()), |ours| ours.acquire_time.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(ours.is_none() && old.is_some()))),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    async fn release(&self) -> kube::Result<()> {
        let mut tries = TRIES;
        loop {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            let ours = |spec: &&mut LeaseSpec| spec.holder_identity.as_deref() == Some(&self.identity);
            let Some(spec) = lease.spec.as_mut().filter(ours) else {
                return Ok(());
            };
            spec.holder_identity = Some(String::new());
            tries -= 1;
            match self.api.replace(&self.name, &PostParams::default(), &lease).await {
                Ok(_) => {
                    tracing::info!(lease = self.name, identity = self.identity, "the lease was given back");
                    return Ok(());
                }
                // A renewal of ours that was given up may have arrived after all.
                Err(error) if is_status(&error, 409) && tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn earlier(at: Instant, until: Option<Instant>) -> Instant {
    until.map_or(at, |until| at.min(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen, by whom in which version of the lease, at which second; who asks when, and what it shall do.
    type Row<'a> = (&'a str, &'a [(Option<(&'a str, i32)>, u64)], (&'a str, u64), Step);

    fn check((what, seen, (identity, asked), expected): Row<'_>) {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut state = Seen::default();
        for (lease, second) in seen {
            let spec = lease.map(|(holder, transitions)| LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(transitions),
                // Of a clock that is far behind ours.
                renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                ..LeaseSpec::default()
            });
            state.update(spec, at(*second));
        }
        assert_eq!(state.step(identity, at(asked)), expected, "{what}");
    }

    #[test]
    fn a_lease_is_taken_when_free_or_not_renewed() {
        let (b1, b2) = (Some(("b", 1)), Some(("b", 2)));
        let rows: &[Row<'_>] = &[
            ("nothing was seen", &[], ("a", 0), Step::Take),
            ("there is none", &[(None, 0)], ("a", 0), Step::Take),
            ("another's, just seen", &[(b1, 0)], ("a", 0), Step::Wait),
            ("another's, nearly over", &[(b1, 0)], ("a", 14), Step::Wait),
            ("our own", &[(b1, 0)], ("b", 14), Step::Take),
            (
                "seen again unchanged, over",
                &[(b1, 0), (b1, 14)],
                ("a", 15),
                Step::Take,
            ),
            ("renewed", &[(b1, 0), (b2, 14)], ("a", 28), Step::Wait),
            ("renewed, over", &[(b1, 0), (b2, 14)], ("a", 29), Step::Take),
            ("given back", &[(b1, 0), (Some(("", 1)), 3)], ("a", 3), Step::Take),
        ];
        for row in rows {
            check(*row);
        }
    }

    #[test]
    fn an_identity_is_the_pods_or_unique() {
        assert_eq!(identity(Some("weft-pilot-7d9-x")), "weft-pilot-7d9-x");
        for none in [None, Some(""), Some(" ")] {
            let (one, other) = (identity(none), identity(none));
            assert!(one.contains(&std::process::id().to_string()), "{one}");
            assert_ne!(one, other);
        }
    }
}
