//! The objects of the mesh by kind, each kind behind its own `Arc` so that a change of one leaves the others shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::authorization_policy::AuthorizationPolicy;
use weft_api::cluster::{Namespace, Node};
use weft_api::destination_rule::DestinationRule;
use weft_api::endpoint_slice::EndpointSlice;
use weft_api::gateway::Gateway;
use weft_api::gateway_api::{GatewayClass, KubernetesGateway, ReferenceGrant, Route, RouteKind};
use weft_api::local_workload::LocalWorkload;
use weft_api::mesh_config::MeshConfig;
use weft_api::meta::{Kind, Object, ObjectKey};
use weft_api::peer_authentication::PeerAuthentication;
use weft_api::pod::Pod;
use weft_api::request_authentication::RequestAuthentication;
use weft_api::resource::Resource;
use weft_api::secret::Secret;
use weft_api::service::Service;
use weft_api::service_entry::{ServiceEntry, WorkloadEntry};
use weft_api::sidecar::Sidecar;
use weft_api::telemetry::Telemetry;
use weft_api::virtual_service::VirtualService;

/// Objects of one kind by namespace and name.
pub type ByName<T> = Arc<BTreeMap<(Arc<str>, Arc<str>), Arc<Object<T>>>>;

/// All objects. Cloning shares them.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field holds the kind of the same name")]
pub struct Inputs {
    pub services: ByName<Service>,
    pub secrets: ByName<Secret>,
    pub pods: ByName<Pod>,
    pub nodes: ByName<Node>,
    pub namespaces: ByName<Namespace>,
    pub endpoint_slices: ByName<EndpointSlice>,
    pub virtual_services: ByName<VirtualService>,
    pub destination_rules: ByName<DestinationRule>,
    pub service_entries: ByName<ServiceEntry>,
    pub workload_entries: ByName<WorkloadEntry>,
    pub gateways: ByName<Gateway>,
    pub sidecars: ByName<Sidecar>,
    pub peer_authentications: ByName<PeerAuthentication>,
    pub authorization_policies: ByName<AuthorizationPolicy>,
    pub request_authentications: ByName<RequestAuthentication>,
    pub telemetries: ByName<Telemetry>,
    pub mesh_configs: ByName<MeshConfig>,
    pub gateway_classes: ByName<GatewayClass>,
    pub kubernetes_gateways: ByName<KubernetesGateway>,
    pub http_routes: ByName<Route>,
    pub grpc_routes: ByName<Route>,
    pub tls_routes: ByName<Route>,
    pub tcp_routes: ByName<Route>,
    pub reference_grants: ByName<ReferenceGrant>,
    pub local_workloads: ByName<LocalWorkload>,
    pub credentials: Credentials,
}

/// Secrets that a server was asked for because gateways name them, by namespace and name, and what came of it. One that is not
/// among them was not asked for yet.
pub type Credentials = Arc<BTreeMap<(Arc<str>, Arc<str>), Answer>>;

/// What a server said of one Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether it is there.
    Read,
    /// It is there, and cannot be used as it is.
    Unusable,
    /// That it may not be read.
    Refused,
}

/// Puts an object in and says whether anything changed.
fn put<T: PartialEq>(map: &mut ByName<T>, key: &ObjectKey, object: &Arc<Object<T>>) -> bool {
    let name = (Arc::clone(&key.namespace), Arc::clone(&key.name));
    if map.get(&name) == Some(object) {
        return false;
    }
    Arc::make_mut(map).insert(name, Arc::clone(object));
    true
}

/// Takes an object out and says whether it was there.
fn take<T>(map: &mut ByName<T>, key: &ObjectKey) -> bool {
    let name = (Arc::clone(&key.namespace), Arc::clone(&key.name));
    if !map.contains_key(&name) {
        return false;
    }
    Arc::make_mut(map).remove(&name).is_some()
}

// === impl Inputs ===

