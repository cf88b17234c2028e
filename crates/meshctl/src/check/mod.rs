//! `meshctl check`: whether a cluster can be installed to, and whether the mesh in it, or one of this machine, is well.

mod control_plane;
mod machine;
mod mesh_config;
mod objects;
mod proxies;
mod unserved;
mod workloads;

use std::collections::BTreeSet;

use clap::Args;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::cluster::ControlPlane;
use crate::exit::Exit;
use crate::flags::{OutputArguments, duration};
use crate::install::{Finding, Mark, Wish, allowed, examine, survey};
use crate::mesh::{Record, StateDir};
use crate::mesh_target::{Target, TargetArguments};
use crate::output::{self, Format};

/// What to check.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// Only whether the cluster can be installed to.
    #[arg(long)]
    pub(crate) pre: bool,
    /// The older name of `--system-namespace`.
    #[arg(short, long, value_name = "NAME", hide = true, conflicts_with = "system_namespace")]
    pub(crate) namespace: Option<String>,
    /// Try again until all is well, at most so long.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Pause between two tries.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Most findings of one sort that are named.
const NAMED_MAX: usize = 50;

/// What is looked at.
enum Subject {
    /// A cluster without a mesh.
    Bare(ControlPlane),
    /// The mesh of a cluster.
    Cluster(ControlPlane),
    /// A mesh of this machine.
    Machine(Box<Record>),
}

/// What was seen in one try.
struct Look {
    findings: Vec<Finding>,
    /// Whether the control plane has looked at every object, and waits with nothing.
    settled: bool,
}

/// Checks, again and again while there is time and something is wrong.
pub(crate) async fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let subject = subject(arguments).await?;
    let deadline = Instant::now() + arguments.wait;
    let findings = loop {
        let Look { findings, settled } = match timeout(TRY_TIMEOUT, look(&subject)).await {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => unanswered(&output::causes(&error)),
            Err(_) => unanswered("the API server does not answer in time"),
        };
        let well = settled && count(&findings, Mark::Bad) == 0;
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
    if format == Format::Table {
        output::say(&verdict(&findings));
    }
    Ok(if count(&findings, Mark::Bad) == 0 {
        Exit::Ok
    } else {
        Exit::Findings
    })
}

fn count(findings: &[Finding], mark: Mark) -> usize {
    findings.iter().filter(|finding| finding.mark == mark).count()
}

/// The last line: that all is well is said only where nothing else is.
fn verdict(findings: &[Finding]) -> String {
    let failed = match count(findings, Mark::Bad) {
        0 => "Nothing failed".to_owned(),
        1 => "1 check failed".to_owned(),
        bad => format!("{bad} checks failed"),
    };
    match (count(findings, Mark::Bad), count(findings, Mark::Doubtful)) {
        (0, 0) => "Everything is well.".to_owned(),
        (_, 0) => format!("{failed}."),
        (_, 1) => format!("{failed}; 1 finding is worth a look."),
        (_, doubtful) => format!("{failed}; {doubtful} findings are worth a look."),
    }
}

async fn subject(arguments: &CheckArguments) -> anyhow::Result<Subject> {
    let mut target = arguments.target.clone();
    if let Some(namespace) = &arguments.namespace {
        target.system_namespace = Some(namespace.clone());
    }
    if arguments.pre {
        return Ok(Subject::Bare(target.cluster().await?));
    }
    Ok(match target.find().await? {
        Target::Machine(record) => Subject::Machine(record),
        Target::Cluster(plane) => Subject::Cluster(plane),
    })
}

/// A server that cannot be asked is found like anything else, so that readers of JSON see it and `--wait` waits for it.
fn unanswered(text: &str) -> Look {
    let hint = "see whether kubectl version reaches it with the same kubeconfig and context";
    Look::settled(vec![Finding::new("kubernetes", Mark::Bad, text, hint)])
}

async fn look(subject: &Subject) -> anyhow::Result<Look> {
    match subject {
        Subject::Cluster(plane) => cluster(plane).await,
        Subject::Bare(plane) => {
            let wish = Wish {
                namespace: &plane.namespace,
                revision: "default",
                gateway_namespaces: &[],
            };
            Ok(Look::settled(examine(&plane.client, wish).await?.findings))
        }
        Subject::Machine(record) => {
            // The record changes while one waits; where it is gone, so is the mesh.
            let state = StateDir::of_mesh(&record.name, Some(&record.state_directory))?;
            match state.running_record() {
                Ok(record) => Ok(machine::look(&record).await),
                Err(error) => Ok(Look::settled(vec![Finding::new(
                    "mesh",
                    Mark::Bad,
                    error.to_string(),
                    "",
                )])),
            }
        }
    }
}

async fn cluster(plane: &ControlPlane) -> anyhow::Result<Look> {
    let (client, namespace) = (&plane.client, plane.namespace.as_str());
    let report = survey(client, namespace).await?;
    let mut findings = report.findings;
    let (mut revisions, mut roots) = (BTreeSet::new(), BTreeSet::new());
    if let Some(pilots) = &report.pilots {
        let (finding, is_here) = control_plane::place(pilots, namespace);
        findings.push(finding);
        if !is_here {
            return Ok(Look::settled(findings));
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
    findings.extend(allowed("workloads", workloads::findings(client).await)?);
    findings.extend(allowed("proxies", proxies::findings(plane).await)?);
    let looked = objects::objects(client).await;
    let settled = looked.as_ref().is_ok_and(|looked| looked.settled);
    findings.extend(allowed("objects", looked.map(|looked| looked.findings))?);
    Ok(Look { findings, settled })
}

// === impl Look ===

impl Look {
    fn settled(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            settled: true,
        }
    }
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

    #[test]
    fn all_is_well_only_where_nothing_is_found() {
        for (marks, expected) in [
            (&[Mark::Good][..], "Everything is well."),
            (&[Mark::Doubtful], "Nothing failed; 1 finding is worth a look."),
            (&[Mark::Bad, Mark::Good], "1 check failed."),
            (
                &[Mark::Bad, Mark::Doubtful, Mark::Bad, Mark::Doubtful],
                "2 checks failed; 2 findings are worth a look.",
            ),
        ] {
            let findings: Vec<Finding> = marks.iter().map(|mark| Finding::new("a", *mark, "b", "")).collect();
            assert_eq!(verdict(&findings), expected);
        }
    }
}
