//! The one writer of the mesh's state: takes the events of all sources and publishes snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weft_api::diagnostic::{Diagnostic, Severity};
use weft_base::shutdown::Shutdown;
use weft_mesh::settle::{Patience, Settling};
use weft_mesh::snapshot::keep;
use weft_mesh::snapshot::{Change, Inputs, MeshSettings, MeshSnapshot, build};

use crate::source::SourceEvent;

/// Events that wait for the store; sources wait when it is full.
const EVENTS_MAX: usize = 64;

/// How events are gathered into one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// A snapshot is built when nothing came for so long.
    pub quiet: Duration,
    /// Or when the first event waited for so long.
    pub max: Duration,
}

/// The single writer.
#[derive(Debug)]
pub struct Store {
    events: mpsc::Receiver<SourceEvent>,
    debounce: Debounce,
    /// How many sources there are; nothing is published before each was heard of.
    sources: usize,
    state: State,
    snapshots: watch::Sender<Arc<MeshSnapshot>>,
}

/// What the snapshots are built from, without channels and time.
#[derive(Debug)]
pub struct State {
    inputs: Inputs,
    findings: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    settling: Settling,
    snapshot: Arc<MeshSnapshot>,
    /// Settings of the process; the mesh configuration may change some.
    settings: Arc<MeshSettings>,
    dirty: bool,
}

// === impl Debounce ===

impl Default for Debounce {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            max: Duration::from_millis(500),
        }
    }
}

// === impl State ===

impl State {
    /// An empty mesh, generation 0.
    pub fn new(settings: MeshSettings, patience: Patience) -> Self {
        let settings = Arc::new(settings);
        Self {
            inputs: Inputs::default(),
            findings: BTreeMap::new(),
            settling: Settling::new(patience),
            snapshot: Arc::new(build(Inputs::default(), &settings, 0, None)),
            settings,
            dirty: false,
        }
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: SourceEvent) {
        for key in &event.removed {
            self.inputs.remove(key);
        }
        for resource in &event.upserted {
            self.inputs.apply(resource);
        }
        if let Some(credentials) = event.credentials {
            self.inputs.credentials = credentials;
        }
        self.findings.insert(event.source, event.diagnostics);
        self.dirty = true;
    }

    /// The snapshot of everything taken in so far: a new generation if anything changed, or if it is time to tell a finding. The
    /// first event always makes one, so that generation 1 and later means "loaded".
    pub fn snapshot(&mut self, now: Instant) -> Arc<MeshSnapshot> {
        let old = Arc::clone(&self.snapshot);
        let mut new = if std::mem::take(&mut self.dirty) {
            self.build(&old)
        } else if self.tell_at().is_some_and(|at| at <= now) {
            MeshSnapshot {
                change: Change::Nothing,
                generation: old.generation + 1,
                published: OnceLock::new(),
                ..(*old).clone()
            }
        } else {
            return old;
        };
        let moved = !new.inputs.same_configuration(&old.inputs);
        new.told = keep(
            self.settling.told(&new.diagnostics, moved, now.into_std()),
            Some(&old.told),
        );
        let same_findings = Arc::ptr_eq(&new.source_diagnostics, &old.source_diagnostics)
            && Arc::ptr_eq(&new.diagnostics, &old.diagnostics)
            && Arc::ptr_eq(&new.told, &old.told);
        if new.change == Change::Nothing && same_findings && old.generation > 0 {
            // Only places of unused parts moved: keep the generation, remember the objects.
            new.generation = old.generation;
        }
        log_new_findings(&old, &new);
        self.snapshot = Arc::new(new);
        Arc::clone(&self.snapshot)
    }

    /// When a finding is to be told, if nothing comes before.
    pub fn tell_at(&self) -> Option<Instant> {
        self.settling.next().map(Instant::from_std)
    }
}

impl State {
    fn build(&self, old: &MeshSnapshot) -> MeshSnapshot {
        let mut new = build(self.inputs.clone(), &self.settings(), old.generation + 1, Some(old));
        let findings = self.findings.values().flatten().cloned().collect();
        new.source_diagnostics = keep(findings, Some(&old.source_diagnostics));
        new
    }

    /// The settings now in force.
    fn settings(&self) -> Arc<MeshSettings> {
        let name = (self.settings.root_namespace.as_str().into(), "istio".into());
        match self.inputs.mesh_configs.get(&name) {
            Some(object) => Arc::new(self.settings.with(&object.spec)),
            None => Arc::clone(&self.settings),
        }
    }
}

// === impl Store ===

