//! Whether values can be what is meant, so that a mistake is said before an API server or a kubelet meets it.

use weft_mesh::inject::{Quantity, Resources};

use super::Values;
use crate::exit::Failure;

/// Most replicas of one Deployment.
const REPLICAS_MAX: u32 = 100;

/// Longest value of a label.
const LABEL_CHARS_MAX: usize = 63;

type Checked = Result<(), Failure>;

/// Checks all values.
pub(super) fn check(values: &Values) -> Checked {
    namespaces(values)?;
    label("revision", &values.revision)?;
    images(values)?;
    deployments(values)?;
    if !["LoadBalancer", "NodePort", "ClusterIP"].contains(&values.ingress_gateway.service_type.as_str()) {
        return Err(Failure::usage(
            "ingressGateway.serviceType must be LoadBalancer, NodePort or ClusterIP",
        ));
    }
    if !(0.0..=100.0).contains(&values.trace_sampling) {
        return Err(Failure::usage("traceSampling must be a percentage, from 0 to 100"));
    }
    if values.trust_domain.parse::<weft_base::identity::TrustDomain>().is_err() {
        return Err(Failure::usage(format!(
            "trustDomain: {:?} is no trust domain",
            values.trust_domain
        )));
    }
    Ok(())
}

fn namespaces(values: &Values) -> Checked {
    let namespace = values.namespace.as_str();
    label("namespace", namespace)?;
    if namespace == "default" || namespace.starts_with("kube-") {
        return Err(Failure::usage(format!(
            "namespace: {namespace} is Kubernetes' own; the mesh needs one of its own, such as weft-system"
        )));
    }
    label("rootNamespace", &values.root_namespace)?;
    for (index, name) in values.gateway_namespaces.iter().enumerate() {
        label(&format!("gatewayNamespaces[{index}]"), name)?;
        if name == namespace {
            return Err(Failure::usage(format!(
                "gatewayNamespaces[{index}]: {name} is the control plane's own, which needs no mention"
            )));
        }
    }
    Ok(())
}

fn label(field: &str, text: &str) -> Checked {
    let fits = (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    fits.then_some(()).ok_or_else(|| {
        Failure::usage(format!(
            "{field}: {text:?} must be lower-case letters, digits and dashes"
        ))
    })
}

fn images(values: &Values) -> Checked {
    let hub = values.hub.as_str();
    let parts = hub.split('/');
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b))
    };
    if !parts.into_iter().all(is_part) {
        return Err(Failure::usage(format!(
            "hub: {hub:?} must be a registry and a folder, such as registry.example.com/weft"
        )));
    }
    let tag = values.tag.as_str();
    let is_end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let fits = tag.len() <= LABEL_CHARS_MAX
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && is_end(tag.bytes().next())
        && is_end(tag.bytes().next_back());
    if !fits {
        return Err(Failure::usage(format!(
            "tag: {tag:?} must be at most {LABEL_CHARS_MAX} letters, digits, dots, dashes and underscores, with a \
             letter or digit at both ends"
        )));
    }
    let image = values.proxy.image.as_str();
    if image.is_empty() || image.contains(char::is_whitespace) {
        return Err(Failure::usage(format!("proxy.image: {image:?} is no image")));
    }
    if !["", "Always", "IfNotPresent", "Never"].contains(&values.image_pull_policy.as_str()) {
        return Err(Failure::usage("imagePullPolicy must be Always, IfNotPresent or Never"));
    }
    Ok(())
}

fn deployments(values: &Values) -> Checked {
    let gateway = &values.ingress_gateway;
    for (name, replicas, of) in [
        ("pilot", values.pilot.replicas, &values.pilot.resources),
        ("citadel", values.citadel.replicas, &values.citadel.resources),
        ("telemetry", values.telemetry.replicas, &values.telemetry.resources),
        ("ingressGateway", gateway.replicas, &gateway.resources),
    ] {
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            return Err(Failure::usage(format!(
                "{name}.replicas: {replicas} must be from 1 to {REPLICAS_MAX}"
            )));
        }
        resources(name, of, false)?;
    }
    // Of an injected container the injector leaves out what is empty.
    resources("proxy", &values.proxy.resources, true)?;
    if !values.pilot.enabled {
        return Err(Failure::usage("pilot cannot be left out: nothing works without it"));
    }
    Ok(())
}

/// How a text is read as a quantity.
type Read = fn(&str) -> Result<Quantity, String>;

fn resources(component: &str, of: &Resources, may_be_empty: bool) -> Checked {
    for (field, read, request, limit) in [
        ("cpu", Quantity::cpu as Read, &of.cpu, &of.cpu_limit),
        ("memory", Quantity::memory, &of.memory, &of.memory_limit),
    ] {
        let read = |field: &str, text: &str| -> Result<Option<Quantity>, Failure> {
            if may_be_empty && text.is_empty() {
                return Ok(None);
            }
            let wrong = |reason: String| Failure::usage(format!("{component}.resources.{field}: {reason}"));
            let quantity = read(text).map_err(wrong)?;
            if !quantity.is_positive() {
                return Err(wrong(format!("{text} is nothing")));
            }
            Ok(Some(quantity))
        };
        let (asked, most) = (read(field, request)?, read(&format!("{field}Limit"), limit)?);
        if asked.zip(most).is_some_and(|(asked, most)| asked.exceeds(&most)) {
            return Err(Failure::usage(format!(
                "{component}.resources.{field}: {request} is more than {field}Limit, {limit}"
            )));
        }
    }
    Ok(())
}
