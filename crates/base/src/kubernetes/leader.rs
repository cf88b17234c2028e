//! Which of several replicas does what only one may do: a Lease (`coordination.k8s.io/v1`) that its holder renews.
//!
//! Who holds it is decided by a pure function of what was seen and when; one task carries it out. Clocks of replicas need
//! not agree: a lease counts from when its last change was seen.

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
const LEASE: Duration = Duration::from_secs(15);

/// A holder that cannot renew for so long stops, before others may start.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Pause between looks at the lease.
const PERIOD: Duration = Duration::from_secs(2);

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(4);

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

/// One candidate.
struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Seen,
}

/// Takes part in the election of `namespace/name` under the name `identity`. The value says whether this process leads. The
/// lease is given back when the shutdown starts.
pub fn campaign(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
    shutdown: &Shutdown,
) -> watch::Receiver<bool> {
    let (publish, leads) = watch::channel(false);
    let candidate = Candidate {
        api: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity: identity.to_owned(),
        seen: Seen::default(),
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
        let duration = seconds.map_or(LEASE, Duration::from_secs);
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
        let mut renewed: Option<Instant> = None;
        loop {
            let attempt = tokio::time::timeout(TIMEOUT, self.attempt(Instant::now())).await;
            let leads = match attempt {
                Ok(Ok(held)) => {
                    renewed = held.then(Instant::now);
                    held
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot renew or read the lease, trying again");
                    renewed.is_some_and(|at| at.elapsed() < RENEW_DEADLINE)
                }
                Err(_) => renewed.is_some_and(|at| at.elapsed() < RENEW_DEADLINE),
            };
            if publish.send_replace(leads) != leads {
                tracing::info!(lease = self.name, identity = self.identity, leads, "leadership changed");
            }
            tokio::select! {
                () = stop.started() => break,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        let led = publish.send_replace(false);
        if led && let Err(error) = tokio::time::timeout(TIMEOUT, self.release()).await.unwrap_or(Ok(())) {
            tracing::debug!(lease = self.name, %error, "the lease was not given back");
        }
    }

    /// Looks at the lease and takes or renews it if it may; whether it is ours now.
    async fn attempt(&mut self, now: Instant) -> kube::Result<bool> {
        let current = self.api.get_opt(&self.name).await?;
        self.seen
            .update(current.as_ref().and_then(|lease| lease.spec.clone()), now);
        if self.seen.step(&self.identity, now) == Step::Wait {
            return Ok(false);
        }
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
            Ok(lease) => {
                self.seen.update(lease.spec, now);
                Ok(true)
            }
            Err(error) if is_status(&error, 409) => Ok(false),
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
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: ours.map_or_else(|| Some(now.clone()), |ours| ours.acquire_time.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(ours.is_none() && old.is_some()))),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let Some(spec) = &mut lease.spec else {
            return Ok(());
        };
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = Some(String::new());
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_free_or_not_renewed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        assert_eq!(seen.step("a", start), Step::Take);
        seen.update(Some(held_by("b", 1)), at(0));
        assert_eq!(seen.step("a", at(14)), Step::Wait);
        assert_eq!(seen.step("b", at(14)), Step::Take);
        // Seen again without a change: the time goes on.
        seen.update(Some(held_by("b", 1)), at(14));
        assert_eq!(seen.step("a", at(15)), Step::Take);
        // Renewed: the time starts anew.
        seen.update(Some(held_by("b", 2)), at(15));
        assert_eq!(seen.step("a", at(29)), Step::Wait);
        // Given back.
        seen.update(Some(held_by("", 2)), at(29));
        assert_eq!(seen.step("a", at(29)), Step::Take);
    }
}
