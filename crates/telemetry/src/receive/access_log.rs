//! Envoy's access-log service (`envoy.service.accesslog.v3`).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};
use weft_proto::xds::envoy::service::accesslog::v3 as pb;
use weft_proto::xds::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use weft_proto::xds::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;

use crate::graph::Graph;
use crate::record::{End, Record};

/// The service; clones share one graph.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where requests are counted.
    pub graph: Arc<Mutex<Graph>>,
}

#[tonic::async_trait]
impl AccessLogService for Receiver {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<pb::StreamAccessLogsMessage>>,
    ) -> Result<Response<pb::StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        let mut proxy = None;
        while let Some(message) = messages.next().await {
            let message = message?;
            if let Some(node) = message.identifier.and_then(|identifier| identifier.node) {
                proxy = End::of_node(&node);
            }
            let Some((proxy, gateway)) = &proxy else {
                return Err(Status::invalid_argument(
                    "the first message of a stream must name a node of the mesh",
                ));
            };
            let records: Vec<Record> = match message.log_entries {
                Some(LogEntries::HttpLogs(logs)) => {
                    let read = |entry| Record::of_http(proxy, *gateway, entry);
                    logs.log_entry.iter().filter_map(read).collect()
                }
                Some(LogEntries::TcpLogs(logs)) => {
                    let read = |entry| Record::of_tcp(proxy, *gateway, entry);
                    logs.log_entry.iter().filter_map(read).collect()
                }
                None => continue,
            };
            let now = Instant::now();
            let mut graph = self.graph.lock();
            records.into_iter().for_each(|record| graph.record(record, now));
        }
        Ok(Response::new(pb::StreamAccessLogsResponse {}))
    }
}