impl Inputs {
    /// Adds or replaces an object; `false` if the very same was there. A LocalMesh is for meshctl and is passed over.
    pub fn apply(&mut self, resource: &Resource) -> bool {
        let key = resource.key();
        match resource {
            Resource::Service(object) => put(&mut self.services, &key, object),
            Resource::Secret(object) => put(&mut self.secrets, &key, object),
            Resource::Pod(object) => put(&mut self.pods, &key, object),
            Resource::Node(object) => put(&mut self.nodes, &key, object),
            Resource::Namespace(object) => put(&mut self.namespaces, &key, object),
            Resource::EndpointSlice(object) => put(&mut self.endpoint_slices, &key, object),
            Resource::VirtualService(object) => put(&mut self.virtual_services, &key, object),
            Resource::DestinationRule(object) => put(&mut self.destination_rules, &key, object),
            Resource::ServiceEntry(object) => put(&mut self.service_entries, &key, object),
            Resource::WorkloadEntry(object) => put(&mut self.workload_entries, &key, object),
            Resource::Gateway(object) => put(&mut self.gateways, &key, object),
            Resource::Sidecar(object) => put(&mut self.sidecars, &key, object),
            Resource::PeerAuthentication(object) => put(&mut self.peer_authentications, &key, object),
            Resource::AuthorizationPolicy(object) => put(&mut self.authorization_policies, &key, object),
            Resource::RequestAuthentication(object) => put(&mut self.request_authentications, &key, object),
            Resource::Telemetry(object) => put(&mut self.telemetries, &key, object),
            Resource::MeshConfig(object) => put(&mut self.mesh_configs, &key, object),
            Resource::GatewayClass(object) => put(&mut self.gateway_classes, &key, object),
            Resource::KubernetesGateway(object) => put(&mut self.kubernetes_gateways, &key, object),
            Resource::Route(object) => put(self.routes(object.spec.kind), &key, object),
            Resource::ReferenceGrant(object) => put(&mut self.reference_grants, &key, object),
            Resource::LocalWorkload(object) => put(&mut self.local_workloads, &key, object),
            Resource::LocalMesh(_) => false,
        }
    }

    fn routes(&mut self, kind: RouteKind) -> &mut ByName<Route> {
        match kind {
            RouteKind::Http => &mut self.http_routes,
            RouteKind::Grpc => &mut self.grpc_routes,
            RouteKind::Tls => &mut self.tls_routes,
            RouteKind::Tcp => &mut self.tcp_routes,
        }
    }

