//! `meshctl check`: whether a cluster can be installed to, and whether the mesh in it is well.

mod control_plane;
mod mesh_config;
mod objects;

use std::collections::BTreeSet;

use kube::Client;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::cli::CheckArguments;
use crate::exit::Exit;
use crate::install::{Finding, Mark, Wish, allowed, examine, survey};
use crate::output::{self, Format};

/// Pause between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks, again and again while there is time and something is wrong.
pub(crate) async fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let client = arguments.cluster.connect().await?;
    let deadline = Instant::now() + arguments.wait;
    let findings = loop {
        let looked = timeout(TRY_TIMEOUT, look(&client, arguments)).await;
        let findings = match looked {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => vec![unanswered(&format!("{error:#}"))],
            Err(_) => vec![unanswered("the API server does not answer in time")],
        };
        let well = findings.iter().all(|finding| finding.mark != Mark::Bad);
        if well || Instant::now() >= deadline {
            break findings;
        }
        sleep(INTERVAL).await;
    };
    let format = arguments.output.output;
    output::print(format, &findings, |findings| match format {
        Format::Short => short(findings),
        Format::Table | Format::Json | Format::Yaml => text(findings),
    })?;
    let bad = findings.iter().filter(|finding| finding.mark == Mark::Bad).count();
    if format == Format::Table {
        output::say(&match bad {
            0 => "Everything is well.".to_owned(),
            1 => "1 check failed.".to_owned(),
            bad => format!("{bad} checks failed."),
        });
    }
    Ok(if bad == 0 { Exit::Ok } else { Exit::Findings })
}

/// A server that cannot be asked is found like anything else, so that readers of JSON see it and `--wait` waits for it.
fn unanswered(text: &str) -> Finding {
    let hint = "see whether kubectl version reaches it with the same kubeconfig and context";
    Finding::new("kubernetes", Mark::Bad, text, hint)
}

async fn look(client: &Client, arguments: &CheckArguments) -> anyhow::Result<Vec<Finding>> {
    let namespace = arguments.namespace.as_str();
    if arguments.pre {
        let wish = Wish {
            namespace,
            revision: "default",
            gateway_namespaces: &[],
        };
        return Ok(examine(client, wish).await?.findings);
    }
    let report = survey(client, namespace).await?;
    let mut findings = report.findings;
    let (mut revisions, mut roots) = (BTreeSet::new(), BTreeSet::new());
    if let Some(pilots) = &report.pilots {
        let (finding, is_here) = control_plane::place(pilots, namespace);
        findings.push(finding);
        if !is_here {
            return Ok(findings);
        }
        for pilot in pilots.iter().filter(|pilot| pilot.namespace == namespace) {
            revisions.insert(pilot.revision.as_str());
            roots.insert(pilot.root_namespace.as_str());
        }
    }
    let found = control_plane::deployments(client, namespace).await;
    findings.extend(allowed("control plane", found)?);
    let found = control_plane::webhooks(client, namespace, &revisions).await;
    findings.extend(allowed("webhooks", found)?);
    let found = mesh_config::findings(client, &roots).await;
    findings.extend(allowed("mesh configuration", found)?);
    findings.extend(allowed("definitions", control_plane::definitions(client).await)?);
    findings.extend(allowed("objects", objects::objects(client).await)?);
    Ok(findings)
}

/// One line for each finding that is not good.
fn short(findings: &[Finding]) -> String {
    let found = findings.iter().filter(|finding| finding.mark != Mark::Good);
    found.map(|finding| finding.line() + "\n").collect()
}

/// Findings under their categories.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut last = "";
    for finding in findings {
        if finding.category != last {
            if !last.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!(
                "{}\n{}\n",
                finding.category,
                "-".repeat(finding.category.len())
            ));
            last = finding.category;
        }
        text.push_str(&finding.line());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn findings_stand_under_their_categories() {
        let findings = [
            Finding::new("kubernetes", Mark::Good, "the server runs Kubernetes 1.29", ""),
            Finding::new("webhooks", Mark::Doubtful, "a", "look"),
            Finding::new("webhooks", Mark::Bad, "b", "repair"),
        ];
        expect![[r#"
            kubernetes
            ----------
            √ the server runs Kubernetes 1.29

            webhooks
            --------
            ‼ a; look
            × b; repair
        "#]]
        .assert_eq(&text(&findings));
        assert_eq!(short(&findings), "\u{203c} a; look\n\u{d7} b; repair\n");
    }
}
