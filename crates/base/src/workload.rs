//! The identity of this process in the mesh: a certificate that renews itself.
//!
//! When to renew is a pure function of the certificate, the time and a random number; one task carries it out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::ca_client::{self, CaConfig};
use crate::identity::SpiffeId;
use crate::shutdown::Shutdown;

/// Pauses after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// Shortest time between certificates, should one come that is half used up.
const RENEWAL_MIN: Duration = Duration::from_millis(500);

/// A certificate with its key and the roots to check peers by.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadIdentity {
    /// Who it is for.
    pub id: SpiffeId,
    /// Chain in PEM, leaf first, without the root.
    pub chain_pem: String,
    /// Private key in PEM.
    pub key_pem: String,
    /// Trust roots in PEM.
    pub roots_pem: String,
    /// Not valid before.
    pub not_before: SystemTime,
    /// Not valid after.
    pub not_after: SystemTime,
}

/// Follows the identity of the process; empty until the first certificate came.
pub type IdentityWatch = watch::Receiver<Option<Arc<WorkloadIdentity>>>;

// === impl WorkloadIdentity ===

impl fmt::Debug for WorkloadIdentity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            not_before,
            not_after,
            ..
        } = self;
        f.debug_struct("WorkloadIdentity")
            .field("id", id)
            .field("not_before", not_before)
            .field("not_after", not_after)
            .finish_non_exhaustive()
    }
}

impl WorkloadIdentity {
    /// When to renew: at half the lifetime, give or take one percent so that a fleet does not renew at once. `random` is uniform over
    /// all 64-bit numbers.
    pub fn renew_at(&self, random: u64) -> SystemTime {
        let lifetime = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let jitter = lifetime.as_secs_f64() * 0.01 * (random as f64 / u64::MAX as f64 * 2.0 - 1.0);
        self.not_before + Duration::from_secs_f64((lifetime.as_secs_f64() / 2.0 + jitter).max(0.0))
    }

    /// Whether it can still be shown.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        now < self.not_after
    }
}

/// Gets a certificate and keeps it fresh. While the authority does not answer the last one stays in use.
pub fn follow(config: CaConfig, shutdown: &Shutdown) -> IdentityWatch {
    let (publish, watch) = watch::channel(None);
    let stop = shutdown.token();
    shutdown.spawn(async move {
        stop.run_until_cancelled(run(config, publish)).await;
    });
    watch
}

async fn run(config: CaConfig, publish: watch::Sender<Option<Arc<WorkloadIdentity>>>) {
    let mut failures = 0_u32;
    loop {
        let current = publish.borrow().clone();
        let shown = current.as_deref().filter(|current| current.is_valid(SystemTime::now()));
        let pause = match ca_client::request(&config, shown).await {
            Ok(identity) => {
                failures = 0;
                let renew_at = identity.renew_at(fastrand::u64(..));
                tracing::info!(id = %identity.id, not_after = ?identity.not_after, "certificate received");
                publish.send_replace(Some(Arc::new(identity)));
                renew_at.duration_since(SystemTime::now()).unwrap_or(RENEWAL_MIN)
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(%error, failures, "no certificate from the authority, trying again");
                BACKOFF.pause(failures, fastrand::u64(..))
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(lifetime: Duration) -> WorkloadIdentity {
        let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        WorkloadIdentity {
            id: "spiffe://cluster.local/ns/a/sa/b".parse().unwrap(),
            chain_pem: String::new(),
            key_pem: "secret".to_owned(),
            roots_pem: String::new(),
            not_before,
            not_after: not_before + lifetime,
        }
    }

    #[test]
    fn renewal_is_at_half_life_with_jitter() {
        let day = identity(Duration::from_secs(86_400));
        for (random, from, to) in [
            (0, 42_335, 42_337),
            (u64::MAX / 2, 43_199, 43_201),
            (u64::MAX, 44_063, 44_065),
        ] {
            let after = day.renew_at(random).duration_since(day.not_before).unwrap().as_secs();
            assert!((from..=to).contains(&after), "{random}: {after}");
        }
        assert!(day.is_valid(day.not_after - Duration::from_secs(1)) && !day.is_valid(day.not_after));
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", identity(Duration::ZERO)).contains("secret"));
    }
}