    /// All objects of Istio's kinds, which are told what became of them. No kind can be forgotten here.
    pub fn istio(&self) -> impl Iterator<Item = Resource> + use<'_> {
        let Self {
            services: _,
            secrets: _,
            pods: _,
            nodes: _,
            namespaces: _,
            endpoint_slices: _,
            virtual_services,
            destination_rules,
            service_entries,
            workload_entries,
            gateways,
            sidecars,
            peer_authentications,
            authorization_policies,
            request_authentications,
            telemetries,
            mesh_configs: _,
            gateway_classes: _,
            kubernetes_gateways: _,
            http_routes: _,
            grpc_routes: _,
            tls_routes: _,
            tcp_routes: _,
            reference_grants: _,
            local_workloads: _,
            credentials: _,
        } = self;
        resources(virtual_services, Resource::VirtualService)
            .chain(resources(destination_rules, Resource::DestinationRule))
            .chain(resources(service_entries, Resource::ServiceEntry))
            .chain(resources(workload_entries, Resource::WorkloadEntry))
            .chain(resources(gateways, Resource::Gateway))
            .chain(resources(sidecars, Resource::Sidecar))
            .chain(resources(peer_authentications, Resource::PeerAuthentication))
            .chain(resources(authorization_policies, Resource::AuthorizationPolicy))
            .chain(resources(request_authentications, Resource::RequestAuthentication))
            .chain(resources(telemetries, Resource::Telemetry))
    }

    /// Whether the objects are the same but for those that change while nobody changes anything: pods, nodes and endpoints.
    pub fn same_configuration(&self, other: &Self) -> bool {
        let Self {
            services,
            secrets,
            pods: _,
            nodes: _,
            namespaces,
            endpoint_slices: _,
            virtual_services,
            destination_rules,
            service_entries,
            workload_entries,
            gateways,
            sidecars,
            peer_authentications,
            authorization_policies,
            request_authentications,
            telemetries,
            mesh_configs,
            gateway_classes,
            kubernetes_gateways,
            http_routes,
            grpc_routes,
            tls_routes,
            tcp_routes,
            reference_grants,
            local_workloads: _,
            credentials,
        } = self;
        Arc::ptr_eq(services, &other.services)
            && Arc::ptr_eq(secrets, &other.secrets)
            && Arc::ptr_eq(namespaces, &other.namespaces)
            && Arc::ptr_eq(virtual_services, &other.virtual_services)
            && Arc::ptr_eq(destination_rules, &other.destination_rules)
            && Arc::ptr_eq(service_entries, &other.service_entries)
            && Arc::ptr_eq(workload_entries, &other.workload_entries)
            && Arc::ptr_eq(gateways, &other.gateways)
            && Arc::ptr_eq(sidecars, &other.sidecars)
            && Arc::ptr_eq(peer_authentications, &other.peer_authentications)
            && Arc::ptr_eq(authorization_policies, &other.authorization_policies)
            && Arc::ptr_eq(request_authentications, &other.request_authentications)
            && Arc::ptr_eq(telemetries, &other.telemetries)
            && Arc::ptr_eq(mesh_configs, &other.mesh_configs)
            && Arc::ptr_eq(gateway_classes, &other.gateway_classes)
            && Arc::ptr_eq(kubernetes_gateways, &other.kubernetes_gateways)
            && Arc::ptr_eq(http_routes, &other.http_routes)
            && Arc::ptr_eq(grpc_routes, &other.grpc_routes)
            && Arc::ptr_eq(tls_routes, &other.tls_routes)
            && Arc::ptr_eq(tcp_routes, &other.tcp_routes)
            && Arc::ptr_eq(reference_grants, &other.reference_grants)
            && Arc::ptr_eq(credentials, &other.credentials)
    }

    /// Removes an object; `false` if it was not there.
    pub fn remove(&mut self, key: &ObjectKey) -> bool {
        match key.kind {
            Kind::Service => take(&mut self.services, key),
            Kind::Secret => take(&mut self.secrets, key),
            Kind::Pod => take(&mut self.pods, key),
            Kind::Node => take(&mut self.nodes, key),
            Kind::Namespace => take(&mut self.namespaces, key),
            Kind::EndpointSlice => take(&mut self.endpoint_slices, key),
            Kind::VirtualService => take(&mut self.virtual_services, key),
            Kind::DestinationRule => take(&mut self.destination_rules, key),
            Kind::ServiceEntry => take(&mut self.service_entries, key),
            Kind::WorkloadEntry => take(&mut self.workload_entries, key),
            Kind::Gateway => take(&mut self.gateways, key),
            Kind::Sidecar => take(&mut self.sidecars, key),
            Kind::PeerAuthentication => take(&mut self.peer_authentications, key),
            Kind::AuthorizationPolicy => take(&mut self.authorization_policies, key),
            Kind::RequestAuthentication => take(&mut self.request_authentications, key),
            Kind::Telemetry => take(&mut self.telemetries, key),
            Kind::ConfigMap => take(&mut self.mesh_configs, key),
            Kind::GatewayClass => take(&mut self.gateway_classes, key),
            Kind::KubernetesGateway => take(&mut self.kubernetes_gateways, key),
            Kind::HttpRoute => take(&mut self.http_routes, key),
            Kind::GrpcRoute => take(&mut self.grpc_routes, key),
            Kind::TlsRoute => take(&mut self.tls_routes, key),
            Kind::TcpRoute => take(&mut self.tcp_routes, key),
            Kind::ReferenceGrant => take(&mut self.reference_grants, key),
            Kind::LocalWorkload => take(&mut self.local_workloads, key),
            Kind::LocalMesh => false,
        }
    }
}

/// The objects of a map as resources.
fn resources<T>(map: &ByName<T>, wrap: fn(Arc<Object<T>>) -> Resource) -> impl Iterator<Item = Resource> + use<'_, T> {
    map.values().map(move |object| wrap(Arc::clone(object)))
}

/// The objects of a map in the order in which they win over each other.
pub(super) fn by_precedence<T>(map: &ByName<T>) -> Vec<&Arc<Object<T>>> {
    let mut objects: Vec<_> = map.values().collect();
    objects.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    objects
}
