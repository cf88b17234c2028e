//! What pilot tells of the configuration, from its page `/debug/diagnosticsz`.

use std::time::Duration;

use anyhow::Context;
use weft_api::diagnostic::{Diagnostic, Severity};

use crate::fetch;

/// Limit of the question to pilot.
const DEADLINE: Duration = Duration::from_secs(5);

/// The page, and the same with what is not told yet.
const PAGE: &str = "/debug/diagnosticsz";
const NOW: &str = "/debug/diagnosticsz?now=true";

/// Findings of the pilot at a monitoring address, the worst first; those that are only worth knowing are left out.
pub(crate) async fn findings(pilot: &str) -> anyhow::Result<Vec<Diagnostic>> {
    page(pilot, PAGE).await
}

/// Findings that hold at this moment; some of them may be gone in a moment, because what they miss is on its way.
pub(crate) async fn now(pilot: &str) -> anyhow::Result<Vec<Diagnostic>> {
    page(pilot, NOW).await
}

async fn page(pilot: &str, page: &str) -> anyhow::Result<Vec<Diagnostic>> {
    let found = fetch::get_json(pilot, page, DEADLINE).await?;
    let found: Vec<Diagnostic> =
        serde_json::from_value(found).with_context(|| format!("http://{pilot}{page}: this is no list of findings"))?;
    let mut found: Vec<Diagnostic> = found
        .into_iter()
        .filter(|found| found.severity > Severity::Info)
        .collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    Ok(found)
}
