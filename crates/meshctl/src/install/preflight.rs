//! Whether a cluster can be installed to, and what is there already. Asks only; changes nothing.

mod neighbours;
mod rights;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use weft_base::kubernetes::is_status;

use super::render::OWNED;

/// Oldest minor version of Kubernetes 1: the first with native sidecars, and older than all that anybody supports.
const MINOR_MIN: u32 = 29;

/// Namespace of mesh-wide objects where pilot is not told another.
const ROOT_NAMESPACE: &str = "istio-system";

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// In the way.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) category: &'static str,
    pub(crate) mark: Mark,
    pub(crate) text: String,
    /// What to do; empty where all is well.
    pub(crate) hint: String,
}

/// What is to be installed, as far as the cluster may be in its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// Namespace of the control plane.
    pub(crate) namespace: &'a str,
    /// Revision of the control plane.
    pub(crate) revision: &'a str,
    /// Further namespaces that get objects.
    pub(crate) gateway_namespaces: &'a [String],
}

/// A discovery server that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pilot {
    pub(crate) namespace: String,
    pub(crate) version: String,
    pub(crate) revision: String,
    /// Namespace of mesh-wide objects.
    pub(crate) root_namespace: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// Whether the server is new enough for everything else to be looked at.
    supported: bool,
    /// The discovery servers of the cluster; nothing where they may not be listed.
    pub(crate) pilots: Option<Vec<Pilot>>,
}

// === impl Finding ===

impl Finding {
    pub(crate) fn new(category: &'static str, mark: Mark, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            category,
            mark,
            text: text.into(),
            hint: hint.into(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let mark = match self.mark {
            Mark::Good => '\u{221a}',
            Mark::Doubtful => '\u{203c}',
            Mark::Bad => '\u{d7}',
        };
        match self.hint.as_str() {
            "" => format!("{mark} {}", self.text),
            hint => format!("{mark} {}; {hint}", self.text),
        }
    }
}

/// Looks at everything that an installation needs.
pub(crate) async fn examine(client: &Client, wish: Wish<'_>) -> anyhow::Result<Report> {
    let mut report = survey(client, wish.namespace).await?;
    if !report.supported {
        return Ok(report);
    }
    let is_first = report.pilots.as_ref().is_some_and(Vec::is_empty);
    let findings = &mut report.findings;
    findings.extend(allowed("rights", rights::findings(client, wish.namespace).await)?);
    findings.extend(allowed("namespace", gateways(client, wish).await)?);
    findings.extend(allowed("namespace", neighbours::elsewhere(client, wish).await)?);
    findings.extend(allowed("other meshes", neighbours::injectors(client, wish).await)?);
    if is_first {
        findings.extend(allowed("other meshes", neighbours::roots(client).await)?);
    }
    findings.extend(allowed("certificate authority", authority(client, wish).await)?);
    Ok(report)
}

/// Looks at what is there, whoever asks for it.
pub(crate) async fn survey(client: &Client, namespace: &str) -> anyhow::Result<Report> {
    let version = client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    let text = format!("{}.{}", version.major, version.minor);
    let version = version_finding(&text);
    let supported = version.mark == Mark::Good;
    let mut findings = vec![version];
    let mut found = None;
    if supported {
        findings.extend(allowed("namespace", namespace_finding(client, namespace).await)?);
        match pilots(client).await {
            Ok(pilots) => found = Some(pilots),
            Err(error) => findings.extend(allowed("control plane", Err(error))?),
        }
    }
    Ok(Report {
        findings,
        supported,
        pilots: found,
    })
}

/// What a look found. That the user may not look is a finding as well, so that all such are said at once.
pub(crate) fn allowed(category: &'static str, looked: anyhow::Result<Vec<Finding>>) -> anyhow::Result<Vec<Finding>> {
    let error = match looked {
        Ok(findings) => return Ok(findings),
        Err(error) => error,
    };
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<kube::Error>());
    let Some(kube::Error::Api(status)) = causes.find(|cause| is_status(cause, 403)) else {
        return Err(error);
    };
    Ok(vec![Finding::new(
        category,
        Mark::Bad,
        status.message.clone(),
        "ask for the right to do so, or use another context",
    )])
}

