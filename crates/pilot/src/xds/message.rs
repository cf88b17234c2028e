//! Requests and responses of both variants as messages of the wire.

use std::sync::Arc;

use weft_mesh::resource::Resource;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::core::v3::Node;
use weft_proto::xds::envoy::service::discovery::v3 as pb;
use weft_proto::xds::google::protobuf::Any;

use super::stream::{Push, Request};

fn texts(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

pub(super) fn read_sotw(message: pb::DiscoveryRequest) -> (String, Option<Node>, Request) {
    let request = Request {
        nonce: message.response_nonce,
        error: message.error_detail.map(|detail| detail.message),
        names: texts(message.resource_names),
        ..Request::default()
    };
    (message.type_url, message.node, request)
}

pub(super) fn read_delta(message: pb::DeltaDiscoveryRequest) -> (String, Option<Node>, Request) {
    let known = message.initial_resource_versions.into_iter();
    let request = Request {
        nonce: message.response_nonce,
        error: message.error_detail.map(|detail| detail.message),
        subscribe: texts(message.resource_names_subscribe),
        unsubscribe: texts(message.resource_names_unsubscribe),
        known: known
            .map(|(name, version)| (Arc::from(name), Arc::from(version)))
            .collect(),
        ..Request::default()
    };
    (message.type_url, message.node, request)
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.type_url.to_string(),
        value: resource.bytes.to_vec(),
    }
}

pub(super) fn write_sotw(kind: Kind, push: Push) -> pb::DiscoveryResponse {
    pb::DiscoveryResponse {
        version_info: push.version,
        resources: push.resources.iter().map(|(_, resource)| any(resource)).collect(),
        type_url: kind.type_url().to_owned(),
        nonce: push.nonce,
        ..pb::DiscoveryResponse::default()
    }
}

pub(super) fn write_delta(kind: Kind, push: Push) -> pb::DeltaDiscoveryResponse {
    let resource = |(name, resource): &(Arc<str>, Resource)| pb::Resource {
        name: name.to_string(),
        version: resource.version.to_string(),
        resource: Some(any(resource)),
        ..pb::Resource::default()
    };
    pb::DeltaDiscoveryResponse {
        system_version_info: push.version,
        resources: push.resources.iter().map(resource).collect(),
        type_url: kind.type_url().to_owned(),
        removed_resources: push.removed.iter().map(ToString::to_string).collect(),
        nonce: push.nonce,
        ..pb::DeltaDiscoveryResponse::default()
    }
}
