//! The gRPC service around a discovery server, with its limits.

use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;

use super::server::DiscoveryServer;

/// Largest request in bytes (Istio: 4 MiB).
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// What a gRPC server is given.
pub fn service(server: DiscoveryServer) -> AggregatedDiscoveryServiceServer<DiscoveryServer> {
    AggregatedDiscoveryServiceServer::new(server).max_decoding_message_size(REQUEST_BYTES_MAX)
}
