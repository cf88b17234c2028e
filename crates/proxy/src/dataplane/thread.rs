//! The traffic threads of the proxy.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::UnboundedReceiver;
use weft_base::shutdown::Shutdown;

use crate::listen::accept;
use crate::listen::sockets::Command;
use crate::worker::{Shared, Worker};

/// One traffic thread: accepts, serves, and drains when the process does.
pub(super) fn start(
    index: usize,
    shared: Shared,
    shutdown: Shutdown,
    commands: UnboundedReceiver<Command>,
    drain_time: Duration,
) -> Result<std::thread::JoinHandle<()>> {
    let (built, started) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        // Made on its thread, which it never leaves: its tasks need no `LocalSet` between them and the scheduler.
        let reactor = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        let reactor = match reactor {
            Ok(reactor) => {
                // The starter waits for it.
                let _ = built.send(Ok(()));
                reactor
            }
            Err(error) => {
                let _ = built.send(Err(error));
                return;
            }
        };
        reactor.block_on(async move {
            let worker = Worker::new(index, shared, shutdown, fastrand::u64(..));
            let own = worker.clone();
            worker.spawn(async move { own.housekeeping().await });
            let own = worker.clone();
            worker.spawn(async move { own.hand_over_logs().await });
            accept::run(worker.clone(), commands).await;
            if !worker.drain(drain_time).await {
                tracing::warn!(worker = index, "requests were cut off at the end of the drain time");
            }
        });
    };
    let name = format!("worker-{index}");
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .context("cannot start a worker thread")?;
    let result = started.recv().context("a worker thread ended at once")?;
    result.context("cannot start the runtime of a worker thread")?;
    Ok(thread)
}
