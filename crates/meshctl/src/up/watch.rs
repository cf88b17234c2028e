//! Watches whether something is ready, for as long as the mesh runs.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::up::probe::Probe;

/// Time between probes of something that is ready.
const STEADY: Duration = Duration::from_secs(1);

/// So many probes in a row must fail before something that was ready is not; one lost answer under load means nothing.
const FAILURES: u32 = 3;

/// Readiness of something changed, or it is still not ready for another reason than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// What was watched.
    pub subject: Subject,
    /// What is wrong; nothing means ready.
    pub problem: Option<String>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A component of the control plane, by its process name.
    Component(&'static str),
    /// A member, by its place in the plan.
    Member(usize),
}

/// Asks `probes` every `period` until all pass, then every second, and tells each change. A new value of `doubt` (a process
/// of it ended or started) makes the next failure count at once.
pub(crate) async fn watch(
    subject: Subject,
    probes: Vec<Probe>,
    period: Duration,
    mut doubt: watch::Receiver<u64>,
    changes: mpsc::Sender<Change>,
) {
    let mut told: Option<Option<String>> = None;
    let mut failures = FAILURES;
    loop {
        let mut problem = None;
        for probe in &probes {
            if let Err(error) = probe.check().await {
                problem = Some(error);
                break;
            }
        }
        failures = if problem.is_some() { failures + 1 } else { 0 };
        let was_ready = told == Some(None);
        if told.as_ref() != Some(&problem) && (!was_ready || failures >= FAILURES) {
            let change = Change {
                subject: subject.clone(),
                problem: problem.clone(),
            };
            if changes.send(change).await.is_err() {
                return;
            }
            told = Some(problem.clone());
        }
        let pause = if problem.is_none() { STEADY } else { period };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = doubt.changed() => {
                if changed.is_err() {
                    return;
                }
                failures = FAILURES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use weft_base::shutdown::Shutdown;

    use super::*;
    use crate::up::probe::Question;

    #[tokio::test]
    async fn changes_are_told_once_and_doubt_speeds_them_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let probe = Probe {
            question: Question::Tcp {
                address: address.to_string(),
            },
            timeout: Duration::from_secs(10),
        };
        let (doubt, doubts) = watch::channel(0);
        let (sender, mut changes) = mpsc::channel(4);
        let shutdown = Shutdown::new();
        shutdown.spawn(watch(
            Subject::Member(3),
            vec![probe],
            Duration::from_millis(5),
            doubts,
            sender,
        ));

        let first = changes.recv().await.unwrap();
        assert_eq!(
            first,
            Change {
                subject: Subject::Member(3),
                problem: None
            }
        );
        drop(listener);
        doubt.send_replace(1);
        let second = changes.recv().await.unwrap().problem.unwrap();
        assert!(second.contains("cannot connect"), "{second}");
        let _listener = TcpListener::bind(address).await.unwrap();
        assert_eq!(changes.recv().await.unwrap().problem, None);
        drop(doubt);
        assert_eq!(changes.recv().await, None, "the watch ends with its owner");
    }
}
