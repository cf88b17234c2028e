//! Findings about the configuration of a mesh that runs, told on the terminal when they come and when they are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use weft_api::diagnostic::Diagnostic;

use crate::told;

/// Time between looks.
const LOOK: Duration = Duration::from_secs(1);

/// Most findings that are told at once; more are counted.
const TOLD_MAX: usize = 20;

/// What is on the terminal.
#[derive(Debug)]
pub(crate) struct Known(BTreeSet<Diagnostic>);

// === impl Known ===

impl Known {
    /// What was told before the mesh started.
    pub(crate) fn new(told: Vec<Diagnostic>) -> Self {
        Self(told.into_iter().collect())
    }

    /// Takes in what holds now, and gives the lines that say what changed.
    fn news(&mut self, found: Vec<Diagnostic>) -> Vec<String> {
        let now: BTreeSet<Diagnostic> = found.into_iter().collect();
        let mut lines: Vec<String> = now.difference(&self.0).map(ToString::to_string).collect();
        let more = lines.len().saturating_sub(TOLD_MAX);
        lines.truncate(TOLD_MAX);
        if more > 0 {
            lines.push(format!("and {more} more findings; meshctl check lists all"));
        }
        let gone = self.0.difference(&now).count();
        if gone > 0 && now.is_empty() {
            lines.push("all findings about the configuration are mended".to_owned());
        }
        self.0 = now;
        lines
    }
}

/// Asks pilot for as long as somebody listens. While it does not answer nothing is news: that it ended is told elsewhere.
pub(crate) async fn watch(pilot: String, mut known: Known, lines: mpsc::Sender<String>) {
    loop {
        if let Ok(found) = told::findings(&pilot).await {
            for line in known.news(found) {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = lines.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_api::diagnostic::Severity;

    use super::*;

    fn finding(object: usize) -> Diagnostic {
        Diagnostic {
            file: "a.yaml".into(),
            line: 3,
            column: 1,
            severity: Severity::Error,
            code: "WEFT0002".into(),
            object: format!("VirtualService/default/v{object:02}"),
            field: "spec.htp".to_owned(),
            message: "is not known".to_owned(),
            hint: String::new(),
        }
    }

    #[test]
    fn each_finding_is_told_once() {
        let mut known = Known::new(vec![finding(0)]);
        assert!(known.news(vec![finding(0)]).is_empty());
        let told = known.news(vec![finding(0), finding(1)]);
        assert_eq!(
            told,
            ["a.yaml:3:1: error [WEFT0002] VirtualService/default/v01 spec.htp: is not known"]
        );
        assert!(known.news(vec![finding(1)]).is_empty());
        assert_eq!(known.news(vec![]), ["all findings about the configuration are mended"]);
        assert!(known.news(vec![]).is_empty());
        let many = known.news((0..50).map(finding).collect());
        assert_eq!(
            (many.len(), many[20].as_str()),
            (21, "and 30 more findings; meshctl check lists all")
        );
    }
}
