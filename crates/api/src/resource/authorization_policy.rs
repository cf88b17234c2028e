//! `security.istio.io` AuthorizationPolicy: who may call a workload (istio.io, "Authorization Policy").

use crate::meta::Labels;

/// An AuthorizationPolicy, as far as it decides whether access is restricted at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Labels of the workloads; all of the namespace where absent.
    pub selector: Option<Labels>,
    /// What happens to requests that match.
    pub action: Action,
    /// Rules; a request matches if it matches one of them.
    pub rules: Vec<Rule>,
}

/// What happens to requests that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are let through, others are not.
    Allow,
    /// They are refused.
    Deny,
    /// They are noted.
    Audit,
    /// An external service decides.
    Custom,
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

/// Values of which one must match, and values of which none may. `*` at either end of a value is a wildcard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneOf {
    /// One of these.
    pub values: Vec<String>,
    /// None of these.
    pub not_values: Vec<String>,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of the same name")]
pub struct Source {
    pub principals: OneOf,
    pub request_principals: OneOf,
    pub namespaces: OneOf,
    pub service_accounts: OneOf,
    pub trust_domains: OneOf,
    pub ip_blocks: OneOf,
    pub remote_ip_blocks: OneOf,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the one of the same name")]
pub struct Operation {
    pub hosts: OneOf,
    pub ports: OneOf,
    pub methods: OneOf,
    pub paths: OneOf,
}

/// A condition on an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The attribute, such as `request.headers[x-id]`.
    pub key: String,
    pub values: OneOf,
}

// === impl Rule ===

impl Rule {
    /// Whether every request matches.
    pub fn matches_all(&self) -> bool {
        self.from.is_empty() && self.to.is_empty() && self.when.is_empty()
    }
}
