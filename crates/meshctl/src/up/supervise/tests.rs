//! Supervision with small shell scripts as processes.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::mesh::record::Kind;
use crate::up::logs::Logs;

struct Stage {
    directory: tempfile::TempDir,
    logs: Logs,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    shutdown: Shutdown,
}

impl Stage {
    fn new() -> Self {
        let (sender, events) = mpsc::channel(16);
        Self {
            directory: tempfile::tempdir().unwrap(),
            logs: Logs::start().unwrap(),
            events,
            sender,
            shutdown: Shutdown::new(),
        }
    }

    fn start(&mut self, script: &str, restart: bool, grace: Duration) -> Supervised {
        let spec = ProcessSpec {
            name: "app".into(),
            kind: Kind::App,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            directory: self.directory.path().into(),
        };
        let policy = Policy {
            restart,
            grace,
            lifeline: false,
        };
        let log = self
            .logs
            .open("app", &self.directory.path().join("app.log"), false)
            .unwrap();
        Supervised::start(spec, policy, log, self.sender.clone(), &self.shutdown)
    }

    async fn next(&mut self) -> Event {
        let wait = tokio::time::timeout(Duration::from_secs(60), self.events.recv());
        wait.await.expect("an event comes").unwrap()
    }

    async fn started(&mut self) -> ProcessId {
        match self.next().await {
            Event::Started { id, .. } => id,
            other @ Event::Exited { .. } => panic!("expected a start, got {other:?}"),
        }
    }

    async fn exited(&mut self) -> (String, Vec<String>, Option<Duration>) {
        match self.next().await {
            Event::Exited {
                how,
                last_lines,
                again_in,
                ..
            } => (how, last_lines, again_in),
            other @ Event::Started { .. } => panic!("expected an end, got {other:?}"),
        }
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pid_in(path: &Path) -> Option<ProcessId> {
    let text = std::fs::read_to_string(path).ok()?;
    text.ends_with('\n')
        .then(|| ProcessId::of(text.trim().parse().unwrap()))
}

#[tokio::test]
async fn an_end_is_reported_with_the_last_lines_of_both_streams() {
    let mut stage = Stage::new();
    let app = stage.start(
        "for i in $(seq 30); do echo line $i; done; echo $GREETING >&2; exit 3",
        false,
        PAUSE_MIN,
    );
    stage.started().await;
    let (how, mut last, again) = stage.exited().await;
    assert_eq!((how.as_str(), again), ("exit status: 3", None));
    assert_eq!(last.len(), LAST_LINES);
    last.sort();
    assert!(
        last.contains(&"line 30".to_owned()) && last.contains(&"hello".to_owned()),
        "{last:?}"
    );
    app.stop();
    app.ended().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_reported() {
    let mut stage = Stage::new();
    let spec = ProcessSpec {
        name: "gone".into(),
        kind: Kind::App,
        program: "/nonexistent/program".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
        directory: stage.directory.path().into(),
    };
    let policy = Policy {
        restart: false,
        grace: PAUSE_MIN,
        lifeline: false,
    };
    let log = stage
        .logs
        .open("gone", &stage.directory.path().join("gone.log"), false)
        .unwrap();
    let _app = Supervised::start(spec, policy, log, stage.sender.clone(), &stage.shutdown);
    let (how, ..) = stage.exited().await;
    assert!(how.contains("cannot start /nonexistent/program"), "{how}");
}

#[tokio::test]
async fn an_ended_process_is_started_again_after_a_growing_pause() {
    let mut stage = Stage::new();
    let app = stage.start("exit 1", true, PAUSE_MIN);
    let first = stage.started().await;
    assert_eq!(stage.exited().await.2, Some(Duration::from_secs(2)));
    let second = stage.started().await;
    assert_ne!(first, second);
    assert_eq!(stage.exited().await.2, Some(Duration::from_secs(4)));
    app.stop();
    app.ended().await;
}

#[tokio::test]
async fn a_stop_takes_what_the_process_started_along() {
    let mut stage = Stage::new();
    let app = stage.start(
        "sleep 1000 & echo $! > child; trap 'exit 0' TERM; wait",
        true,
        Duration::from_secs(30),
    );
    let parent = stage.started().await;
    let file = stage.directory.path().join("child");
    until("the child's start", || pid_in(&file).is_some()).await;
    let child = pid_in(&file).unwrap();
    assert!(child.is_running());
    app.stop();
    app.ended().await;
    assert!(!parent.is_running());
    until("the child's end", || !child.is_running()).await;
}

#[tokio::test]
async fn a_process_that_does_not_want_to_end_is_killed() {
    let mut stage = Stage::new();
    let app = stage.start(
        "trap '' TERM; touch deaf; while :; do sleep 0.01; done",
        true,
        Duration::from_millis(50),
    );
    let id = stage.started().await;
    let deaf = stage.directory.path().join("deaf");
    until("the trap", || deaf.exists()).await;
    app.stop();
    app.ended().await;
    assert!(!id.is_running());
}

#[tokio::test]
async fn long_lines_are_cut_and_odd_bytes_survive() {
    let mut stage = Stage::new();
    let script = r"head -c 20000 /dev/zero | tr '\0' a; printf '\r\nb\377\nend'";
    let _app = stage.start(script, false, PAUSE_MIN);
    stage.started().await;
    let (_, last, _) = stage.exited().await;
    assert_eq!(
        last.concat().replace('\u{fffd}', "?"),
        format!("{}b?end", "a".repeat(20_000))
    );
    assert!(
        last.iter().all(|line| line.len() <= LINE_BYTES + (8 << 10)),
        "no line is longer than a cut and a read"
    );
}
