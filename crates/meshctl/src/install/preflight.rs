//! Whether a cluster can be installed to, and what is there already. Asks only; changes nothing.

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;

use super::render::{Abilities, OWNED};

/// Oldest minor version of Kubernetes 1 that has everything: server-side apply, webhooks and definitions of version v1.
const MINOR_MIN: u32 = 20;

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

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) abilities: Abilities,
    /// Version of the mesh that is there.
    pub(crate) installed: Option<String>,
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

/// Looks at everything.
pub(crate) async fn examine(client: &Client, namespace: &str) -> anyhow::Result<Report> {
    let version = client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    let text = format!("{}.{}", version.major, version.minor);
    let minor = minor(&text).unwrap_or(0);
    let mut findings = vec![version_finding(&text, minor)];
    if minor >= MINOR_MIN {
        findings.push(rights(client).await?);
        findings.push(namespace_finding(client, namespace).await?);
        findings.extend(neighbours(client).await?);
    }
    Ok(Report {
        findings,
        abilities: Abilities { minor },
        installed: installed(client).await?,
    })
}

/// The minor version of a text such as `1.29` or `v1.29+`.
pub(super) fn minor(text: &str) -> Option<u32> {
    let rest = text.trim_start_matches('v').strip_prefix("1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn version_finding(text: &str, minor: u32) -> Finding {
    const CATEGORY: &str = "kubernetes";
    if minor >= MINOR_MIN {
        return Finding::new(CATEGORY, Mark::Good, format!("the server runs Kubernetes {text}"), "");
    }
    let hint = format!("upgrade it to 1.{MINOR_MIN} or later");
    Finding::new(CATEGORY, Mark::Bad, format!("the server runs Kubernetes {text}"), hint)
}

/// What the user must be allowed to do.
const NEEDED: [(&str, &str); 8] = [
    ("", "namespaces"),
    ("", "services"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
];

async fn rights(client: &Client) -> anyhow::Result<Finding> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacking = Vec::new();
    for (group, resource) in NEEDED {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("create".to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacking.push(resource);
        }
    }
    const CATEGORY: &str = "rights";
    if lacking.is_empty() {
        return Ok(Finding::new(
            CATEGORY,
            Mark::Good,
            "you may create everything that is needed",
            "",
        ));
    }
    let text = format!("you may not create {}", lacking.join(", "));
    Ok(Finding::new(
        CATEGORY,
        Mark::Bad,
        text,
        "ask for the role cluster-admin, or use another context",
    ))
}

async fn namespace_finding(client: &Client, name: &str) -> anyhow::Result<Finding> {
    const CATEGORY: &str = "namespace";
    let api: Api<Namespace> = Api::all(client.clone());
    Ok(match api.get_opt(name).await? {
        None => Finding::new(CATEGORY, Mark::Good, format!("namespace {name} is free"), ""),
        Some(found) if found.metadata.deletion_timestamp.is_some() => Finding::new(
            CATEGORY,
            Mark::Bad,
            format!("namespace {name} is being removed"),
            "wait until it is gone",
        ),
        Some(_) => Finding::new(CATEGORY, Mark::Good, format!("namespace {name} exists"), ""),
    })
}

/// Another mesh that would inject the same pods.
async fn neighbours(client: &Client) -> anyhow::Result<Vec<Finding>> {
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let others = api.list(&ListParams::default().labels("app=sidecar-injector")).await?;
    let foreign = others.items.iter().filter(|found| {
        let labels = found.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(OWNED[0].0)).map(String::as_str) != Some(OWNED[0].1)
    });
    Ok(foreign
        .map(|found| {
            let name = found.metadata.name.as_deref().unwrap_or_default();
            let text = format!("another injector is there: {name}");
            let hint = "use --revision, and label namespaces with istio.io/rev, so that no pod is injected twice";
            Finding::new("other meshes", Mark::Doubtful, text, hint)
        })
        .collect())
}

/// The version label of the discovery server that is there.
async fn installed(client: &Client) -> anyhow::Result<Option<String>> {
    let api: Api<Deployment> = Api::all(client.clone());
    let selector = format!("{}={},istio=pilot", OWNED[0].0, OWNED[0].1);
    let found = api.list(&ListParams::default().labels(&selector)).await?;
    let labels = found
        .items
        .into_iter()
        .find_map(|deployment| deployment.metadata.labels);
    Ok(labels.and_then(|labels| labels.get("app.kubernetes.io/version").cloned()))
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
        assert_eq!(version_finding("1.19", 19).mark, Mark::Bad);
        assert_eq!(version_finding("1.20", 20).mark, Mark::Good);
    }
}
