//! What pilot tells of the configuration, from its page `/debug/diagnosticsz`.

use std::time::Duration;

use anyhow::Context;
use weft_api::diagnostic::{Diagnostic, Severity};

use crate::fetch;

/// Limit of the question to pilot.
const DEADLINE: Duration = Duration::from_secs(5);

/// The page.
const PAGE: &str = "/debug/diagnosticsz";

/// Findings of the pilot at a monitoring address, the worst first; those that are only worth knowing are left out.
pub(crate) async fn findings(pilot: &str) -> anyhow::Result<Vec<Diagnostic>> {
    let page = fetch::get_json(pilot, PAGE, DEADLINE).await?;
    let found: Vec<Diagnostic> =
        serde_json::from_value(page).with_context(|| format!("http://{pilot}{PAGE}: this is no list of findings"))?;
    let mut found: Vec<Diagnostic> = found
        .into_iter()
        .filter(|found| found.severity > Severity::Info)
        .collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    Ok(found)
}
