//! After a protocol switch: bytes both ways until either side ends.

use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use http::header::{self, HeaderMap};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::context::RequestContext;
use crate::error::ResponseFlags;
use crate::http1::framing;
use crate::model::http::Upgrade;
use crate::stream::Rewound;
use crate::tcp::copy::{self, Copied};
use crate::worker::Worker;

/// A tunnel under way; its record is written when it ends, and as true when it is cut off by a drain.
#[derive(Debug)]
struct Tunnel {
    context: Box<RequestContext>,
    copied: Copied,
}

/// How a client's side of a tunnel is had once it has switched.
#[derive(Debug, Default)]
pub enum ClientSwitch {
    /// It asked for none.
    #[default]
    None,
    /// The connection, from whoever writes the answer on it.
    Http1(oneshot::Receiver<Rewound>),
    /// A stream of the connection.
    Http2(OnUpgrade),
}

/// Joins the two sides once the client's has switched. `context` ends with the tunnel.
pub fn join(worker: &Rc<Worker>, client: ClientSwitch, mut upstream: Rewound, context: Box<RequestContext>) {
    worker.spawn(async move {
        match client {
            ClientSwitch::None => {}
            ClientSwitch::Http1(client) => {
                if let Ok(client) = client.await {
                    Tunnel::new(context).run(client, &mut upstream).await;
                }
            }
            ClientSwitch::Http2(client) => {
                if let Ok(client) = client.await {
                    Tunnel::new(context).run(TokioIo::new(client), &mut upstream).await;
                }
            }
        }
    });
}

/// The protocol that an HTTP/1.1 client offers to go on with, lower case, where that is one to switch to: `h2c` never is, and the request
/// is one of HTTP/1.1 then (RFC 9110, section 7.8, lets a server pass an offer over, as Envoy does).
pub fn offered(headers: &HeaderMap, version: Version) -> Option<Arc<str>> {
    if version != Version::HTTP_11 {
        return None;
    }
    let protocol = headers.get(header::UPGRADE)?.to_str().ok()?;
    let asked = framing::list(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    (asked && !protocol.eq_ignore_ascii_case("h2c")).then(|| Arc::from(protocol.to_ascii_lowercase()))
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

    async fn run(mut self, mut client: impl AsyncRead + AsyncWrite + Unpin, upstream: &mut Rewound) {
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
