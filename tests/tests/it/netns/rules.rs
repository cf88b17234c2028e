//! What `weft-proxy init` makes of real connections. Stand-ins for the proxy listen on its ports, as its user.

use std::path::Path;

use anyhow::{Result, ensure};

use super::space::{Network, PROXY, Pod};
use crate::support::process::built;

const PROXY_SERVERS: [&str; 3] = ["greet=outbound=15001", "greet=inbound=15006", "udp-loopback=dns=15053"];

async fn init(pod: &Pod, backend: &str, flags: &str) -> Result<String> {
    let mut arguments = vec!["init", "--backend", backend];
    arguments.extend(flags.split_whitespace());
    pod.run(None, &built("weft-proxy")?, &arguments).await
}

/// All rules in the kernel of a pod.
async fn rules(pod: &Pod) -> Result<String> {
    pod.run(None, Path::new("nft"), &["list", "ruleset"]).await
}

/// Who answers a client.
async fn check(pod: &Pod, user: Option<u32>, arguments: &[&str], expected: &str) -> Result<()> {
    let got = pod.client(user, arguments).await?;
    ensure!(
        got == expected,
        "{arguments:?} as {user:?}: got {got:?}, not {expected:?}"
    );
    Ok(())
}

/// The test of one backend.
async fn captured(backend: &str) -> Result<()> {
    let Some(mut network) = Network::new()? else {
        return Ok(());
    };
    let (pod, other) = (network.pod()?, network.pod()?);
    pod.resolv_conf("nameserver 10.77.0.2\n")?;
    let _app = pod.serve(None, &["greet=app=9000", "greet=scrape=9100"]).await?;
    let _other = other
        .serve(None, &["greet=other=9000", "greet=other=5432", "udp=server=53"])
        .await?;
    init(&pod, backend, "--redirect-dns -d 9100 -o 5432").await?;

    // Without the proxy nothing gets in or out, in either family.
    for address in [other.v4(), other.v6()] {
        check(&pod, None, &["dial", &address, "9000"], "refused").await?;
    }
    for address in [pod.v4(), pod.v6()] {
        check(&other, None, &["dial", &address, "9000"], "refused").await?;
    }

    let _proxy = pod.serve(Some(PROXY), &PROXY_SERVERS).await?;
    // Out, and in.
    check(&pod, None, &["dial", "10.77.0.2", "9000"], "outbound 10.77.0.2:9000").await?;
    check(&pod, None, &["dial", "fd77::2", "9000"], "outbound [fd77::2]:9000").await?;
    check(&other, None, &["dial", "10.77.0.1", "9000"], "inbound 10.77.0.1:9000").await?;
    check(&other, None, &["dial", "fd77::1", "9000"], "inbound [fd77::1]:9000").await?;
    // What is left alone.
    check(&pod, None, &["dial", "10.77.0.2", "5432"], "other 10.77.0.2:5432").await?;
    check(&other, None, &["dial", "10.77.0.1", "9100"], "scrape 10.77.0.1:9100").await?;
    check(&other, None, &["dial", "10.77.0.1", "15021"], "refused").await?;
    // The proxy's own connections leave; its calls to its own pod come in; what it hands over does not.
    check(
        &pod,
        Some(PROXY),
        &["dial", "10.77.0.2", "9000"],
        "other 10.77.0.2:9000",
    )
    .await?;
    check(
        &pod,
        Some(PROXY),
        &["dial", "10.77.0.1", "9000"],
        "inbound 10.77.0.1:9000",
    )
    .await?;
    check(
        &pod,
        Some(PROXY),
        &["dial", "fd77::1", "9000"],
        "inbound [fd77::1]:9000",
    )
    .await?;
    check(&pod, Some(PROXY), &["dial", "127.0.0.1", "9000"], "app 127.0.0.1:9000").await?;
    check(
        &pod,
        Some(PROXY),
        &["dial", "10.77.0.1", "9000", "127.0.0.6"],
        "app 10.77.0.1:9000",
    )
    .await?;
    check(
        &pod,
        Some(PROXY),
        &["dial", "fd77::1", "9000", "::6"],
        "app [fd77::1]:9000",
    )
    .await?;
    // The application reaches itself directly.
    check(&pod, None, &["dial", "10.77.0.1", "9000"], "app 10.77.0.1:9000").await?;
    check(&pod, None, &["dial", "127.0.0.1", "9000"], "app 127.0.0.1:9000").await?;
    // Names.
    check(&pod, None, &["ask", "10.77.0.2", "53"], "dns").await?;
    check(&pod, Some(PROXY), &["ask", "10.77.0.2", "53"], "server").await?;

    // Again, the same rules; with other flags, those; at the end, none.
    let once = rules(&pod).await?;
    init(&pod, backend, "--redirect-dns -d 9100 -o 5432").await?;
    let twice = rules(&pod).await?;
    ensure!(
        without_counters(&once) == without_counters(&twice),
        "run twice:\n{once}\n---\n{twice}"
    );
    init(&pod, backend, "--include-outbound-ip-ranges=10.77.0.254 -b 9100").await?;
    check(&pod, None, &["dial", "10.77.0.2", "9000"], "other 10.77.0.2:9000").await?;
    check(&other, None, &["dial", "10.77.0.1", "9000"], "app 10.77.0.1:9000").await?;
    check(&other, None, &["dial", "10.77.0.1", "9100"], "inbound 10.77.0.1:9100").await?;
    check(&pod, None, &["ask", "10.77.0.2", "53"], "server").await?;
    init(&pod, "auto", "--cleanup").await?;
    check(&other, None, &["dial", "10.77.0.1", "9100"], "scrape 10.77.0.1:9100").await?;
    let left = rules(&pod).await?;
    ensure!(!left.to_lowercase().contains("weft"), "left behind:\n{left}");
    Ok(())
}

/// iptables counts packets in its rules.
fn without_counters(rules: &str) -> String {
    let word = |word: &&str| word.parse::<u64>().is_err();
    let line = |line: &str| line.split(' ').filter(word).collect::<Vec<_>>().join(" ");
    rules.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn nftables_capture_what_they_should() -> Result<()> {
    captured("nft").await
}

#[tokio::test]
async fn iptables_capture_what_they_should() -> Result<()> {
    captured("iptables").await
}

#[tokio::test]
async fn a_dry_run_changes_nothing() -> Result<()> {
    let Some(mut network) = Network::new()? else {
        return Ok(());
    };
    let pod = network.pod()?;
    let printed = init(&pod, "nft", "--dry-run").await?;
    ensure!(printed.starts_with("# nft -f -\nadd table inet weft\n"), "{printed}");
    ensure!(rules(&pod).await?.is_empty(), "rules after a dry run");
    let printed = init(&pod, "iptables", "--dry-run").await?;
    ensure!(
        printed.contains("# ip6tables-restore --noflush -w\n*nat\n"),
        "{printed}"
    );
    Ok(())
}
