//! Proxies of pods: whether pilot serves them, and whether their certificates are of the authority that the mesh has now.
//!
//! A proxy that holds certificates of an authority that is gone can talk to nobody, pilot included, and says so only in its log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde_json::Value;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use super::NAMED_MAX;
use crate::cluster::{ControlPlane, PROXY_CONTAINER, all, containers, owner};
use crate::fetch::Server;
use crate::install::{Finding, Mark};
use crate::{output, proxy_status};

const CATEGORY: &str = "proxies";

/// The ConfigMap with the root certificate, and its key.
const ROOT: &str = "istio-ca-root-cert";
const ROOT_KEY: &str = "root-cert.pem";

/// A proxy that is younger may still be on its way to pilot.
const YOUNG: Duration = Duration::from_secs(30);

/// Most proxies that are asked for their certificates, and how many at once.
const ASKED_MAX: usize = 64;
const AT_ONCE: usize = 8;

/// Limit of one question to a proxy.
const DEADLINE: Duration = Duration::from_secs(5);

/// A pod with a running proxy.
#[derive(Debug)]
struct Proxied {
    namespace: String,
    name: String,
    /// Kind and name of what it belongs to: `Deployment web`.
    owner: (String, String),
    started: Timestamp,
}

/// The root certificate that everything in the mesh must be signed by.
#[derive(Debug)]
struct Root {
    serials: BTreeSet<String>,
    /// When it was written last; certificates of later pods are its own.
    since: Timestamp,
}

/// What is wrong with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// It trusts an authority that is gone.
    Foreign,
    /// Pilot does not serve it.
    Apart,
    /// The same, of a pilot that has just started.
    Late,
    /// It is older than the root certificate, and did not say which one it has.
    Unknown,
}

/// Looks at the proxies of all pods.
pub(super) async fn findings(plane: &ControlPlane) -> anyhow::Result<Vec<Finding>> {
    let now = Timestamp::now();
    let pods = all::<Pod>(&plane.client).await?;
    let proxied: Vec<Proxied> = pods.iter().filter_map(Proxied::of).collect();
    if proxied.is_empty() {
        return Ok(Vec::new());
    }
    let (mut findings, mut troubles) = (Vec::new(), BTreeMap::new());
    let connected = match connected(plane).await {
        Ok(connected) => Some(connected),
        Err(error) => {
            let text = format!("it is not known which proxies pilot serves: {}", output::causes(&error));
            let hint = "asking it takes the right to create pods/portforward, and a pilot that is ready";
            findings.push(Finding::new(CATEGORY, Mark::Doubtful, text, hint));
            None
        }
    };
    let is_apart = |pod: &Proxied| {
        let is_served = connected.as_ref().is_none_or(|names| names.contains(&pod.full_name()));
        !is_served && !pod.is_young(now)
    };
    let apart: BTreeSet<usize> = (0..proxied.len()).filter(|index| is_apart(&proxied[*index])).collect();
    let trouble = if pilot_is_young(&pods, &plane.namespace, now) {
        Trouble::Late
    } else {
        Trouble::Apart
    };
    troubles.extend(apart.iter().map(|index| (*index, trouble)));
    match root(&plane.client, &plane.namespace).await? {
        Some(root) => {
            let older = (0..proxied.len()).filter(|index| proxied[*index].started < root.since);
            let suspects: BTreeSet<usize> = older.chain(apart.iter().copied()).collect();
            compare(plane, &proxied, &suspects, &root, &mut troubles).await;
        }
        None => {
            let text = format!("ConfigMap {}/{ROOT} has no root certificate", plane.namespace);
            let hint = "citadel writes it; see meshctl logs citadel";
            findings.push(Finding::new(CATEGORY, Mark::Bad, text, hint));
        }
    }
    let served = connected
        .as_ref()
        .map(|names| proxied.iter().filter(|pod| names.contains(&pod.full_name())).count());
    if let Some(served) = served.filter(|served| *served > 0) {
        let text = format!("{served} of {} proxies are served by pilot", proxied.len());
        findings.insert(0, Finding::new(CATEGORY, Mark::Good, text, ""));
    }
    findings.extend(by_owner(&proxied, &troubles));
    Ok(findings)
}

