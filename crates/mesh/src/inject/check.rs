//! What a pod may not have beside the proxy: its names, and its user.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::annotations::Options;
use super::containers::{self, Proxy};
use super::{Refusal, names};

/// A pod may not have containers or volumes with the names of ours.
pub(super) fn names(spec: &PodSpec, options: &Options) -> Result<(), Refusal> {
    let taken = |kind, name: &str| Refusal::Taken {
        kind,
        name: name.to_owned(),
    };
    let ours = [names::PROXY_CONTAINER, names::INIT_CONTAINER];
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    if let Some(found) = containers.find(|container| ours.contains(&container.name.as_str())) {
        return Err(taken("container", &found.name));
    }
    let ours = containers::volumes();
    let is_ours = |name: &str| ours.iter().any(|our| our.name == name);
    let theirs = || spec.volumes.iter().flatten();
    if let Some(found) = theirs().find(|volume| is_ours(&volume.name)) {
        return Err(taken("volume", &found.name));
    }
    let bad = |annotation: &str, name: &str| {
        let bad = super::BadAnnotation {
            annotation: annotation.to_owned(),
            reason: format!("volume {name} exists already: use another name"),
        };
        Err(Refusal::Annotations(vec![bad]))
    };
    let is_taken = |name: &str| is_ours(name) || theirs().any(|volume| volume.name == name);
    if let Some(volume) = options.volumes.iter().find(|volume| is_taken(&volume.name)) {
        return bad("sidecar.istio.io/userVolume", &volume.name);
    }
    if let Some(mount) = options.volume_mounts.iter().find(|mount| is_ours(&mount.name)) {
        return bad("sidecar.istio.io/userVolumeMount", &mount.name);
    }
    Ok(())
}

/// Nothing that runs beside the proxy may have the user or the primary group whose traffic is let through. Supplementary groups do not
/// count: the rules look at the group that a socket's maker acts with.
///
/// An init container that ends may: it comes before the application, and Istio's users have theirs reach the network that way.
pub(super) fn users(spec: &PodSpec, proxy: &Proxy) -> Result<(), Refusal> {
    if proxy.capture.is_none() {
        return Ok(());
    }
    let of_pod = spec.security_context.as_ref();
    let pod = (
        of_pod.and_then(|context| context.run_as_user),
        of_pod.and_then(|context| context.run_as_group),
    );
    let init = spec.init_containers.iter().flatten();
    let mut lasting = init.filter(|container| is_native(container)).chain(&spec.containers);
    let refusal = lasting.find_map(|container| {
        let own = container.security_context.as_ref();
        let user = own.and_then(|context| context.run_as_user).or(pod.0);
        let group = own.and_then(|context| context.run_as_group).or(pod.1);
        let kinds = [("user", user), ("group", group)];
        let (kind, _) = kinds.into_iter().find(|(_, id)| *id == Some(names::PROXY_UID))?;
        Some(Refusal::ProxyUser {
            container: container.name.clone(),
            kind,
        })
    });
    refusal.map_or(Ok(()), Err)
}

/// Whether an init container goes on beside the application.
pub(super) fn is_native(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
