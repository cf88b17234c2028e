//! `extensionProviders` of the mesh configuration that decide about requests: what AuthorizationPolicies of action CUSTOM name
//! (istio.io, "Global Mesh Options").

use std::time::Duration;

use crate::authorization_policy::Wildcard;

/// An external authorization service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionProvider {
    /// By which policies name it.
    pub name: String,
    /// Host of the service in full.
    pub host: String,
    pub port: u16,
    /// For an answer.
    pub timeout: Option<Duration>,
    /// Requests pass where the service fails.
    pub fail_open: bool,
    /// Status where it fails and they do not.
    pub status_on_error: Option<u16>,
    /// How much of bodies it sees.
    pub body: Option<CheckedBody>,
    pub protocol: CheckProtocol,
}

/// In which protocol a service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckProtocol {
    /// `envoyExtAuthzGrpc`.
    Grpc,
    /// `envoyExtAuthzHttp`.
    Http(Box<HttpCheck>),
}

/// What a service over HTTP is told and may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCheck {
    /// In front of the path.
    pub path_prefix: String,
    /// Headers of the request that it is told.
    pub request_headers: Vec<Wildcard>,
    /// Further headers of each question.
    pub additional_headers: Vec<(String, String)>,
    /// Headers of a permission that the request gets.
    pub to_upstream: Vec<Wildcard>,
    /// Headers of a refusal that the client gets; all of them where there are none.
    pub to_client_on_deny: Vec<Wildcard>,
    /// Headers of a permission that the client gets.
    pub to_client_on_allow: Vec<Wildcard>,
}

/// How much of a body a service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedBody {
    /// Most bytes of it.
    pub max: u32,
    /// A longer one is shown in part instead of refused.
    pub partial: bool,
    /// Over gRPC as bytes instead of text.
    pub as_bytes: bool,
}
