//! The course of a server's process: a runtime, whatever the server starts on it, a signal, an ordered end.

use std::io;
use std::time::Duration;

use crate::shutdown::{Shutdown, Termination};

/// How long tasks may take to end once the process is asked to.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Runs a server on `workers` threads until the process is asked to end. `start` starts it and comes back; an error ends the process.
pub fn serve<T, E>(workers: usize, start: impl AsyncFnOnce(&Shutdown) -> Result<T, E>) -> Result<(), E>
where
    E: From<io::Error>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut termination = Termination::listen()?;
        let shutdown = Shutdown::new();
        start(&shutdown).await?;
        let signal = termination.next().await;
        tracing::info!(signal, "stopping");
        shutdown.drain(DRAIN_DEADLINE).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_start_ends_the_process() {
        let failed = serve(1, async |shutdown: &Shutdown| -> io::Result<()> {
            assert!(!shutdown.is_started());
            Err(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}
