//! `gateway.networking.k8s.io`: GatewayClass, Gateway, routes and ReferenceGrant (gateway-api.sigs.k8s.io), as types. Nothing
//! carries them out yet; each object of the mesh's own classes says so.

use crate::matching::StringMatch;
use crate::meta::Position;

/// Controller of classes that are this mesh's (Istio's name).
pub const CONTROLLER: &str = "istio.io/gateway-controller";

/// Who carries out the Gateways of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClass {
    /// Name of the controller.
    pub controller: String,
}

/// A Gateway: ports that take traffic in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesGateway {
    /// Name of its class.
    pub class: String,
    pub listeners: Vec<Listener>,
}

/// One port of a Gateway for one host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it is written.
    pub at: Position,
    pub name: String,
    /// Host, any where absent.
    pub hostname: Option<String>,
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP` or `UDP`.
    pub protocol: String,
    /// Whether TLS passes through.
    pub passthrough: bool,
    /// Secrets with certificates: namespace, name.
    pub certificates: Vec<(Option<String>, String)>,
}

/// What a route carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the kind of the same name")]
pub enum RouteKind {
    Http,
    Grpc,
    Tls,
    Tcp,
}

/// A route of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it carries.
    pub kind: RouteKind,
    /// What it hangs on: Gateways, or Services of the mesh.
    pub parents: Vec<Reference>,
    /// Hosts, any where empty.
    pub hostnames: Vec<String>,
    pub rules: Vec<RouteRule>,
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Where it is written.
    pub at: Position,
    /// Requests that it is for, any where empty.
    pub matches: Vec<RouteMatch>,
    /// Types of its filters.
    pub filters: Vec<String>,
    /// Where requests go, with weights.
    pub backends: Vec<(Reference, u32)>,
}

/// A request as a route describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMatch {
    /// Path, or the service of gRPC.
    pub path: Option<StringMatch>,
    /// Method, of HTTP or gRPC.
    pub method: Option<String>,
    pub headers: Vec<(String, StringMatch)>,
    pub query: Vec<(String, StringMatch)>,
}

/// A reference to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// API group; empty for the core.
    pub group: String,
    pub kind: String,
    /// Namespace; that of the referring object where absent.
    pub namespace: Option<String>,
    pub name: String,
    /// Listener of a Gateway.
    pub section: Option<String>,
    pub port: Option<u16>,
}

/// Who may refer to objects of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Referring objects: group, kind, namespace.
    pub from: Vec<(String, String, String)>,
    /// Objects that they may refer to: group, kind, name (any where absent).
    pub to: Vec<(String, String, Option<String>)>,
}