/// Names of the proxies that any pilot serves, as `pod.namespace`.
async fn connected(plane: &ControlPlane) -> anyhow::Result<BTreeSet<String>> {
    let pilots = plane.pilots().await?;
    let states = proxy_status::ask(&pilots).await?;
    Ok(states.into_iter().map(|state| state.name).collect())
}

/// Asks the suspects which authority they trust.
async fn compare(
    plane: &ControlPlane,
    proxied: &[Proxied],
    suspects: &BTreeSet<usize>,
    root: &Root,
    troubles: &mut BTreeMap<usize, Trouble>,
) {
    let ask = async |index: usize| {
        let server = Server::Pod(plane.admin_of(&proxied[index].namespace, &proxied[index].name));
        (index, server.get_json("/certs", DEADLINE).await.ok())
    };
    let asked = suspects.iter().take(ASKED_MAX).copied();
    let mut answers = futures_util::stream::iter(asked.map(ask)).buffer_unordered(AT_ONCE);
    let mut silent: BTreeSet<usize> = suspects.iter().skip(ASKED_MAX).copied().collect();
    while let Some((index, page)) = answers.next().await {
        match page.as_ref().map(|page| trusts(page, root)) {
            Some(true) => {}
            Some(false) => drop(troubles.insert(index, Trouble::Foreign)),
            None => drop(silent.insert(index)),
        }
    }
    for index in silent {
        troubles.entry(index).or_insert(Trouble::Unknown);
    }
}

/// Whether a proxy's page of certificates (Envoy's `/certs`) has the root among those that it trusts. One that has none yet, trusts
/// nobody else.
fn trusts(page: &Value, root: &Root) -> bool {
    let certificates = page["certificates"].as_array().into_iter().flatten();
    let trusted = certificates.flat_map(|entry| entry["ca_cert"].as_array().into_iter().flatten());
    let mut serials = trusted
        .filter_map(|found| found["serial_number"].as_str())
        .map(plain)
        .peekable();
    serials.peek().is_none() || serials.any(|serial| root.serials.contains(&serial))
}

/// A serial number as all write it alike: hexadecimal, without zeros before it.
fn plain(serial: &str) -> String {
    serial.trim_start_matches('0').to_ascii_lowercase()
}

async fn root(client: &Client, namespace: &str) -> anyhow::Result<Option<Root>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(ROOT).await?.and_then(|map| Root::of(&map)))
}

/// One finding for each workload and trouble, the worst first.
fn by_owner(proxied: &[Proxied], troubles: &BTreeMap<usize, Trouble>) -> Vec<Finding> {
    let mut groups: BTreeMap<(Trouble, &str, &str, &str), Vec<&str>> = BTreeMap::new();
    for (index, trouble) in troubles {
        let pod = &proxied[*index];
        let group = (
            *trouble,
            pod.namespace.as_str(),
            pod.owner.0.as_str(),
            pod.owner.1.as_str(),
        );
        groups.entry(group).or_default().push(&pod.name);
    }
    let more = groups.len().saturating_sub(NAMED_MAX);
    let mut findings: Vec<Finding> = groups
        .into_iter()
        .take(NAMED_MAX)
        .map(|((trouble, namespace, kind, name), pods)| describe(trouble, namespace, (kind, name), &pods))
        .collect();
    if more > 0 {
        let hint = "mend those above first, and check again";
        findings.push(Finding::new(
            CATEGORY,
            Mark::Bad,
            format!("and {more} more workloads"),
            hint,
        ));
    }
    findings
}

