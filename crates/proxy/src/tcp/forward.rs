//! One TCP connection from accept to its end: cluster, endpoint, connect, copy.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, interval_at};

use super::copy::{self, Copied};
use crate::error::{ErrorKind, ProxyError, ResponseFlags};
use crate::journal::say;
use crate::model::cluster::Discovery;
use crate::model::network_filters::set_filter_state::UPSTREAM_PROTOCOLS;
use crate::network_filters::{NetworkFilters, Passage, Passed};
use crate::runtime::tcp_proxy::TcpProxy;
use crate::stream::Stream;
use crate::stream_info::StreamInfo;
use crate::stream_info::connection::ConnectionInfo;
use crate::stream_info::notes::StateValue;
use crate::tls::client::server_uri_san;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect;
use crate::upstream::limits::{Guard, Resource};
use crate::upstream::outlier::Report;
use crate::worker::Worker;

/// Forwards a connection to its end and logs it.
pub(crate) async fn serve(
    mut client: Stream,
    connection: Rc<ConnectionInfo>,
    (filters, proxy): (Arc<NetworkFilters>, Arc<TcpProxy>),
    worker: Rc<Worker>,
) {
    let mut info = StreamInfo::new(connection, Instant::now(), SystemTime::now());
    let passage = filters.on_connection(&mut info);
    let mut record = Record {
        info,
        passage,
        copied: Copied::default(),
        proxy: &proxy,
        worker: &worker,
    };
    let Record {
        info, passage, copied, ..
    } = &mut record;
    if passage.is_denied() {
        say!(
            info.journal,
            reason = info.termination.as_deref(),
            "the connection is denied"
        );
        return;
    }
    if let Err(error) = forward(&mut client, &proxy, &worker, info, (passage, copied)).await {
        info.flags.insert(error.kind.flag());
        if error.kind == ErrorKind::StreamDurationExceeded {
            info.flags.insert(ResponseFlags::DURATION_TIMEOUT);
        }
        // As many attempts as there may be have failed, be it one.
        if matches!(
            error.kind,
            ErrorKind::ConnectFailed | ErrorKind::ConnectTimeout | ErrorKind::TlsFailed
        ) {
            info.flags.insert(ResponseFlags::RETRY_LIMIT_EXCEEDED);
        }
        info.details = Some(error.kind.details().into());
        info.transport_failure = error.reason;
    }
}

/// Ends with its connection and logs it then, also one that is cut off when the process ends.
struct Record<'a> {
    info: StreamInfo,
    passage: Passage<'a>,
    copied: Copied,
    proxy: &'a TcpProxy,
    worker: &'a Worker,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.info.bytes_received = self.copied.to_upstream.get();
        self.info.bytes_sent = self.copied.to_client.get();
        self.info.finished_at = Some(Instant::now());
        self.passage.on_upstream(&self.info, &self.worker.istio);
        self.info.end_journal();
        for log in &self.proxy.logs {
            log.write(&self.info, &self.worker.log, &self.worker.random);
        }
    }
}

async fn forward(
    client: &mut Stream,
    proxy: &TcpProxy,
    worker: &Worker,
    info: &mut StreamInfo,
    (passage, copied): (&mut Passage<'_>, &Copied),
) -> Result<(), ProxyError> {
    let not_found = ErrorKind::ClusterNotFound(http::StatusCode::SERVICE_UNAVAILABLE);
    let cluster = proxy.choose(worker.random()).ok_or(not_found)?;
    info.upstream_cluster = Some(cluster.model.clone());
    say!(info.journal, cluster = %cluster.model.name, "cluster chosen");
    let (mut upstream, _guard) = connect_upstream(cluster, proxy, worker, info).await?;
    info.upstream_local = upstream.socket().and_then(|socket| socket.local_addr().ok());
    passage.on_upstream(info, &worker.istio);
    let copying = copy::both_ways(client, &mut upstream, proxy.model.idle_timeout, copied);
    let copying = follow(passage, copying, copied);
    let in_time = match proxy.model.duration_max {
        None => {
            // How a stream ended is nobody's fault here: the other side has seen the same.
            let _ = copying.await;
            true
        }
        Some(longest) => tokio::time::timeout(longest, copying).await.is_ok(),
    };
    if in_time {
        Ok(())
    } else {
        Err(ErrorKind::StreamDurationExceeded.into())
    }
}

/// Waits for the copying; filters hear of its bytes as often as they want to, and at its end.
async fn follow<T>(passage: &mut Passage<'_>, copying: impl Future<Output = T>, copied: &Copied) -> T {
    let passed = || Passed {
        to_upstream: copied.to_upstream.get(),
        to_client: copied.to_client.get(),
    };
    tokio::pin!(copying);
    if let Some(period) = passage.period() {
        let mut ticks = interval_at(Instant::now() + period, period);
        loop {
            tokio::select! {
                done = &mut copying => {
                    passage.on_bytes(passed());
                    return done;
                }
                _ = ticks.tick() => passage.on_bytes(passed()),
            }
        }
    }
    let done = copying.await;
    passage.on_bytes(passed());
    done
}

/// Tries endpoints until one connects, as often as the proxy says.
async fn connect_upstream(
    cluster: &Arc<Cluster>,
    proxy: &TcpProxy,
    worker: &Worker,
    info: &mut StreamInfo,
) -> Result<(Stream, Guard), ProxyError> {
    let limits = &cluster.model.limits;
    let Some(guard) = cluster.state.take(Resource::Connection, limits) else {
        cluster.state.stats().connections_overflowed();
        return Err(ErrorKind::Overflow.into());
    };
    let protocols = match info.notes.as_ref().and_then(|notes| notes.state(UPSTREAM_PROTOCOLS)) {
        Some(StateValue::Protocols(list)) => list.clone(),
        Some(StateValue::Text(_) | StateValue::Messages { .. }) | None => Arc::default(),
    };
    let mut last = ProxyError::from(ErrorKind::NoHealthyUpstream);
    for attempt in 1..=proxy.model.connect_attempts_max {
        info.attempts = attempt;
        cluster.state.stats().connecting();
        let endpoint = if let Discovery::OriginalDst { port_override, .. } = &cluster.model.discovery {
            let mut address = info.connection.original_dst.ok_or(ErrorKind::NoHealthyUpstream)?;
            if let Some(port) = port_override {
                address.set_port(*port);
            }
            worker.originals.endpoint(cluster, address, Instant::now())
        } else {
            let endpoint = cluster.endpoint(&[], 0, || worker.random()).await;
            endpoint.ok_or(ErrorKind::NoHealthyUpstream)?
        };
        info.upstream_host = Some(endpoint.text.clone());
        info.upstream_workload = endpoint.model.workload.clone();
        match connect::with_protocols(&cluster.model, &endpoint, None, &protocols).await {
            Ok(stream) => {
                let own = endpoint.tls.as_ref().and_then(|context| context.local_uri_san());
                info.upstream_identity = worker.identities.of(own, server_uri_san(&stream));
                say!(info.journal, attempt, endpoint = %endpoint.text, "connected");
                cluster.report(&endpoint, Report::Opened, Instant::now(), || worker.random());
                return Ok((stream, guard));
            }
            Err(error) => {
                let timed_out = error.kind == ErrorKind::ConnectTimeout;
                cluster.state.stats().not_connected(timed_out);
                let report = if timed_out { Report::TimedOut } else { Report::Failed };
                cluster.report(&endpoint, report, Instant::now(), || worker.random());
                say!(info.journal, attempt, endpoint = %endpoint.text, reason = %error, "cannot connect");
                last = error;
            }
        }
    }
    Err(last)
}
