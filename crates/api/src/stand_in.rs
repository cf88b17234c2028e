//! What stands in for a policy that cannot be read: one that lets less through.
//!
//! To pass over a broken policy would leave open what its author meant to close, with nothing but a finding to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authorization_policy::{Action, AuthorizationPolicy, Rule};
use crate::kind::WhenBroken;
use crate::meta::Object;
use crate::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::request_authentication::{JwtRule, RequestAuthentication};
use crate::resource::Resource;

/// How one kind is stood in for.
#[derive(Clone, Copy, Debug)]
pub struct StandIn {
    /// What holds meanwhile, for the hint of the finding.
    meaning: &'static str,
    /// The stand-in of an object of the kind, as far as it could be read: the workloads are those that it selects, all of the
    /// namespace where not even that can be told.
    make: fn(&Resource) -> Option<Resource>,
}

/// Mesh mTLS only.
pub const PEER_AUTHENTICATION: StandIn = StandIn {
    meaning: "until it can be read, the workloads that it selects take mesh mTLS only",
    make: |broken| {
        let Resource::PeerAuthentication(object) = broken else {
            return None;
        };
        Some(Resource::PeerAuthentication(with(object, |spec| PeerAuthentication {
            selector: spec.selector.clone(),
            mode: Some(MtlsMode::Strict),
            ports: BTreeMap::new(),
        })))
    },
};

/// Everything is refused, whatever other policies allow.
pub const AUTHORIZATION_POLICY: StandIn = StandIn {
    meaning: "until it can be read, the workloads that it selects are closed",
    make: |broken| {
        let Resource::AuthorizationPolicy(object) = broken else {
            return None;
        };
        Some(Resource::AuthorizationPolicy(with(object, |spec| {
            AuthorizationPolicy {
                selector: spec.selector.clone(),
                gateways: spec.gateways.clone(),
                action: Action::Deny,
                rules: vec![Rule::default()],
            }
        })))
    },
};

/// Tokens are refused: one more rule for those at the usual places.
pub const REQUEST_AUTHENTICATION: StandIn = StandIn {
    meaning: "until it can be read, the workloads that it selects refuse requests with a token",
    make: |broken| {
        let Resource::RequestAuthentication(object) = broken else {
            return None;
        };
        Some(Resource::RequestAuthentication(with(object, |spec| {
            let rules = spec.rules.iter().cloned().chain([JwtRule::default()]);
            RequestAuthentication {
                selector: spec.selector.clone(),
                rules: rules.collect(),
            }
        })))
    },
};

/// The stand-in of a broken object. `None` for kinds that close nothing, and for policies on objects of the Gateway API of which no
/// gateway can be told.
pub(crate) fn stand_in(broken: &Resource) -> Option<Resource> {
    let mut targets = ["targetRef", "targetRefs"].iter();
    if targets.any(|name| broken.has_spec_field(name)) && !names_workloads(broken) {
        return None;
    }
    (of(broken)?.make)(broken)
}

/// Whether a policy, as far as it could be read, says which workloads it is for.
fn names_workloads(broken: &Resource) -> bool {
    let Resource::AuthorizationPolicy(object) = broken else {
        return false;
    };
    object.spec.selector.is_some() || !object.spec.gateways.is_empty()
}

/// What a policy means while it stands in for a broken one, for the hint of its finding; nothing for kinds without a stand-in.
pub fn meaning(resource: &Resource) -> Option<&'static str> {
    of(resource).map(|stand_in| stand_in.meaning)
}

fn of(resource: &Resource) -> Option<&'static StandIn> {
    match resource.kind().facts().when_broken {
        WhenBroken::Nothing => None,
        WhenBroken::Closes(stand_in) => Some(stand_in),
    }
}

fn with<T>(object: &Arc<Object<T>>, spec: impl FnOnce(&T) -> T) -> Arc<Object<T>> {
    Arc::new(Object {
        meta: object.meta.clone(),
        place: object.place.clone(),
        spec_fields: object.spec_fields.clone(),
        spec: spec(&object.spec),
    })
}
