//! What stands in for a policy that cannot be read: one that lets less through.
//!
//! To pass over a broken policy would leave open what its author meant to close, with nothing but a finding to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::authorization_policy::{Action, AuthorizationPolicy};
use crate::meta::Object;
use crate::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::request_authentication::{JwtRule, RequestAuthentication};
use crate::resource::Resource;

/// The stand-in of a policy, as far as it could be read: the workloads are those that it selects, all of the namespace where not even that
/// can be told. `None` for kinds that close nothing, and for policies on objects of the Gateway API, which have no workloads yet.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other kind says who may do what")]
pub(crate) fn stand_in(broken: Resource) -> Option<Resource> {
    if ["targetRef", "targetRefs"]
        .iter()
        .any(|name| broken.has_spec_field(name))
    {
        return None;
    }
    match broken {
        Resource::PeerAuthentication(object) => {
            Some(Resource::PeerAuthentication(with(&object, |spec| PeerAuthentication {
                selector: spec.selector.clone(),
                mode: Some(MtlsMode::Strict),
                ports: BTreeMap::new(),
            })))
        }
        Resource::AuthorizationPolicy(object) => Some(Resource::AuthorizationPolicy(with(&object, |spec| {
            AuthorizationPolicy {
                selector: spec.selector.clone(),
                action: Action::Allow,
                rules: Vec::new(),
            }
        }))),
        Resource::RequestAuthentication(object) => Some(Resource::RequestAuthentication(with(&object, |spec| {
            // One more rule for tokens at the usual places.
            let rules = spec.rules.iter().cloned().chain([JwtRule::default()]);
            RequestAuthentication {
                selector: spec.selector.clone(),
                rules: rules.collect(),
            }
        }))),
        _ => None,
    }
}

/// What a policy means while it stands in for a broken one, for the hint of its finding.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other kind has a stand-in")]
pub fn meaning(resource: &Resource) -> &'static str {
    match resource {
        Resource::PeerAuthentication(_) => "until it can be read, the workloads that it selects take mesh mTLS only",
        Resource::RequestAuthentication(_) => {
            "until it can be read, the workloads that it selects refuse requests with a token"
        }
        _ => "until it can be read, the workloads that it selects are closed",
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
