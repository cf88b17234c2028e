//! A scripted discovery server.

use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weft_proto::descriptors;
use weft_proto::xds::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use weft_proto::xds::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use weft_proto::xds::google::protobuf::Any;

/// All resources of the server, as (type, name, JSON); a change is pushed to every stream.
pub(crate) type Script = Vec<(&'static str, &'static str, serde_json::Value)>;

/// A discovery server that sends what a script says.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) script: watch::Receiver<(u64, Script)>,
    pub(crate) rejections: mpsc::Sender<String>,
}

fn encode(type_name: &str, value: &serde_json::Value) -> Any {
    let descriptor = descriptors::pool().get_message_by_name(type_name).unwrap();
    let message = prost_reflect::DynamicMessage::deserialize(descriptor, value).unwrap();
    Any {
        type_url: format!("type.googleapis.com/{type_name}"),
        value: prost::Message::encode_to_vec(&message),
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (sender, out) = mpsc::channel(64);
        let mut server = self.clone();
        let mut requests = request.into_inner();
        #[allow(clippy::disallowed_methods, reason = "ends with its stream")]
        tokio::spawn(async move {
            let mut asked: Vec<(String, Vec<String>)> = Vec::new();
            loop {
                let mut push = Vec::new();
                tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        if let Some(error) = request.error_detail {
                            server.rejections.send(error.message).await.unwrap();
                            continue;
                        }
                        let names = (request.type_url.clone(), request.resource_names);
                        let known = asked.contains(&names);
                        if !known {
                            asked.retain(|(type_url, _)| *type_url != names.0);
                            push.push(names.0.clone());
                            asked.push(names);
                        }
                    }
                    _ = server.script.changed() => push.extend(asked.iter().map(|(type_url, _)| type_url.clone())),
                }
                for type_url in push {
                    let (version, script) = server.script.borrow_and_update().clone();
                    let of_type = script.iter().filter(|(name, ..)| type_url.ends_with(name));
                    let response = DiscoveryResponse {
                        version_info: version.to_string(),
                        resources: of_type.map(|(name, _, value)| encode(name, value)).collect(),
                        nonce: format!("{version}-{type_url}"),
                        type_url,
                        ..DiscoveryResponse::default()
                    };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, out) = mpsc::channel(64);
        let mut server = self.clone();
        let mut requests = request.into_inner();
        #[allow(clippy::disallowed_methods, reason = "ends with its stream")]
        tokio::spawn(async move {
            let mut asked: Vec<String> = Vec::new();
            loop {
                let mut push = Vec::new();
                tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        if let Some(error) = request.error_detail {
                            server.rejections.send(error.message).await.unwrap();
                        } else if request.response_nonce.is_empty() {
                            asked.retain(|type_url| *type_url != request.type_url);
                            asked.push(request.type_url.clone());
                            push.push(request.type_url);
                        }
                    }
                    _ = server.script.changed() => push.extend(asked.iter().cloned()),
                }
                for type_url in push {
                    let (version, script) = server.script.borrow_and_update().clone();
                    let of_type = script.iter().filter(|(name, ..)| type_url.ends_with(name));
                    let resources = of_type.map(|(type_name, name, value)| Resource {
                        name: (*name).to_owned(),
                        version: version.to_string(),
                        resource: Some(encode(type_name, value)),
                        ..Resource::default()
                    });
                    let response = DeltaDiscoveryResponse {
                        resources: resources.collect(),
                        nonce: version.to_string(),
                        type_url,
                        ..DeltaDiscoveryResponse::default()
                    };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }
}
