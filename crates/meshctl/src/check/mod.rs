//! `meshctl check`: whether a cluster can be installed to, and whether the mesh in it is well.

mod objects;

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::time::{Duration, Instant, sleep};

use crate::cli::CheckArguments;
use crate::cluster::{Component, components};
use crate::exit::Exit;
use crate::install::{Finding, Mark, OWNED, examine};
use crate::output::{self, Format};

/// Pause between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks, again and again while there is time and something is wrong.
pub(crate) async fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let client = arguments.cluster.connect().await?;
    let deadline = Instant::now() + arguments.wait;
    let findings = loop {
        let findings = look(&client, arguments).await?;
        let well = findings.iter().all(|finding| finding.mark != Mark::Bad);
        if well || Instant::now() >= deadline {
            break findings;
        }
        sleep(INTERVAL).await;
    };
    let format = arguments.output.output;
    output::print(format, &findings, |findings| text(findings))?;
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

async fn look(client: &Client, arguments: &CheckArguments) -> anyhow::Result<Vec<Finding>> {
    let report = examine(client, &arguments.namespace).await?;
    let mut findings = report.findings;
    if arguments.pre {
        return Ok(findings);
    }
    findings.push(match report.installed {
        Some(version) => Finding::new(
            "control plane",
            Mark::Good,
            format!("version {version} is installed"),
            "",
        ),
        None => Finding::new(
            "control plane",
            Mark::Bad,
            "no mesh is installed",
            "run meshctl install",
        ),
    });
    findings.extend(deployments(client, &arguments.namespace).await?);
    findings.extend(webhooks(client).await?);
    findings.extend(objects::objects(client).await?);
    Ok(findings)
}

async fn deployments(client: &Client, namespace: &str) -> anyhow::Result<Vec<Finding>> {
    const CATEGORY: &str = "control plane";
    let mut findings = Vec::new();
    for component in components(client, namespace).await? {
        let Component {
            name, ready, wanted, ..
        } = &component;
        let text = format!("{name}: {ready} of {wanted} replicas ready");
        findings.push(if component.is_well() {
            Finding::new(CATEGORY, Mark::Good, text, "")
        } else {
            let mark = if *ready == 0 { Mark::Bad } else { Mark::Doubtful };
            let hint = match component.trouble.first() {
                Some(reason) => reason.clone(),
                None => format!("see kubectl describe deployment -n {namespace} {name}"),
            };
            Finding::new(CATEGORY, mark, text, hint)
        });
    }
    Ok(findings)
}

/// A webhook without a bundle cannot be called, so pods of the mesh cannot start.
async fn webhooks(client: &Client) -> anyhow::Result<Vec<Finding>> {
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let params = ListParams::default().labels(&selector);
    let mut bundles: BTreeMap<String, bool> = BTreeMap::new();
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    for found in api.list(&params).await? {
        let hooks = found.webhooks.iter().flatten();
        let complete = hooks.into_iter().all(|hook| hook.client_config.ca_bundle.is_some());
        bundles.insert(found.metadata.name.unwrap_or_default(), complete);
    }
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    for found in api.list(&params).await? {
        let hooks = found.webhooks.iter().flatten();
        let complete = hooks.into_iter().all(|hook| hook.client_config.ca_bundle.is_some());
        bundles.insert(found.metadata.name.unwrap_or_default(), complete);
    }
    let finding = |(name, complete): (String, bool)| {
        if complete {
            return Finding::new("webhooks", Mark::Good, format!("{name} has a certificate bundle"), "");
        }
        let hint = "pilot writes it once it has a certificate; see kubectl logs -n weft-system -l istio=pilot";
        Finding::new("webhooks", Mark::Bad, format!("{name} has no certificate bundle"), hint)
    };
    Ok(bundles.into_iter().map(finding).collect())
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
    }
}
