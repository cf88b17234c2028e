//! `security.istio.io` AuthorizationPolicy: who may call a workload (istio.io, "Authorization Policy" and "Authorization Policy
//! Conditions").

use ipnet::IpNet;

use crate::meta::Labels;

/// An AuthorizationPolicy. Selector and targets exclude each other; with neither it is for all of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Labels of the workloads.
    pub selector: Option<Labels>,
    /// Gateways of the Gateway API, by name, in the policy's namespace; `targetRefs`.
    pub gateways: Vec<String>,
    /// What happens to requests that match.
    pub action: Action,
    /// Rules; a request matches if it matches one of them, so none matches where there are none.
    pub rules: Vec<Rule>,
}

/// What happens to requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are let through; of all that have such a policy, one must match.
    Allow,
    /// They are refused.
    Deny,
    /// They are noted.
    Audit,
    /// An external service decides.
    Custom {
        /// Its name in the mesh configuration.
        provider: String,
    },
}

/// One rule: all that it says must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Sources, one of which must fit; any where empty.
    pub from: Vec<Source>,
    /// Operations, one of which must fit; any where empty.
    pub to: Vec<Operation>,
    /// Conditions, all of which must hold.
    pub when: Vec<Condition>,
}

/// Values of which one must match, and values of which none may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf<T> {
    /// One of these; whatever there is where empty.
    pub values: Vec<T>,
    /// None of these.
    pub not_values: Vec<T>,
}

/// A text with a wildcard at one end, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// `*`: any text that is not empty.
    Present,
    /// `text`.
    Exact(String),
    /// `text*`.
    Prefix(String),
    /// `*text`.
    Suffix(String),
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace; that of the policy where absent.
    pub namespace: Option<String>,
    pub name: String,
}

/// Who a request's token is for: `ISSUER/SUBJECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the part of the same name")]
pub struct RequestPrincipal {
    pub issuer: Wildcard,
    pub subject: Wildcard,
}

/// What a path has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// As a text.
    Text(Wildcard),
    /// Segments, of which `{*}` is any one and `{**}`, once, any number.
    Template(String),
}

/// Where a request comes from. Namespaces may have a `*` anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of the same name")]
pub struct Source {
    pub principals: OneOf<Wildcard>,
    pub request_principals: OneOf<RequestPrincipal>,
    pub namespaces: OneOf<String>,
    pub service_accounts: OneOf<ServiceAccount>,
    pub trust_domains: OneOf<Wildcard>,
    pub ip_blocks: OneOf<IpNet>,
    pub remote_ip_blocks: OneOf<IpNet>,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of the same name")]
pub struct Operation {
    pub hosts: OneOf<Wildcard>,
    pub ports: OneOf<u16>,
    pub methods: OneOf<Wildcard>,
    pub paths: OneOf<PathPattern>,
}

/// A condition on an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `request.headers[NAME]`.
    Header(String, OneOf<Wildcard>),
    /// `source.ip`: the peer of the connection.
    SourceIp(OneOf<IpNet>),
    /// `remote.ip`: the client, by `x-forwarded-for` where that is trusted.
    RemoteIp(OneOf<IpNet>),
    /// `source.namespace`.
    SourceNamespace(OneOf<String>),
    /// `source.principal`.
    SourcePrincipal(OneOf<Wildcard>),
    /// `source.serviceAccount`.
    SourceServiceAccount(OneOf<ServiceAccount>),
    /// `request.auth.principal`.
    RequestPrincipal(OneOf<RequestPrincipal>),
    /// `request.auth.audiences`, `request.auth.presenter` and `request.auth.claims[A][B]`: the path of a claim of the token.
    Claim(Vec<String>, OneOf<Wildcard>),
    /// `destination.ip`.
    DestinationIp(OneOf<IpNet>),
    /// `destination.port`.
    DestinationPort(OneOf<u16>),
    /// `connection.sni`.
    Sni(OneOf<Wildcard>),
    /// `experimental.envoy.filters.FILTER[KEY]`: what a filter left in the request's dynamic metadata.
    Metadata {
        /// Name of the filter, `envoy.filters.` included.
        filter: String,
        /// Name of what it left.
        key: String,
        /// `[x]` is an item of a list, `x` a text.
        values: OneOf<MetadataValue>,
    },
}

/// What a filter may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataValue {
    Text(Wildcard),
    /// A list with such an item.
    Item(Wildcard),
}

// === impl Rule ===

impl Rule {
    /// Whether every request matches.
    pub fn matches_all(&self) -> bool {
        self.from.is_empty() && self.to.is_empty() && self.when.is_empty()
    }

    /// Whether it says anything that only requests of HTTP have.
    pub fn is_of_http(&self) -> bool {
        let source = |source: &Source| !source.request_principals.is_empty();
        let operation = |to: &Operation| !(to.hosts.is_empty() && to.methods.is_empty() && to.paths.is_empty());
        self.from.iter().any(source) || self.to.iter().any(operation) || self.when.iter().any(Condition::is_of_http)
    }
}

// === impl Condition ===

impl Condition {
    /// Whether only requests of HTTP have the attribute.
    pub fn is_of_http(&self) -> bool {
        match self {
            Self::Header(..) | Self::RequestPrincipal(_) | Self::Claim(..) => true,
            Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::SourceNamespace(_)
            | Self::SourcePrincipal(_)
            | Self::SourceServiceAccount(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::Sni(_)
            | Self::Metadata { .. } => false,
        }
    }
}

// === impl OneOf ===

impl<T> OneOf<T> {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }
}

impl<T> Default for OneOf<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            not_values: Vec::new(),
        }
    }
}

// === impl Wildcard ===

impl Wildcard {
    /// Reads a text. A `*` that is not at its first end is a character like others (Istio: `StringMatcher`).
    pub fn parse(text: &str) -> Self {
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("*", _, _) => Self::Present,
            (_, Some(rest), _) => Self::Suffix(rest.to_owned()),
            (_, None, Some(rest)) => Self::Prefix(rest.to_owned()),
            (exact, None, None) => Self::Exact(exact.to_owned()),
        }
    }
}
