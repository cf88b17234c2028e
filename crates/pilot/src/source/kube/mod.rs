//! Objects from a Kubernetes API server, followed live.
//!
//! Discovery says which kinds and versions the server has; each gets a watch; a mirror of what the watches said turns their
//! events into the same [`SourceEvent`]s that files give.

mod credentials;
mod discover;
mod kinds;
pub mod mirror;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_base::shutdown::Shutdown;
use weft_mesh::snapshot::MeshSnapshot;

use self::credentials::Credentials;
use self::kinds::WatchId;
pub use self::kinds::{Served, scoped_api};
use self::mirror::Mirror;
use self::watch::Message;
pub use self::watch::document;
use super::SourceEvent;

/// Messages of watches that may wait; watches wait when it is full.
const MESSAGES_MAX: usize = 1024;

/// How often the server is asked which kinds it has: so long after it was installed a new kind is picked up.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(5);

/// How long the server may take to say so; a connection that leads nowhere must not hold up what watches say.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(10);

/// The same while the server has not answered yet.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);

/// A kind that a server stopped listing for so long is gone.
const ABSENT_MAX: Duration = Duration::from_secs(120);

/// How often it is said what the start waits for.
const WAITING_PERIOD: Duration = Duration::from_secs(10);

/// A Kubernetes API server.
#[derive(Clone)]
pub struct KubeSource {
    client: Client,
    /// Namespace of the mesh configuration.
    root_namespace: Arc<str>,
    /// What discovery found last.
    served: channel::Sender<Served>,
}

/// The running watches.
struct Watches {
    source: KubeSource,
    running: BTreeMap<WatchId, Running>,
    messages: mpsc::Sender<Message>,
    shutdown: Shutdown,
}

/// One running watch; it ends when this is dropped.
struct Running {
    version: String,
    /// Since when discovery does not list the kind.
    absent_since: Option<Instant>,
    stop: CancellationToken,
}

// === impl KubeSource ===

impl std::fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeSource").finish_non_exhaustive()
    }
}

impl KubeSource {
    /// A source over what `client` may read.
    pub fn new(client: Client, root_namespace: &str) -> Self {
        Self {
            client,
            root_namespace: root_namespace.into(),
            served: channel::Sender::default(),
        }
    }

    /// The kinds that the server has.
    pub fn served(&self) -> channel::Receiver<Served> {
        self.served.subscribe()
    }

    /// Follows the server until the shutdown starts or nobody listens. The first event holds everything that is there; it is
    /// sent when every kind was listed once. `snapshots` say which Secrets the gateways need.
    pub async fn run(
        self,
        events: mpsc::Sender<SourceEvent>,
        mut snapshots: channel::Receiver<Arc<MeshSnapshot>>,
        shutdown: Shutdown,
    ) {
        let (messages, mut inbox) = mpsc::channel(MESSAGES_MAX);
        let mut watches = Watches {
            source: self,
            running: BTreeMap::new(),
            messages,
            shutdown: shutdown.clone(),
        };
        let mut mirror = Mirror::new("kubernetes".into());
        let mut credentials = Credentials::default();
        let (mut discover_at, mut waiting_at) = (Instant::now(), Instant::now() + WAITING_PERIOD);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.started() => return,
                () = tokio::time::sleep_until(discover_at) => {
                    let done = watches.discover(&mut mirror).await;
                    discover_at = Instant::now() + if done { DISCOVERY_PERIOD } else { DISCOVERY_RETRY };
                }
                () = tokio::time::sleep_until(waiting_at), if !mirror.is_loaded() => {
                    tracing::info!(kinds = mirror.missing(), "waiting for the first lists of the server");
                    waiting_at = Instant::now() + WAITING_PERIOD;
                }
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    watches.follow_credentials(&mut credentials, &snapshot, &mut mirror);
                }
                received = inbox.recv_many(&mut batch, MESSAGES_MAX) => {
                    if received == 0 {
                        return;
                    }
                    for message in batch.drain(..) {
                        watches.take(message, &mut mirror);
                    }
                }
            }
            if let Some(event) = mirror.event()
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }
}

