//! The root's certificate in every namespace: ConfigMap `istio-ca-root-cert`, key `root-cert.pem`, mounted by every proxy.
//!
//! Done by the leader; follows namespaces as they come, and repairs what others change or delete.

use std::collections::BTreeSet;

use futures_util::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use weft_base::kubernetes::is_status;

/// Name of the ConfigMap (Istio's).
pub(crate) const NAME: &str = "istio-ca-root-cert";

pub(crate) const KEY: &str = "root-cert.pem";

/// Label by which an uninstall finds what was made here.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "weft-citadel");

/// Pause before failed writes are tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// A namespace that may need its ConfigMap written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// The namespace exists.
    Namespace(String),
    /// The ConfigMap of a namespace is this.
    Found(String, Option<String>),
    /// The ConfigMap of a namespace is gone, or the namespace is.
    Gone(String),
    Nothing,
}

/// Writes and repairs the ConfigMaps while `leads` says so; ends with its sender.
pub(crate) async fn run(client: Client, root_pem: String, mut leads: watch::Receiver<bool>) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            _ = leads.wait_for(|leads| !*leads) => {}
            () = follow(&client, &root_pem) => {}
        }
    }
}

/// Follows namespaces and ConfigMaps for ever.
async fn follow(client: &Client, root_pem: &str) {
    let namespaces = start(Api::<Namespace>::all(client.clone()), watcher::Config::default());
    let named = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let found = start(Api::<ConfigMap>::all(client.clone()), named);
    let namespaces = quiet(namespaces.default_backoff()).map(of_namespace).boxed();
    let found = quiet(found.default_backoff()).map(of_configmap).boxed();
    let mut news = futures_util::stream::select(namespaces, found);
    let mut retry: BTreeSet<String> = BTreeSet::new();
    let mut again = tokio::time::interval(RETRY);
    loop {
        let namespace = tokio::select! {
            news = news.next() => match news {
                None => return,
                Some(News::Namespace(namespace)) => namespace,
                Some(News::Found(_, data)) if data.as_deref() == Some(root_pem) => continue,
                Some(News::Found(namespace, _) | News::Gone(namespace)) => namespace,
                Some(News::Nothing) => continue,
            },
            _ = again.tick(), if !retry.is_empty() => match retry.pop_first() {
                Some(namespace) => namespace,
                None => continue,
            },
        };
        match ensure(client, &namespace, root_pem).await {
            Ok(written) if written => tracing::info!(namespace, configmap = NAME, "root certificate written"),
            Ok(_) => {}
            // The namespace is gone, or about to be.
            Err(error) if is_status(&error, 404) || is_status(&error, 403) && is_ending(&error) => {}
            Err(error) => {
                tracing::warn!(namespace, configmap = NAME, %error, "cannot write the root certificate, trying again");
                retry.insert(namespace);
            }
        }
    }
}

/// A watch whose errors are logged and otherwise passed over: it starts itself again.
fn quiet<K: Send>(stream: impl Stream<Item = watcher::Result<Event<K>>> + Send) -> impl Stream<Item = Event<K>> + Send {
    let logged = stream.inspect_err(|error| tracing::warn!(%error, "a watch failed, starting it again"));
    logged.filter_map(|event| std::future::ready(event.ok()))
}

fn of_namespace(event: Event<Namespace>) -> News {
    match event {
        Event::Apply(namespace) | Event::InitApply(namespace) if namespace.metadata.deletion_timestamp.is_none() => {
            News::Namespace(namespace.name_any())
        }
        Event::Apply(_) | Event::InitApply(_) | Event::Delete(_) | Event::Init | Event::InitDone => News::Nothing,
    }
}

fn of_configmap(event: Event<ConfigMap>) -> News {
    let namespace = |map: &ConfigMap| map.namespace().unwrap_or_default();
    match event {
        Event::Apply(map) | Event::InitApply(map) => {
            News::Found(namespace(&map), map.data.and_then(|mut data| data.remove(KEY)))
        }
        Event::Delete(map) => News::Gone(namespace(&map)),
        Event::Init | Event::InitDone => News::Nothing,
    }
}

/// Whether a namespace refuses new objects because it is being deleted.
fn is_ending(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.message.contains("being terminated"))
}

/// Writes the ConfigMap unless it is as it should be; whether it was written.
async fn ensure(client: &Client, namespace: &str, root_pem: &str) -> kube::Result<bool> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(NAME).await? {
        Some(map) if map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str) == Some(root_pem) => {
            Ok(false)
        }
        Some(_) => {
            // Ours from now on, whoever made it: a purge takes it away.
            let labels = serde_json::json!({LABEL.0: LABEL.1});
            let patch = serde_json::json!({"metadata": {"labels": labels}, "data": {KEY: root_pem}});
            api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(true)
        }
        None => {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                data: Some([(KEY.to_owned(), root_pem.to_owned())].into()),
                ..ConfigMap::default()
            };
            match api.create(&PostParams::default(), &map).await {
                Ok(_) => Ok(true),
                Err(error) if is_status(&error, 409) => Ok(false),
                Err(error) => Err(error),
            }
        }
    }
}
