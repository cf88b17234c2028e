//! Connections to ports of pods through the API server, as `kubectl port-forward` makes them: they come from inside the pod,
//! so they reach what listens on loopback only.

use std::fmt;

use anyhow::{Context, anyhow};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Portforwarder};
use tokio::io::DuplexStream;

/// A port of a pod.
#[derive(Clone)]
pub(crate) struct PodPort {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) port: u16,
}

/// One connection; it ends when this is dropped.
pub(crate) struct PodConnection {
    pub(crate) stream: DuplexStream,
    /// Gives the node's message if it could not connect, nothing if the connection ended well.
    pub(crate) refusal: BoxFuture<'static, Option<String>>,
    pub(crate) _guard: Guard,
}

/// Ends the task that carries the bytes.
pub(crate) struct Guard(Portforwarder);

// === impl PodPort ===

impl PodPort {
    /// Connects. The answer of the port itself comes on the stream.
    pub(crate) async fn connect(&self) -> anyhow::Result<PodConnection> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut forwarder = api.portforward(&self.pod, &[self.port]).await.context(
            "the API server does not forward to the pod (you need the right to get and create pods/portforward)",
        )?;
        let stream = forwarder.take_stream(self.port);
        let refusal = forwarder.take_error(self.port);
        let (Some(stream), Some(refusal)) = (stream, refusal) else {
            return Err(anyhow!("the connection has no stream for port {}", self.port));
        };
        Ok(PodConnection {
            stream,
            refusal: Box::pin(refusal),
            _guard: Guard(forwarder),
        })
    }
}

impl fmt::Display for PodPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}:{}", self.namespace, self.pod, self.port)
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
