//! Logs of a cluster, from the API server.

use anyhow::Context;
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, LogParams};

use super::LogsArguments;
use super::print;
use crate::cluster::{ControlPlane, PROXY_CONTAINER, PodName, containers};
use crate::exit::Failure;

/// Most logs that are followed at a time, each of which is a connection to the API server.
const LOGS_MAX: usize = 50;

/// Parts of the control plane, and the labels of their pods.
const PARTS: [(&str, &str); 3] = [
    ("citadel", "app=weft-citadel"),
    ("pilot", "istio=pilot"),
    ("telemetry", "app=weft-telemetry"),
];

/// A container of a pod.
struct Source {
    namespace: String,
    pod: String,
    container: String,
}

pub(super) async fn run(plane: &ControlPlane, arguments: &LogsArguments) -> anyhow::Result<()> {
    let sources = sources(plane, arguments).await?;
    if arguments.follow && sources.len() > LOGS_MAX {
        let message = format!(
            "{} pods are more than can be followed ({LOGS_MAX}); name fewer",
            sources.len()
        );
        return Err(Failure::usage(message).into());
    }
    let several = sources.len() > 1;
    let params = LogParams {
        follow: arguments.follow,
        previous: arguments.previous,
        tail_lines: arguments.tail.map(i64::from),
        ..LogParams::default()
    };
    let mut logs = Vec::new();
    for source in &sources {
        let lines = open(plane, source, &params).await?;
        let name = several.then(|| format!("{}/{}", source.pod, source.container));
        logs.push(lines.map(move |line| (name.clone(), line)).boxed());
    }
    let mut lines: BoxStream<'_, _> = if arguments.follow {
        stream::select_all(logs).boxed()
    } else {
        stream::iter(logs).flatten().boxed()
    };
    while let Some((name, line)) = lines.next().await {
        print(name.as_deref(), &line.context("the log breaks off")?)?;
    }
    Ok(())
}

async fn open(
    plane: &ControlPlane,
    source: &Source,
    params: &LogParams,
) -> anyhow::Result<BoxStream<'static, std::io::Result<String>>> {
    let api: Api<Pod> = Api::namespaced(plane.client.clone(), &source.namespace);
    let params = LogParams {
        container: Some(source.container.clone()),
        ..params.clone()
    };
    let stream = api.log_stream(&source.pod, &params).await;
    let stream = stream.with_context(|| format!("no log of pod {}/{}", source.namespace, source.pod))?;
    Ok(stream.lines().into_stream().boxed())
}

/// The containers that are meant.
async fn sources(plane: &ControlPlane, arguments: &LogsArguments) -> anyhow::Result<Vec<Source>> {
    let mut pods = Vec::new();
    if arguments.names.is_empty() {
        for (_, selector) in PARTS {
            pods.extend(plane.part(selector).await?);
        }
        if pods.is_empty() {
            let message = format!(
                "no control plane runs in namespace {}; see meshctl status",
                plane.namespace
            );
            return Err(Failure::failed(message).into());
        }
    }
    for name in &arguments.names {
        let part = PARTS.iter().find(|(part, _)| part == name);
        let found = match part.filter(|_| arguments.namespace.is_none()) {
            Some((_, selector)) => plane.part(selector).await?,
            None => {
                let default = plane.client.default_namespace();
                plane
                    .pods_named(&PodName::new(name, arguments.namespace.as_deref(), default))
                    .await?
            }
        };
        if found.is_empty() {
            let message = format!("there is no pod or workload {name}; name its namespace by NAME.NAMESPACE or -n");
            return Err(Failure::failed(message).into());
        }
        pods.extend(found);
    }
    pods.iter()
        .map(|pod| source(pod, arguments.container.as_deref()))
        .collect()
}

/// The asked container of a pod, else its proxy, else the first.
fn source(pod: &Pod, asked: Option<&str>) -> anyhow::Result<Source> {
    let names: Vec<&str> = containers(pod).collect();
    let found = match asked {
        Some(asked) => names.iter().find(|name| **name == asked),
        None => names
            .iter()
            .find(|name| **name == PROXY_CONTAINER)
            .or_else(|| names.first()),
    };
    let container = found.ok_or_else(|| {
        let asked = asked.unwrap_or("of any name");
        Failure::failed(format!(
            "pod {} has no container {asked}; it has {}",
            pod.name_any(),
            names.join(", ")
        ))
    })?;
    Ok(Source {
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        container: (*container).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_proxy_comes_first() {
        #[track_caller]
        fn check(containers: &[&str], asked: Option<&str>, expected: &str) {
            let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
            let pod = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": containers}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let found = source(&pod, asked).map_or_else(|error| error.to_string(), |source| source.container);
            assert_eq!(found, expected);
        }
        check(&["app", "istio-proxy"], None, "istio-proxy");
        check(&["discovery", "x"], None, "discovery");
        check(&["app", "istio-proxy"], Some("app"), "app");
        check(&["app"], Some("web"), "pod a has no container web; it has app");
    }
}