impl Store {
    /// A store, the channel for its `sources`, and the snapshots. The first snapshot is empty and of generation 0; the next
    /// one holds what all sources gave first.
    pub fn new(
        settings: MeshSettings,
        debounce: Debounce,
        sources: usize,
    ) -> (Self, mpsc::Sender<SourceEvent>, watch::Receiver<Arc<MeshSnapshot>>) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let state = State::new(settings, Patience::default());
        let (snapshots, receiver) = watch::channel(Arc::clone(&state.snapshot));
        let store = Self {
            events,
            debounce,
            sources,
            state,
            snapshots,
        };
        (store, sender, receiver)
    }

    /// Publishes snapshots until the shutdown starts or all sources are gone.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let tell_at = self.state.tell_at();
            tokio::select! {
                () = shutdown.started() => return,
                event = self.events.recv() => {
                    let Some(event) = event else {
                        return;
                    };
                    self.state.apply(event);
                    self.gather().await;
                }
                () = tokio::time::sleep_until(tell_at.unwrap_or_else(Instant::now)), if tell_at.is_some() => {}
            }
            self.publish();
        }
    }

    /// Takes in what follows within the debounce times.
    async fn gather(&mut self) {
        let end = Instant::now() + self.debounce.max;
        loop {
            let until = end.min(Instant::now() + self.debounce.quiet);
            match tokio::time::timeout_at(until, self.events.recv()).await {
                Ok(Some(event)) => self.state.apply(event),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn publish(&mut self) {
        if self.state.findings.len() < self.sources {
            return;
        }
        let snapshot = self.state.snapshot(Instant::now());
        snapshot.published.get_or_init(|| Instant::now().into_std());
        self.snapshots.send_if_modified(|published| {
            let news = published.generation != snapshot.generation;
            if news {
                tracing::info!(
                    generation = snapshot.generation,
                    change = ?snapshot.change,
                    services = snapshot.services.iter().count(),
                    workloads = snapshot.workloads.local.len(),
                    findings = snapshot.all_diagnostics().count(),
                    "new state of the mesh"
                );
            }
            *published = snapshot;
            news
        });
    }
}

/// Each finding is logged once, when it appears.
fn log_new_findings(old: &MeshSnapshot, new: &MeshSnapshot) {
    let known: std::collections::BTreeSet<&Diagnostic> = old.all_diagnostics().collect();
    for found in new.all_diagnostics().filter(|found| !known.contains(found)) {
        let (file, line, column) = (&*found.file, found.line, found.column);
        let (code, object, field) = (&*found.code, &found.object, &found.field);
        let (reason, hint) = (&found.message, &found.hint);
        match found.severity {
            Severity::Error | Severity::Warning => {
                let severity = found.severity.as_str();
                tracing::warn!(
                    severity,
                    file,
                    line,
                    column,
                    code,
                    object,
                    field,
                    reason,
                    hint,
                    "configuration finding"
                );
            }
            Severity::Info => {
                tracing::info!(
                    file,
                    line,
                    column,
                    code,
                    object,
                    field,
                    reason,
                    hint,
                    "configuration finding"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::parse::parse;

    fn event(text: &str) -> SourceEvent {
        let parsed = parse("a.yaml", text);
        SourceEvent {
            source: "test".into(),
            upserted: parsed.resources,
            diagnostics: parsed.diagnostics,
            ..SourceEvent::default()
        }
    }

    fn service(name: &str) -> SourceEvent {
        event(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        ))
    }

    #[test]
    fn generations_grow_only_with_changes() {
        let now = Instant::now();
        let mut state = State::new(MeshSettings::default(), Patience::default());
        assert_eq!(state.snapshot(now).generation, 0);
        state.apply(SourceEvent::default());
        assert_eq!(state.snapshot(now).generation, 1, "an empty source counts as loaded");
        state.apply(service("a"));
        assert_eq!(state.snapshot(now).generation, 2);
        state.apply(service("a"));
        assert_eq!(state.snapshot(now).generation, 2);
        state.apply(event("kind: x\n"));
        let snapshot = state.snapshot(now);
        assert_eq!((snapshot.generation, snapshot.change), (3, Change::Nothing));
        assert_eq!(snapshot.all_diagnostics().count(), 1);
    }

    const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n\
                         spec: {parentRefs: [{group: '', kind: Service, name: a}]}\n";

    /// Findings about what nobody is served come and go as well.
    #[test]
    fn findings_follow_objects_that_are_not_served() {
        let patience = Patience::default();
        let mut now = Instant::now();
        let mut state = State::new(MeshSettings::default(), patience);
        let mut check = |event: SourceEvent, expected: [usize; 2]| {
            state.apply(event);
            let first = state.snapshot(now);
            now += patience.quiet;
            let second = state.snapshot(now);
            let codes = |snapshot: &MeshSnapshot| {
                let codes = snapshot.all_diagnostics().filter(|found| &*found.code == "WEFT0004");
                codes.count()
            };
            assert_eq!([codes(&first), codes(&second)], expected);
        };
        check(SourceEvent::default(), [0, 0]);
        let route = event(ROUTE);
        let key = route.upserted[0].key();
        check(route, [0, 1]);
        let gone = SourceEvent {
            source: "test".into(),
            removed: vec![key],
            ..SourceEvent::default()
        };
        check(gone, [0, 0]);
    }

    /// Whoever waits until a finding is settled hears that it is gone, though nothing that is served has changed.
    #[test]
    fn what_is_gone_before_it_was_told_is_news() {
        const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\n\
                               spec: {selector: {istio: a}, servers: [{port: {number: 80, name: http, protocol: \
                               HTTP}, hosts: ['*']}]}\n";
        const STARTING: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {istio: a}}\n\
                                spec: {containers: [{name: istio-proxy, args: [gateway]}]}\nstatus: {phase: Pending}\n";
        let now = Instant::now();
        let mut state = State::new(MeshSettings::default(), Patience::default());
        state.apply(event(GATEWAY));
        let first = state.snapshot(now);
        assert_eq!(first.unsettled().count(), 1);
        state.apply(event(STARTING));
        let second = state.snapshot(now);
        assert_eq!((second.unsettled().count(), second.change), (0, Change::Nothing));
        assert_eq!(second.generation, first.generation + 1);
    }

    /// How many services the published state has.
    fn published(snapshots: &watch::Receiver<Arc<MeshSnapshot>>) -> (u64, usize) {
        let snapshot = snapshots.borrow();
        (snapshot.generation, snapshot.services.iter().count())
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_gathered_until_quiet_or_the_longest_wait() {
        let debounce = Debounce {
            quiet: Duration::from_millis(20),
            max: Duration::from_millis(50),
        };
        let shutdown = Shutdown::new();
        let (store, events, mut snapshots) = Store::new(MeshSettings::default(), debounce, 1);
        shutdown.spawn(store.run(shutdown.clone()));

        let start = Instant::now();
        events.send(service("a")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        events.send(service("b")).await.unwrap();
        snapshots.changed().await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(30));
        assert_eq!(published(&snapshots), (1, 2));

        snapshots.mark_unchanged();
        let start = Instant::now();
        for i in 0..10 {
            events.send(service(&format!("s{i}"))).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(15), snapshots.changed())
                .await
                .is_ok()
            {
                break;
            }
        }
        assert_eq!(start.elapsed(), Duration::from_millis(50));
        shutdown.drain(Duration::from_secs(1)).await;
    }

    /// A rule whose host is not there.
    fn rule() -> SourceEvent {
        event(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.default.svc.cluster.local}\n",
        )
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_told_once_it_does_not_come() {
        let shutdown = Shutdown::new();
        let (store, events, mut snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        shutdown.spawn(store.run(shutdown.clone()));
        let told = |snapshots: &watch::Receiver<Arc<MeshSnapshot>>| {
            let snapshot = snapshots.borrow();
            let warnings = snapshot
                .all_diagnostics()
                .filter(|found| found.severity == Severity::Warning);
            (
                warnings.count(),
                snapshot
                    .unsettled()
                    .filter(|found| found.severity == Severity::Warning)
                    .count(),
            )
        };
        let start = Instant::now();
        events.send(rule()).await.unwrap();
        snapshots.changed().await.unwrap();
        assert_eq!(told(&snapshots), (0, 1));
        snapshots.changed().await.unwrap();
        assert_eq!(told(&snapshots), (1, 0));
        assert!(start.elapsed() >= Patience::default().quiet);
        events.send(service("a")).await.unwrap();
        snapshots.changed().await.unwrap();
        assert_eq!(told(&snapshots), (0, 0), "what is mended is gone at once");

        // What follows a moment later is never missed.
        let (store, events, mut snapshots) = Store::new(MeshSettings::default(), Debounce::default(), 1);
        shutdown.spawn(store.run(shutdown.clone()));
        events.send(rule()).await.unwrap();
        snapshots.changed().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        events.send(service("a")).await.unwrap();
        snapshots.changed().await.unwrap();
        assert_eq!(told(&snapshots), (0, 0));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(told(&snapshots), (0, 0));
        shutdown.drain(Duration::from_secs(1)).await;
    }
}