fn describe(trouble: Trouble, namespace: &str, (kind, name): (&str, &str), pods: &[&str]) -> Finding {
    let subject = match (kind, pods) {
        ("Pod", _) => format!("Pod {namespace}/{name}"),
        (_, [pod]) => format!("{kind} {namespace}/{name}, pod {pod}"),
        (_, pods) => format!("{kind} {namespace}/{name}, {} pods", pods.len()),
    };
    let restart = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            format!("kubectl rollout restart {} -n {namespace} {name}", kind.to_lowercase())
        }
        _ => format!("kubectl delete pod -n {namespace} {}", pods.join(" ")),
    };
    let first = pods.first().copied().unwrap_or_default();
    match trouble {
        Trouble::Foreign => {
            let text = format!(
                "{subject}: the certificates are of a certificate authority that is gone, and the rest of the mesh refuses them"
            );
            Finding::new(CATEGORY, Mark::Bad, text, format!("new pods get new ones: {restart}"))
        }
        Trouble::Apart => {
            let text = format!("{subject}: not connected to pilot, so no change reaches the proxy");
            let hint = format!("meshctl logs {first}.{namespace} says why; where nothing else helps: {restart}");
            Finding::new(CATEGORY, Mark::Bad, text, hint)
        }
        Trouble::Late => {
            let text = format!("{subject}: not connected to pilot yet");
            Finding::new(
                CATEGORY,
                Mark::Doubtful,
                text,
                "a pilot has just started; check again in half a minute",
            )
        }
        Trouble::Unknown => {
            let text =
                format!("{subject}: older than the mesh's root certificate, and did not say which one it trusts");
            let hint = format!("where calls fail with 503: {restart}");
            Finding::new(CATEGORY, Mark::Doubtful, text, hint)
        }
    }
}

// === impl Proxied ===

impl Proxied {
    /// Nothing of a pod without a proxy, and of one that does not run.
    fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let runs = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
        if !runs || !containers(pod).any(|name| name == PROXY_CONTAINER) {
            return None;
        }
        let started = status
            .start_time
            .as_ref()
            .or(pod.metadata.creation_timestamp.as_ref())?;
        let name = pod.name_any();
        Some(Self {
            namespace: pod.namespace().unwrap_or_default(),
            owner: owner(pod).unwrap_or_else(|| ("Pod".to_owned(), name.clone())),
            name,
            started: started.0,
        })
    }

    /// As pilot names it.
    fn full_name(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    fn is_young(&self, now: Timestamp) -> bool {
        is_young(self.started, now)
    }
}

fn is_young(since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|age| age < YOUNG)
}

/// Whether a pilot became ready so recently that proxies of another one may still be on their way to it.
fn pilot_is_young(pods: &[Pod], namespace: &str, now: Timestamp) -> bool {
    let is_pilot = |pod: &&Pod| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && pod.labels().get("istio").is_some_and(|role| role == "pilot")
    };
    let conditions = pods.iter().filter(is_pilot).flat_map(|pod| {
        let status = pod.status.as_ref();
        status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten()
    });
    let mut since = conditions
        .filter(|condition| condition.type_ == "Ready")
        .filter_map(|condition| condition.last_transition_time.as_ref());
    since.any(|since| is_young(since.0, now))
}

// === impl Root ===

impl Root {
    fn of(map: &ConfigMap) -> Option<Self> {
        let pem = map.data.as_ref()?.get(ROOT_KEY)?;
        let serials: BTreeSet<String> = Pem::iter_from_buffer(pem.as_bytes())
            .filter_map(Result::ok)
            .filter_map(|pem| {
                let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
                let bytes = certificate.raw_serial().iter();
                Some(plain(&bytes.map(|byte| format!("{byte:02x}")).collect::<String>()))
            })
            .collect();
        let written = map.metadata.managed_fields.iter().flatten();
        let written = written.filter_map(|entry| entry.time.as_ref());
        let times = written
            .chain(map.metadata.creation_timestamp.as_ref())
            .map(|time| time.0);
        Some(Self {
            since: times.max().unwrap_or(Timestamp::MIN),
            serials,
        })
        .filter(|root| !root.serials.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Proxies need a moment to come back to a pilot that has just started.
    #[test]
    fn a_pilot_is_young_for_half_a_minute() {
        let pod = |namespace: &str, role: &str| -> Pod {
            let pod = json!({
                "metadata": {"name": "a", "namespace": namespace, "labels": {"istio": role}},
                "status": {"conditions": [
                    {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"},
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            });
            serde_json::from_value(pod).unwrap()
        };
        #[track_caller]
        fn check(pod: Pod, seconds: i64, expected: bool) {
            let now = Timestamp::from_second(1_767_225_600 + seconds).unwrap();
            assert_eq!(pilot_is_young(&[pod], "weft-system", now), expected, "{seconds}");
        }
        check(pod("weft-system", "pilot"), 1, true);
        check(pod("weft-system", "pilot"), 29, true);
        check(pod("weft-system", "pilot"), 31, false);
        check(pod("shop", "pilot"), 1, false);
        check(pod("weft-system", "ingressgateway"), 1, false);
    }
}
