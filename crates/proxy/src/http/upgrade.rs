//! After a protocol switch: bytes both ways until either side ends.

use std::rc::Rc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::context::RequestContext;
use crate::error::ResponseFlags;
use crate::model::http::Upgrade;
use crate::stream::Stream;
use crate::tcp::copy::{self, Copied};
use crate::worker::Worker;

/// A tunnel under way; its record is written when it ends, and as true when it is cut off by a drain.
#[derive(Debug)]
struct Tunnel {
    context: Box<RequestContext>,
    copied: Copied,
}

/// Joins the two connections of an upgraded request once both have switched. `context` ends with the tunnel.
pub fn join(worker: &Rc<Worker>, client: OnUpgrade, upstream: OnUpgrade, context: Box<RequestContext>) {
    worker.spawn(async move {
        if let Ok((client, upstream)) = tokio::try_join!(client, upstream) {
            let mut upstream: TokioIo<Upgraded> = TokioIo::new(upstream);
            Tunnel::new(context).run(client, &mut upstream).await;
        }
    });
}

/// Joins a client that sent CONNECT with a connection to its destination.
pub fn join_stream(worker: &Rc<Worker>, client: OnUpgrade, mut upstream: Stream, context: Box<RequestContext>) {
    worker.spawn(async move {
        if let Ok(client) = client.await {
            Tunnel::new(context).run(client, &mut upstream).await;
        }
    });
}

/// The route decides where it says something, else the connection manager.
pub fn upgrade_enabled(protocol: &str, route: &[Upgrade], manager: &[Upgrade]) -> bool {
    let named = |list: &[Upgrade]| {
        list.iter()
            .find(|upgrade| &*upgrade.protocol == protocol)
            .map(|u| u.enabled)
    };
    named(route).or_else(|| named(manager)).unwrap_or(false)
}

// === impl Tunnel ===

impl Tunnel {
    fn new(context: Box<RequestContext>) -> Self {
        Self {
            context,
            copied: Copied::default(),
        }
    }

    async fn run(mut self, client: Upgraded, upstream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        let mut client = TokioIo::new(client);
        let idle = self.context.manager.model.stream_idle_timeout;
        // How a tunnel ended is nobody's fault here: the other side has seen the same.
        let _ = copy::both_ways(&mut client, upstream, idle, &self.copied).await;
        self.context.complete();
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.context.progress.received.set(self.copied.to_upstream.get());
        self.context.info.bytes_sent = self.copied.to_client.get();
        if self.copied.client_closed_first() {
            let flags = &mut self.context.info.flags;
            flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
        }
    }
}
