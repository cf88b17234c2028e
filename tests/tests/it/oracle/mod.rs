//! Envoy as oracle: one table of static configs and requests goes through Envoy 1.40 and through weft-proxy, and both must
//! answer alike: status, headers, body, chosen upstream, what the upstream received, and the access log's flags.
//!
//! Rows are in `rows/*.yaml`; `docs/development.md` says how to add one. `WEFT_ORACLE_ROW=text` runs only rows whose name
//! contains the text, `WEFT_ORACLE_SIDE=envoy` leaves our proxy out (to try new rows).

mod bootstrap;
mod chains;
mod outcome;
mod row;
mod run;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::row::Row;

/// Rows of one table that run at the same time.
const PARALLEL: usize = 3;

macro_rules! tables {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            check(concat!(stringify!($name), ".yaml"), include_str!(concat!("rows/", stringify!($name), ".yaml"))).await;
        }
    )*};
}

tables!(
    matching,
    hosts,
    rewriting,
    redirects,
    headers,
    forwarding,
    retries,
    timeouts,
    upgrades,
    protocols,
    http2,
    bodies,
    wire,
    heads,
    limits,
    dns,
    outlier,
    queue,
    tcp,
    network_filters,
    tracing,
    filters,
    filter_list,
    grpc_stats,
    buffer,
    csrf,
    ext_authz,
    rbac,
    header_mutation,
    health_check,
    metadata,
    compressor,
    decompressor,
    local_ratelimit,
    grpc_web
);

/// Runs every row of a table and reports all that differ.
async fn check(file: &str, text: &str) {
    let rows: Vec<Row> = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    check_rows(file, rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_chains() {
    check_rows("chains.rs", chains::rows()).await;
}

async fn check_rows(file: &str, rows: Vec<Row>) {
    let only = std::env::var("WEFT_ORACLE_ROW").unwrap_or_default();
    let limit = Arc::new(Semaphore::new(PARALLEL));
    let mut running = JoinSet::new();
    for row in rows.into_iter().filter(|row| row.name.contains(&only)) {
        let limit = Arc::clone(&limit);
        running.spawn(async move {
            let permit = limit.acquire_owned().await;
            let verdict = check_row(&row).await;
            drop(permit);
            (row.name, verdict)
        });
    }
    let mut failed = Vec::new();
    let mut count = 0;
    while let Some(finished) = running.join_next().await {
        count += 1;
        match finished.expect("a row's task does not panic") {
            (_, Ok(())) => {}
            (name, Err(error)) => failed.push((name, format!("{error:#}"))),
        }
    }
    failed.sort();
    let mut report = String::new();
    for (name, error) in &failed {
        let _ = writeln!(report, "\n=== {name}\n{}", error.trim_end());
    }
    assert!(
        failed.is_empty(),
        "{file}: {} of {count} rows failed\n{report}",
        failed.len()
    );
}

/// Both must end at once, and ours must say why.
async fn check_refusal(row: &Row, reason: &str) -> Result<()> {
    let theirs = run::refusal(row, run::Side::Envoy).await.context("envoy")?;
    if std::env::var("WEFT_ORACLE_SIDE").is_ok_and(|side| side == "envoy") {
        return Ok(());
    }
    let ours = run::refusal(row, run::Side::Weft).await.context("weft-proxy")?;
    ensure!(
        ours.contains(reason),
        "weft-proxy should say {reason:?} and says:\n{ours}\nenvoy says:\n{theirs}"
    );
    Ok(())
}

async fn check_row(row: &Row) -> Result<()> {
    if let Some(reason) = &row.refused {
        return check_refusal(row, reason).await;
    }
    let envoy = run::run(row, run::Side::Envoy).await.context("envoy")?;
    if !row.generated {
        envoy.check_expectations(row)?;
    }
    if std::env::var("WEFT_ORACLE_SIDE").is_ok_and(|side| side == "envoy") {
        return Ok(());
    }
    let weft = run::run(row, run::Side::Weft).await.context("weft-proxy")?;
    outcome::compare(row, &envoy, &weft)
}
