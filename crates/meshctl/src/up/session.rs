//! A mesh while it runs: starts its processes in order, follows what happens to them, ends them in order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weft_base::shutdown::Shutdown;
use weft_proto::defaults::SYSTEM_NAMESPACE;

use crate::exit::Failure;
use crate::mesh::Record;
use crate::mesh::record::{Kind, Phase, ProcessState};
use crate::up::commands::{Commands, PILOT_ACCOUNT};
use crate::up::findings::Known;
use crate::up::logs::Logs;
use crate::up::outline;
use crate::up::plan::{Member, Role};
use crate::up::probe::Probe;
use crate::up::progress::Progress;
use crate::up::settle::Expected;
use crate::up::spec::ProcessSpec;
use crate::up::supervise::{Event, Policy, Supervised};
use crate::up::watch::{Change, Subject, watch as watch_readiness};
use crate::up::{Shown, envoy, findings, order, registry, report, settle, tokens};

/// Time between readiness probes of the mesh's own processes while they start.
const PERIOD: Duration = Duration::from_millis(50);

/// Limit of one such probe.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the last tasks may take to end after all processes have.
const LAST: Duration = Duration::from_secs(2);

/// How long configuration may take to reach all proxies once everything is ready.
const SETTLE: Duration = Duration::from_secs(10);

/// Most refusals of proxies that are told at the start.
const REFUSALS_MAX: usize = 10;

/// Events that may wait; their senders wait when the session is behind.
const EVENTS: usize = 256;

/// A mesh that runs.
pub(crate) struct Session<'a> {
    commands: Commands<'a>,
    policy: Policy,
    shown: Shown,
    record: Record,
    logs: Logs,
    progress: Progress,
    processes: Vec<(Kind, Supervised)>,
    /// Raises doubt about the readiness of the owner of a process, by the name of the owner.
    doubts: BTreeMap<String, watch::Sender<u64>>,
    /// What is wrong with what is not ready, by name.
    problems: BTreeMap<String, String>,
    events: mpsc::Receiver<Event>,
    changes: mpsc::Receiver<Change>,
    senders: (mpsc::Sender<Event>, mpsc::Sender<Change>),
    tokens_due: Instant,
    shutdown: Shutdown,
}

// === impl Session ===

impl<'a> Session<'a> {
    pub(crate) fn new(commands: Commands<'a>, policy: Policy, shown: Shown, record: Record) -> anyhow::Result<Self> {
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (change_sender, changes) = mpsc::channel(EVENTS);
        Ok(Self {
            commands,
            policy,
            shown,
            record,
            logs: Logs::start()?,
            progress: Progress::new(),
            processes: Vec::new(),
            doubts: BTreeMap::new(),
            problems: BTreeMap::new(),
            events,
            changes,
            senders: (event_sender, change_sender),
            tokens_due: Instant::now() + tokens::RENEWAL,
            shutdown: Shutdown::new(),
        })
    }

