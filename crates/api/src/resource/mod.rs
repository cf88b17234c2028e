//! What objects say, in a module a kind, and the sum of all kinds that pilot reads.

pub mod authorization_policy;
pub mod cluster;
pub mod destination_rule;
pub mod endpoint_slice;
pub mod extension_provider;
pub mod gateway;
pub mod gateway_api;
pub mod local_mesh;
pub mod local_workload;
pub mod mesh_config;
pub mod peer_authentication;
pub mod pod;
pub mod request_authentication;
pub mod secret;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod virtual_service;

use std::sync::Arc;

use crate::authorization_policy::AuthorizationPolicy;
use crate::cluster::{Namespace, Node};
use crate::destination_rule::DestinationRule;
use crate::endpoint_slice::EndpointSlice;
use crate::gateway::Gateway;
use crate::gateway_api::{GatewayClass, KubernetesGateway, ReferenceGrant, Route, RouteKind};
use crate::local_mesh::LocalMesh;
use crate::local_workload::LocalWorkload;
use crate::mesh_config::MeshConfig;
use crate::meta::{Kind, Meta, Object, ObjectKey, Place};
use crate::peer_authentication::PeerAuthentication;
use crate::pod::Pod;
use crate::request_authentication::RequestAuthentication;
use crate::secret::Secret;
use crate::service::Service;
use crate::service_entry::{ServiceEntry, WorkloadEntry};
use crate::sidecar::Sidecar;
use crate::telemetry::Telemetry;
use crate::virtual_service::VirtualService;

/// An object of any kind. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the kind of the same name")]
pub enum Resource {
    Service(Arc<Object<Service>>),
    Secret(Arc<Object<Secret>>),
    Pod(Arc<Object<Pod>>),
    Node(Arc<Object<Node>>),
    Namespace(Arc<Object<Namespace>>),
    EndpointSlice(Arc<Object<EndpointSlice>>),
    VirtualService(Arc<Object<VirtualService>>),
    DestinationRule(Arc<Object<DestinationRule>>),
    ServiceEntry(Arc<Object<ServiceEntry>>),
    WorkloadEntry(Arc<Object<WorkloadEntry>>),
    Gateway(Arc<Object<Gateway>>),
    Sidecar(Arc<Object<Sidecar>>),
    PeerAuthentication(Arc<Object<PeerAuthentication>>),
    AuthorizationPolicy(Arc<Object<AuthorizationPolicy>>),
    RequestAuthentication(Arc<Object<RequestAuthentication>>),
    Telemetry(Arc<Object<Telemetry>>),
    MeshConfig(Arc<Object<MeshConfig>>),
    GatewayClass(Arc<Object<GatewayClass>>),
    KubernetesGateway(Arc<Object<KubernetesGateway>>),
    Route(Arc<Object<Route>>),
    ReferenceGrant(Arc<Object<ReferenceGrant>>),
    LocalWorkload(Arc<Object<LocalWorkload>>),
    LocalMesh(Arc<Object<LocalMesh>>),
}

/// Applies one expression to the object inside, whatever its kind.
macro_rules! each {
    ($resource:expr, $object:ident => $body:expr) => {
        match $resource {
            Resource::Service($object) => $body,
            Resource::Secret($object) => $body,
            Resource::Pod($object) => $body,
            Resource::Node($object) => $body,
            Resource::Namespace($object) => $body,
            Resource::EndpointSlice($object) => $body,
            Resource::VirtualService($object) => $body,
            Resource::DestinationRule($object) => $body,
            Resource::ServiceEntry($object) => $body,
            Resource::WorkloadEntry($object) => $body,
            Resource::Gateway($object) => $body,
            Resource::Sidecar($object) => $body,
            Resource::PeerAuthentication($object) => $body,
            Resource::AuthorizationPolicy($object) => $body,
            Resource::RequestAuthentication($object) => $body,
            Resource::Telemetry($object) => $body,
            Resource::MeshConfig($object) => $body,
            Resource::GatewayClass($object) => $body,
            Resource::KubernetesGateway($object) => $body,
            Resource::Route($object) => $body,
            Resource::ReferenceGrant($object) => $body,
            Resource::LocalWorkload($object) => $body,
            Resource::LocalMesh($object) => $body,
        }
    };
}

// === impl Resource ===

impl Resource {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Secret(_) => Kind::Secret,
            Self::Pod(_) => Kind::Pod,
            Self::Node(_) => Kind::Node,
            Self::Namespace(_) => Kind::Namespace,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Gateway(_) => Kind::Gateway,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::Telemetry(_) => Kind::Telemetry,
            Self::MeshConfig(_) => Kind::ConfigMap,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::KubernetesGateway(_) => Kind::KubernetesGateway,
            Self::Route(object) => match object.spec.kind {
                RouteKind::Http => Kind::HttpRoute,
                RouteKind::Grpc => Kind::GrpcRoute,
                RouteKind::Tls => Kind::TlsRoute,
                RouteKind::Tcp => Kind::TcpRoute,
            },
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::LocalWorkload(_) => Kind::LocalWorkload,
            Self::LocalMesh(_) => Kind::LocalMesh,
        }
    }

    pub fn meta(&self) -> &Meta {
        each!(self, object => &object.meta)
    }

    /// Where it was written.
    pub fn place(&self) -> &Place {
        each!(self, object => &object.place)
    }

    /// Whether a direct field of its spec is written.
    pub(crate) fn has_spec_field(&self, name: &str) -> bool {
        each!(self, object => object.spec_fields.contains_key(name))
    }

    /// Kind, namespace and name.
    pub fn key(&self) -> ObjectKey {
        let meta = self.meta();
        ObjectKey {
            kind: self.kind(),
            namespace: Arc::clone(&meta.namespace),
            name: Arc::clone(&meta.name),
        }
    }
}