/// The minor version of a text such as `1.29` or `v1.29+`.
fn minor(text: &str) -> Option<u32> {
    let rest = text.trim_start_matches('v').strip_prefix("1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn version_finding(text: &str) -> Finding {
    const CATEGORY: &str = "kubernetes";
    if minor(text).is_some_and(|minor| minor >= MINOR_MIN) {
        return Finding::new(CATEGORY, Mark::Good, format!("the server runs Kubernetes {text}"), "");
    }
    let text = format!("the server runs Kubernetes {text}, the mesh needs 1.{MINOR_MIN} or newer");
    Finding::new(CATEGORY, Mark::Bad, text, "upgrade the cluster or use another one")
}

async fn namespace_finding(client: &Client, name: &str) -> anyhow::Result<Vec<Finding>> {
    const CATEGORY: &str = "namespace";
    let api: Api<Namespace> = Api::all(client.clone());
    let finding = match api.get_opt(name).await? {
        None => Finding::new(CATEGORY, Mark::Good, format!("namespace {name} is free"), ""),
        Some(found) if found.metadata.deletion_timestamp.is_some() => Finding::new(
            CATEGORY,
            Mark::Bad,
            format!("namespace {name} is being removed"),
            "wait until it is gone",
        ),
        Some(_) => Finding::new(CATEGORY, Mark::Good, format!("namespace {name} exists"), ""),
    };
    Ok(vec![finding])
}

/// Namespaces with gateways are others' to make.
async fn gateways(client: &Client, wish: Wish<'_>) -> anyhow::Result<Vec<Finding>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut findings = Vec::new();
    for name in wish.gateway_namespaces {
        if api.get_opt(name).await?.is_none() {
            let text = format!("namespace {name} of gatewayNamespaces does not exist");
            let hint = format!("make it: kubectl create namespace {name}");
            findings.push(Finding::new("namespace", Mark::Bad, text, hint));
        }
    }
    Ok(findings)
}

/// A further revision has no certificate authority of its own.
async fn authority(client: &Client, wish: Wish<'_>) -> anyhow::Result<Vec<Finding>> {
    if wish.revision == "default" {
        return Ok(Vec::new());
    }
    let api: Api<Deployment> = Api::namespaced(client.clone(), wish.namespace);
    if api.get_opt("weft-citadel").await?.is_some() {
        return Ok(Vec::new());
    }
    let text = format!("namespace {} has no Deployment weft-citadel", wish.namespace);
    let hint = "install the default revision first: it has the certificate authority";
    Ok(vec![Finding::new("certificate authority", Mark::Bad, text, hint)])
}

/// The discovery servers that are there.
async fn pilots(client: &Client) -> anyhow::Result<Vec<Pilot>> {
    let api: Api<Deployment> = Api::all(client.clone());
    let selector = format!("{}={},istio=pilot", OWNED[0].0, OWNED[0].1);
    let found = api.list(&ListParams::default().labels(&selector)).await?;
    let label = |deployment: &Deployment, key: &str, default: &str| {
        let value = deployment.labels().get(key);
        value.map_or_else(|| default.to_owned(), String::clone)
    };
    let pilot = |deployment: &Deployment| Pilot {
        namespace: deployment.namespace().unwrap_or_default(),
        version: label(deployment, "app.kubernetes.io/version", "unknown"),
        revision: label(deployment, "istio.io/rev", "default"),
        root_namespace: root_namespace(deployment).unwrap_or_else(|| ROOT_NAMESPACE.to_owned()),
    };
    Ok(found.items.iter().map(pilot).collect())
}

/// What pilot takes for it.
fn root_namespace(pilot: &Deployment) -> Option<String> {
    let pod = pilot.spec.as_ref()?.template.spec.as_ref()?;
    let mut variables = pod
        .containers
        .iter()
        .flat_map(|container| container.env.iter().flatten());
    variables
        .find(|variable| variable.name == "WEFT_ROOT_NAMESPACE")?
        .value
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_servers() {
        for (text, expected) in [
            ("1.20", Some(20)),
            ("v1.29.3", Some(29)),
            ("1.27+", Some(27)),
            ("2.0", None),
            ("1.x", None),
        ] {
            assert_eq!(minor(text), expected, "{text}");
        }
        for (text, mark) in [
            ("1.20", Mark::Bad),
            ("1.28+", Mark::Bad),
            ("1.29", Mark::Good),
            ("1.36", Mark::Good),
            ("1.x", Mark::Bad),
        ] {
            let finding = version_finding(text);
            assert_eq!(finding.mark, mark, "{text}");
            assert_eq!(
                finding.text.contains("needs 1.29 or newer"),
                mark == Mark::Bad,
                "{text}"
            );
        }
    }
}