    /// Starts everything and waits until it is ready. On an error the caller must still call [`Session::stop`].
    pub(crate) async fn start(&mut self, deadline: Duration, expected: &Expected) -> anyhow::Result<()> {
        let started = Instant::now();
        let plan = self.commands.plan;
        let result = tokio::time::timeout(deadline, self.start_all(expected)).await;
        let Ok(result) = result else {
            let waiting: Vec<String> = self
                .progress
                .waiting()
                .iter()
                .map(|name| report::waiting(&self.record, name, self.problems.get(name)))
                .collect();
            self.progress.finish();
            let text = format!(
                "mesh {} is not ready after {deadline:?}:\n{}",
                plan.name,
                waiting.join("\n")
            );
            return Err(Failure::timed_out(text).into());
        };
        self.progress.finish();
        result?;
        self.record.phase = Phase::Ready;
        self.record.ready_seconds = Some((started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
        self.save();
        Ok(())
    }

    /// What the mesh looks like now.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Shows logs and what becomes wrong in the configuration, and keeps the mesh running until it is asked to end. `known` was told
    /// before.
    pub(crate) async fn run(&mut self, known: Known) -> anyhow::Result<&'static str> {
        self.logs.stream(self.shown != Shown::None);
        let (sender, mut lines) = mpsc::channel(EVENTS);
        let pilot = self.record.addresses.pilot_monitoring.clone();
        self.shutdown.spawn(findings::watch(pilot, known, sender));
        let mut termination = std::pin::pin!(weft_base::shutdown::termination());
        loop {
            let due = self.tokens_due;
            tokio::select! {
                signal = &mut termination => return signal.context("cannot watch for signals"),
                Some(event) = self.events.recv() => self.follow(event),
                Some(change) = self.changes.recv() => self.apply(change)?,
                Some(line) = lines.recv() => self.progress.warn(&line),
                () = tokio::time::sleep_until(due) => self.renew_tokens().await,
            }
        }
    }

    /// Ends everything in order: gateways, then workloads and their sidecars, then the control plane.
    pub(crate) async fn stop(&mut self) {
        self.progress.finish();
        self.record.phase = Phase::Stopping;
        self.save();
        // Nobody watches readiness any more, so that ending processes are no news.
        self.doubts.clear();
        for tier in order::TIERS {
            let (ending, staying) = std::mem::take(&mut self.processes)
                .into_iter()
                .partition(|(kind, _)| tier.contains(kind));
            self.processes = staying;
            let ending: Vec<(Kind, Supervised)> = ending;
            for (_, process) in &ending {
                process.stop();
            }
            for (_, process) in ending {
                self.end(process).await;
            }
        }
        self.shutdown.drain(LAST).await;
        self.logs.finish();
    }

    /// Waits for the end of a process; its events are read so that it never waits for room to tell them.
    async fn end(&mut self, process: Supervised) {
        let mut ended = std::pin::pin!(process.ended());
        loop {
            tokio::select! {
                () = &mut ended => return,
                Some(_) = self.events.recv() => {}
                Some(_) = self.changes.recv() => {}
            }
        }
    }

    async fn start_all(&mut self, expected: &Expected) -> anyhow::Result<()> {
        let commands = self.commands;
        let plan = commands.plan;
        for member in &plan.members {
            registry::write(&commands.state.registry(), member, false).context("cannot write the registry")?;
        }
        self.start_component("citadel", commands.citadel(), &plan.addresses.citadel_monitoring)?;
        self.wait().await?;
        self.write_tokens().await?;
        self.start_component("telemetry", commands.telemetry(), &plan.addresses.telemetry)?;
        self.start_component("pilot", commands.pilot(), &plan.addresses.pilot_monitoring)?;
        // Programs take longest as a rule, and need neither of the two.
        for member in &plan.members {
            if let Some(workload) = member.workload() {
                self.start_process(commands.app(member, workload))?;
            }
        }
        self.wait().await?;
        for (index, member) in plan.members.iter().enumerate() {
            self.start_member(index, member)?;
        }
        self.wait().await?;
        self.settle(expected).await;
        Ok(())
    }

    /// Waits until the configuration has reached all proxies. That one does not take it is worth a warning, but the mesh runs.
    async fn settle(&mut self, expected: &Expected) {
        let mut missing = String::new();
        self.progress.wait_for("configuration");
        let settled = settle::settled(self.commands.plan, expected, &mut missing);
        match tokio::time::timeout(SETTLE, settled).await {
            Ok(refused) if refused.is_empty() => self.progress.done("configuration", "is with all proxies"),
            Ok(refused) => {
                let more = refused.len().saturating_sub(REFUSALS_MAX);
                let mut lines: Vec<String> = refused.into_iter().take(REFUSALS_MAX).collect();
                if more > 0 {
                    lines.push(format!("and {more} more; meshctl proxy-status lists all"));
                }
                let text = format!("configuration is refused by proxies:\n  {}", lines.join("\n  "));
                self.progress.warn(&text);
            }
            Err(_) => self
                .progress
                .warn(&format!("configuration has not reached all proxies: {missing}")),
        }
    }

    fn start_component(&mut self, name: &'static str, spec: ProcessSpec, monitoring: &str) -> anyhow::Result<()> {
        self.start_process(spec)?;
        let probe = Probe::http(monitoring, "/ready", TIMEOUT);
        self.watch(name, Subject::Component(name), vec![probe], PERIOD);
        Ok(())
    }

    fn start_member(&mut self, index: usize, member: &Member) -> anyhow::Result<()> {
        if member.data_plane == weft_api::local_mesh::DataPlane::Envoy {
            let xds = &self.commands.plan.addresses.xds_tls;
            let (host, port) = xds.rsplit_once(':').context("pilot's address has no port")?;
            let socket = self.commands.sds_socket_of(member);
            let bootstrap = envoy::bootstrap(member, (host, port.parse()?), &socket);
            let path = self.commands.envoy_bootstrap(member);
            std::fs::write(&path, serde_json::to_vec_pretty(&bootstrap)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        for spec in self.commands.proxies(member) {
            self.start_process(spec)?;
        }
        let mut probes = vec![Probe::of_proxy(member, TIMEOUT)];
        let mut period = PERIOD;
        if let Role::Workload(workload) = &member.role {
            probes.splice(0..0, workload.probes.iter().cloned());
            period = workload.period;
        }
        self.watch(&member.process(), Subject::Member(index), probes, period);
        Ok(())
    }

    fn watch(&mut self, name: &str, subject: Subject, probes: Vec<Probe>, period: Duration) {
        let (doubt, doubts) = watch::channel(0);
        self.doubts.insert(name.to_owned(), doubt);
        self.progress.wait_for(name);
        self.problems.insert(name.to_owned(), "is starting".to_owned());
        let changes = self.senders.1.clone();
        self.shutdown
            .spawn(watch_readiness(subject, probes, period, doubts, changes));
    }

    fn start_process(&mut self, spec: ProcessSpec) -> anyhow::Result<()> {
        let path = self
            .commands
            .state
            .logs()
            .join(format!("{}.log", spec.name.replace('/', "-")));
        let shown = match self.shown {
            Shown::All => true,
            Shown::Apps => spec.kind == Kind::App,
            Shown::None => false,
        };
        let log = self.logs.open(&spec.name, &path, shown)?;
        self.record.processes.push(outline::process(&spec, &path));
        let kind = spec.kind;
        let process = Supervised::start(spec, self.policy, log, self.senders.0.clone(), &self.shutdown);
        self.processes.push((kind, process));
        Ok(())
    }

    /// Waits until nothing is waited for. An end of any process before that is an error.
    async fn wait(&mut self) -> anyhow::Result<()> {
        while !self.problems.is_empty() {
            tokio::select! {
                Some(event) = self.events.recv() => {
                    if let Event::Exited { name, how, last_lines, .. } = &event {
                        let text = report::ended(&self.record, name, how, last_lines);
                        self.follow(event);
                        anyhow::bail!(text);
                    }
                    self.follow(event);
                }
                Some(change) = self.changes.recv() => self.apply(change)?,
            }
        }
        Ok(())
    }

    /// Notes what happened to a process and says it if it is unusual.
    fn follow(&mut self, event: Event) {
        let (name, warning) = match event {
            Event::Started { name, id } => {
                if let Some(process) = self.record.process_mut(&name) {
                    if process.state == ProcessState::Exited {
                        process.restarts += 1;
                    }
                    process.id = Some(id);
                    process.state = ProcessState::Running;
                }
                (name, None)
            }
            Event::Exited {
                name, how, again_in, ..
            } => {
                if let Some(process) = self.record.process_mut(&name) {
                    process.id = None;
                    process.state = ProcessState::Exited;
                }
                let next = again_in.map_or_else(
                    || "stays down (--no-restart)".to_owned(),
                    |pause| format!("starts again in {} s", pause.as_secs()),
                );
                let warning = format!("{name} ended: {how}; {next}");
                (name, Some(warning))
            }
        };
        let owner = name.split('/').next().unwrap_or_default();
        if let Some(doubt) = self.doubts.get(owner) {
            doubt.send_modify(|count| *count += 1);
        }
        if let (Phase::Ready, Some(warning)) = (self.record.phase, warning) {
            self.progress.warn(&warning);
        }
        self.save();
    }

    /// Notes a change of readiness: in the registry, in the record, on the terminal.
    fn apply(&mut self, change: Change) -> anyhow::Result<()> {
        let name = match change.subject {
            Subject::Component(name) => name.to_owned(),
            Subject::Member(index) => {
                let member = &self.commands.plan.members[index];
                let ready = change.problem.is_none();
                if self.record.workloads[index].ready != ready {
                    registry::write(&self.commands.state.registry(), member, ready)
                        .with_context(|| format!("cannot write the registry entry of {}", member.name))?;
                    self.record.workloads[index].ready = ready;
                }
                member.process()
            }
        };
        let starting = self.record.phase == Phase::Starting;
        match change.problem {
            Some(problem) => {
                if !starting && !self.problems.contains_key(&name) {
                    self.progress.warn(&format!("{name} is not ready: {problem}"));
                }
                self.problems.insert(name, problem);
            }
            None => {
                self.problems.remove(&name);
                if starting {
                    let detail = outline::address(&self.record, &name);
                    self.progress.done(&name, &detail);
                } else {
                    self.progress.warn(&format!("{name} is ready again"));
                }
            }
        }
        self.save();
        Ok(())
    }

    async fn write_tokens(&mut self) -> anyhow::Result<()> {
        let mut accounts = self.commands.plan.accounts();
        accounts.push((SYSTEM_NAMESPACE, PILOT_ACCOUNT));
        self.tokens_due = Instant::now() + tokens::RENEWAL;
        tokens::write(&self.commands, &accounts).await
    }

    async fn renew_tokens(&mut self) {
        if let Err(error) = self.write_tokens().await {
            self.progress.warn(&format!(
                "join tokens were not renewed, next try in a minute: {error:#}"
            ));
            self.tokens_due = Instant::now() + tokens::RETRY;
        }
    }

    fn save(&self) {
        if let Err(error) = self.record.write(&self.commands.state.record_path()) {
            self.progress.warn(&format!("cannot write mesh.json: {error}"));
        }
    }
}
