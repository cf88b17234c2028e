//! The control plane itself: its place, its Deployments, its webhooks and the definitions of the kinds that it reads.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use weft_mesh::admission::Configurations;

use crate::cluster::{Component, components};
use crate::install::{Finding, Mark, OWNED, Pilot};

const CATEGORY: &str = "control plane";

/// What is wrong with what should be there and is not.
const INSTALL: &str = "run meshctl install";

/// The Deployment with the certificate authority.
const CITADEL: &str = "weft-citadel";

/// Whether the mesh is where it is looked for.
pub(super) fn place(pilots: &[Pilot], namespace: &str) -> (Finding, bool) {
    if let Some(here) = pilots.iter().find(|pilot| pilot.namespace == namespace) {
        let text = format!("version {} is installed", here.version);
        return (Finding::new(CATEGORY, Mark::Good, text, ""), true);
    }
    let finding = match pilots.first() {
        None => Finding::new(CATEGORY, Mark::Bad, "no mesh is installed", INSTALL),
        Some(Pilot { namespace: other, .. }) => {
            let text = format!("the mesh is in namespace {other}, not in {namespace}");
            Finding::new(CATEGORY, Mark::Bad, text, format!("run meshctl check -i {other}"))
        }
    };
    (finding, false)
}

/// Deployments that are there, and those that must be.
pub(super) async fn deployments(client: &Client, namespace: &str) -> anyhow::Result<Vec<Finding>> {
    let components = components(client, namespace).await?;
    let mut findings: Vec<Finding> = components
        .iter()
        .map(|component| of_component(component, namespace))
        .collect();
    let missing = [
        ("pilot", components.iter().any(|component| component.is_pilot)),
        (CITADEL, components.iter().any(|component| component.name == CITADEL)),
    ];
    for (name, _) in missing.iter().filter(|(_, is_there)| !is_there) {
        let text = format!("there is no Deployment of {name} in namespace {namespace}");
        findings.push(Finding::new(CATEGORY, Mark::Bad, text, INSTALL));
    }
    Ok(findings)
}

fn of_component(component: &Component, namespace: &str) -> Finding {
    let Component {
        name, ready, wanted, ..
    } = component;
    let is_needed = component.is_pilot || name == CITADEL;
    if *wanted == 0 && is_needed {
        let text = format!("{name}: scaled to no replicas");
        let hint = format!("run meshctl install, or kubectl scale deployment -n {namespace} {name} --replicas=2");
        return Finding::new(CATEGORY, Mark::Bad, text, hint);
    }
    let text = format!("{name}: {ready} of {wanted} replicas ready");
    if component.is_well() {
        return Finding::new(CATEGORY, Mark::Good, text, "");
    }
    let mark = if *ready == 0 { Mark::Bad } else { Mark::Doubtful };
    let hint = match component.trouble.first() {
        Some(reason) => reason.clone(),
        None => format!("see kubectl describe deployment -n {namespace} {name}"),
    };
    Finding::new(CATEGORY, mark, text, hint)
}

/// Both configurations of each revision, and those that are there beside them. One without a bundle cannot be called, so pods
/// of the mesh cannot start.
pub(super) async fn webhooks(
    client: &Client,
    namespace: &str,
    revisions: &BTreeSet<&str>,
) -> anyhow::Result<Vec<Finding>> {
    let selector = OWNED.map(|(key, value)| format!("{key}={value}")).join(",");
    let params = ListParams::default().labels(&selector);
    let mut bundles: BTreeMap<String, bool> = BTreeMap::new();
    let is_whole = |config: &WebhookClientConfig| config.ca_bundle.is_some();
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    for found in api.list(&params).await? {
        let mut hooks = found.webhooks.iter().flatten();
        bundles.insert(found.name_any(), hooks.all(|hook| is_whole(&hook.client_config)));
    }
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    for found in api.list(&params).await? {
        let mut hooks = found.webhooks.iter().flatten();
        bundles.insert(found.name_any(), hooks.all(|hook| is_whole(&hook.client_config)));
    }
    Ok(of_webhooks(&bundles, namespace, revisions))
}

fn of_webhooks(bundles: &BTreeMap<String, bool>, namespace: &str, revisions: &BTreeSet<&str>) -> Vec<Finding> {
    const CATEGORY: &str = "webhooks";
    let finding = |(name, complete): (&String, &bool)| {
        if *complete {
            return Finding::new(CATEGORY, Mark::Good, format!("{name} has a certificate bundle"), "");
        }
        let hint = format!("pilot writes it once it has a certificate; see kubectl logs -n {namespace} -l istio=pilot");
        Finding::new(CATEGORY, Mark::Bad, format!("{name} has no certificate bundle"), hint)
    };
    let mut findings: Vec<Finding> = bundles.iter().map(finding).collect();
    for revision in revisions {
        let names = Configurations::of_revision(revision);
        for (name, without) in [
            (names.injector, "no pod of the mesh gets a proxy"),
            (names.validator, "broken objects are stored"),
        ] {
            if !bundles.contains_key(&name) {
                let text = format!("webhook configuration {name} is missing: {without}");
                findings.push(Finding::new(CATEGORY, Mark::Bad, text, INSTALL));
            }
        }
    }
    findings
}

/// Whether the server has all kinds of the mesh.
pub(super) async fn definitions(client: &Client) -> anyhow::Result<Vec<Finding>> {
    const CATEGORY: &str = "definitions";
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = weft_api::crd::definitions();
    let names: Vec<&str> = definitions
        .iter()
        .filter_map(|definition| definition["metadata"]["name"].as_str())
        .collect();
    let found = try_join_all(names.iter().map(|name| api.get_metadata_opt(name))).await?;
    let missing = names.iter().zip(found).filter(|(_, found)| found.is_none());
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    if missing.is_empty() {
        let text = format!("all {} definitions are there", names.len());
        return Ok(vec![Finding::new(CATEGORY, Mark::Good, text, "")]);
    }
    let text = format!("definitions are missing: {}", missing.join(", "));
    Ok(vec![Finding::new(CATEGORY, Mark::Bad, text, INSTALL)])
}