// === impl Watches ===

impl Watches {
    /// Starts watches of kinds that appeared and ends those of kinds that are gone; `false` if the server did not answer.
    async fn discover(&mut self, mirror: &mut Mirror) -> bool {
        let asked = tokio::time::timeout(DISCOVERY_LIMIT, discover::served(&self.source.client));
        let served = match asked.await {
            Ok(Ok(Some(served))) => served,
            Ok(Ok(None)) => {
                tracing::info!("the Kubernetes API server is not ready yet");
                return false;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot ask the Kubernetes API server which kinds it has, trying again");
                return false;
            }
            Err(_) => {
                let limit = DISCOVERY_LIMIT.as_secs();
                tracing::warn!(
                    limit,
                    "the Kubernetes API server does not say which kinds it has, trying again"
                );
                return false;
            }
        };
        let wanted = kinds::watches(&served, &self.source.root_namespace);
        self.source.served.send_if_modified(|known| {
            let news = *known != served;
            *known = served;
            news
        });
        self.end_absent(&wanted, mirror);
        for (id, version) in wanted {
            self.start(id, version, mirror);
        }
        mirror.discovered();
        true
    }

    /// Ends the watches of kinds that the server has not had for a while. Not at once: what a server lists may be incomplete,
    /// and to take a kind's objects for deleted would be an outage; where a kind is really removed, its objects are deleted
    /// before, which the watch says itself. A kind that is served in another version only is watched in that one, and its
    /// objects stay until they are listed anew.
    fn end_absent(&mut self, wanted: &BTreeMap<WatchId, String>, mirror: &mut Mirror) {
        let now = Instant::now();
        let (mut gone, mut moved) = (Vec::new(), Vec::new());
        for (id, running) in self.running.iter_mut().filter(|(id, _)| id.is_general()) {
            match wanted.get(id) {
                Some(version) => {
                    running.absent_since = None;
                    if *version != running.version {
                        moved.push(id.clone());
                    }
                }
                None if now - *running.absent_since.get_or_insert(now) >= ABSENT_MAX => gone.push(id.clone()),
                None => {}
            }
        }
        for id in moved {
            tracing::info!(watch = %id, "served in another version");
            self.running.remove(&id);
        }
        for id in gone {
            tracing::info!(watch = %id, "no longer served");
            self.stop(&id, mirror);
        }
    }

    fn start(&mut self, id: WatchId, version: String, mirror: &mut Mirror) {
        if self.running.contains_key(&id) {
            return;
        }
        tracing::info!(watch = %id, version, "watching");
        let stop = self.shutdown.token().child_token();
        let api = kinds::api(&id, &version, self.source.client.clone());
        let follow = watch::follow(api, id.clone(), version.clone(), self.messages.clone());
        let cancelled = stop.clone();
        self.shutdown.spawn(async move {
            cancelled.run_until_cancelled(follow).await;
        });
        mirror.expect(id.clone());
        self.running.insert(
            id,
            Running {
                version,
                absent_since: None,
                stop,
            },
        );
    }

    fn stop(&mut self, id: &WatchId, mirror: &mut Mirror) {
        self.running.remove(id);
        mirror.forget(id);
    }

    /// Watches exactly the Secrets that the gateways name.
    fn follow_credentials(&mut self, credentials: &mut Credentials, snapshot: &MeshSnapshot, mirror: &mut Mirror) {
        let Some(wanted) = credentials.update(snapshot) else {
            return;
        };
        let unwanted: Vec<WatchId> = self
            .running
            .keys()
            .filter(|id| id.is_credential() && !wanted.contains(id))
            .cloned()
            .collect();
        for id in unwanted {
            self.stop(&id, mirror);
        }
        for id in wanted {
            let version = kinds::preferred(id.kind);
            self.start(id, version, mirror);
        }
    }

    /// Takes in what a watch said, unless it was ended meanwhile.
    fn take(&self, message: Message, mirror: &mut Mirror) {
        if self.running.contains_key(&message.watch) {
            mirror.take(&message.watch, message.news);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
