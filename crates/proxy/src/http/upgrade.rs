//! After a protocol switch: bytes both ways until either side ends.

use std::rc::Rc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::finish::Finish;
use crate::error::ResponseFlags;
use crate::stream::Stream;
use crate::tcp::copy;
use crate::worker::Worker;

/// Joins the two connections of an upgraded request once both have switched. `finish` ends with the tunnel.
pub fn join(worker: &Rc<Worker>, client: OnUpgrade, upstream: OnUpgrade, mut finish: Box<Finish>) {
    worker.spawn(async move {
        let switched = tokio::try_join!(client, upstream);
        let Ok((client, upstream)) = switched else {
            return;
        };
        let mut client: TokioIo<Upgraded> = TokioIo::new(client);
        let mut upstream: TokioIo<Upgraded> = TokioIo::new(upstream);
        let idle = finish.chain.manager.stream_idle_timeout;
        let copied = copy::both_ways(&mut client, &mut upstream, idle).await;
        finish.progress.received.set(copied.to_upstream);
        finish.info.bytes_sent = copied.to_client;
        if copied.client_closed_first {
            finish
                .info
                .flags
                .insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
        }
        finish.complete();
    });
}

/// Joins a client that sent CONNECT with a connection to its destination.
pub fn join_stream(worker: &Rc<Worker>, client: OnUpgrade, mut upstream: Stream, mut finish: Box<Finish>) {
    worker.spawn(async move {
        let Ok(client) = client.await else {
            return;
        };
        let mut client: TokioIo<Upgraded> = TokioIo::new(client);
        let idle = finish.chain.manager.stream_idle_timeout;
        let copied = copy::both_ways(&mut client, &mut upstream, idle).await;
        finish.progress.received.set(copied.to_upstream);
        finish.info.bytes_sent = copied.to_client;
        if copied.client_closed_first {
            finish
                .info
                .flags
                .insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
        }
        finish.complete();
    });
}
