//! Join tokens: what a proxy proves itself with to citadel the first time.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::mesh::record::replace_file;
use crate::up::commands::Commands;

/// Tokens are written again after this long; citadel makes them for 24 hours.
pub(crate) const RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// Pause after a renewal that failed.
pub(crate) const RETRY: Duration = Duration::from_secs(60);

/// How long citadel's command may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Writes a token for each namespace and service account.
pub(crate) async fn write(commands: &Commands<'_>, accounts: &[(&str, &str)]) -> anyhow::Result<()> {
    for (namespace, service_account) in accounts {
        let (program, args) = commands.token(namespace, service_account);
        let token = print_token(&program, &args)
            .await
            .with_context(|| format!("cannot make the join token of {namespace}/{service_account}"))?;
        let path = commands.token_file(namespace, service_account);
        replace_file(&path, token.as_bytes())
            .and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn print_token(program: &Path, args: &[String]) -> anyhow::Result<String> {
    let run = Command::new(program).args(args).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, run)
        .await
        .context("no answer in time")??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} token: {}: {}", program.display(), output.status, said.trim());
    }
    let token = String::from_utf8(output.stdout).context("the token is not text")?;
    if token.trim().is_empty() {
        bail!("{} token printed nothing", program.display());
    }
    Ok(token)
}
