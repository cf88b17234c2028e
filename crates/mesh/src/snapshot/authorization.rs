//! Which AuthorizationPolicies are for a workload, and where tokens may be that nobody checks yet (decision record 37).

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::authorization_policy::AuthorizationPolicy;
use weft_api::meta::{Labels, Object, selects};
use weft_api::request_authentication::RequestAuthentication;

use super::MeshSettings;
use super::inputs::{ByName, Inputs};

/// AuthorizationPolicies and RequestAuthentications by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    root: Arc<str>,
    policies: BTreeMap<Arc<str>, Vec<Arc<Object<AuthorizationPolicy>>>>,
    authentications: BTreeMap<Arc<str>, Vec<Arc<Object<RequestAuthentication>>>>,
}

/// A place in a request where a token may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenPlace {
    /// A header whose value starts with a prefix.
    Header(String, String),
    /// A query parameter.
    Param(String),
    Cookie(String),
}

/// Annotation of a policy that is only tried out (Istio).
const DRY_RUN: &str = "istio.io/dry-run";

/// Label of a workload that is a gateway of the Gateway API: the name of its Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// What the annotation of a policy says, in the words of Go's `strconv.ParseBool`; an error for anything else, which counts as no.
pub(super) fn dry_run(object: &Object<AuthorizationPolicy>) -> Result<bool, &str> {
    match object.meta.annotations.get(DRY_RUN).map(String::as_str) {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(other),
    }
}

/// Whether a policy is only tried out: what it would refuse is noted, not refused.
pub fn is_dry_run(object: &Object<AuthorizationPolicy>) -> bool {
    dry_run(object) == Ok(true)
}

/// Whether a policy is for a workload of its namespace, or for any where its namespace is the root.
fn is_for(policy: &AuthorizationPolicy, labels: &Labels) -> bool {
    let by_labels = policy.selector.as_ref().map(|selector| selects(selector, labels));
    let name = labels.get(GATEWAY_NAME);
    let by_name = name.is_some_and(|name| policy.gateways.contains(name));
    by_name || by_labels.unwrap_or(policy.gateways.is_empty())
}

fn by_namespace<T>(objects: &ByName<T>) -> BTreeMap<Arc<str>, Vec<Arc<Object<T>>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((namespace, _), object) in objects.iter() {
        found.entry(Arc::clone(namespace)).or_default().push(Arc::clone(object));
    }
    found
}

// === impl Authorization ===

impl Authorization {
    pub(super) fn build(inputs: &Inputs, settings: &MeshSettings) -> Self {
        Self {
            root: settings.root_namespace.as_str().into(),
            policies: by_namespace(&inputs.authorization_policies),
            authentications: by_namespace(&inputs.request_authentications),
        }
    }

    /// The policies that are for a workload: those of the root namespace, then those of its own, by name. One that names gateways is
    /// for those of its own namespace.
    pub fn policies<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a Arc<Object<AuthorizationPolicy>>> + use<'a> {
        let near = |object: &Object<AuthorizationPolicy>| {
            object.spec.gateways.is_empty() || object.spec.selector.is_some() || *object.meta.namespace == *namespace
        };
        self.of(&self.policies, namespace)
            .filter(move |object| near(object) && is_for(&object.spec, labels))
    }

    /// Whether policies of a namespace are for workloads of every namespace.
    pub fn is_root(&self, namespace: &str) -> bool {
        *namespace == *self.root
    }

    /// Where requests to a workload may have tokens that nobody checks; requests with one are refused.
    pub fn token_places(&self, namespace: &str, labels: &Labels) -> Vec<TokenPlace> {
        let objects = self.of(&self.authentications, namespace).filter(|object| {
            object
                .spec
                .selector
                .as_ref()
                .is_none_or(|selector| selects(selector, labels))
        });
        let mut places = Vec::new();
        for rule in objects.flat_map(|object| &object.spec.rules) {
            let own = rule
                .from_headers
                .iter()
                .map(|(name, prefix)| TokenPlace::Header(name.clone(), prefix.clone()));
            places.extend(own);
            places.extend(rule.from_params.iter().cloned().map(TokenPlace::Param));
            places.extend(rule.from_cookies.iter().cloned().map(TokenPlace::Cookie));
            if rule.from_headers.is_empty() && rule.from_params.is_empty() && rule.from_cookies.is_empty() {
                places.push(TokenPlace::Header("authorization".to_owned(), "Bearer ".to_owned()));
                places.push(TokenPlace::Param("access_token".to_owned()));
            }
        }
        places.sort();
        places.dedup();
        places
    }

    /// The objects of the root namespace, then those of a namespace.
    fn of<'a, T>(
        &'a self,
        objects: &'a BTreeMap<Arc<str>, Vec<Arc<Object<T>>>>,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Object<T>>> + use<'a, T> {
        let own = (*namespace != *self.root).then(|| objects.get(namespace)).flatten();
        objects.get(&self.root).into_iter().chain(own).flatten()
    }
}
