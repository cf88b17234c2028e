//! What policies that are not enforced yet close, so that nothing that their authors closed is open (decision record 37).

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_api::authorization_policy::{Action, AuthorizationPolicy};
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

/// What a policy comes to without being enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It restricts nothing.
    Nothing,
    /// It lets nothing through, which is what it says.
    Closed,
    /// It may restrict something, so nothing is let through.
    ClosedForSafety,
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

/// Annotation of a policy that is only tried out.
const DRY_RUN: &str = "istio.io/dry-run";

/// What a policy comes to.
pub(super) fn effect(object: &Object<AuthorizationPolicy>) -> Effect {
    let dry_run = object.meta.annotations.get(DRY_RUN);
    if dry_run.is_some_and(|value| value == "true") {
        return Effect::Nothing;
    }
    let policy = &object.spec;
    match policy.action {
        Action::Audit => Effect::Nothing,
        Action::Allow if policy.rules.is_empty() => Effect::Closed,
        Action::Allow if policy.rules.iter().any(|rule| rule.matches_all()) => Effect::Nothing,
        Action::Deny if policy.rules.iter().any(|rule| rule.matches_all()) => Effect::Closed,
        Action::Deny | Action::Custom if policy.rules.is_empty() => Effect::Nothing,
        Action::Allow | Action::Deny | Action::Custom => Effect::ClosedForSafety,
    }
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

    /// The policy that closes a workload, if one does.
    pub fn closed(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Object<AuthorizationPolicy>>> {
        self.of(&self.policies, namespace)
            .filter(|object| {
                object
                    .spec
                    .selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, labels))
            })
            .find(|object| effect(object) != Effect::Nothing)
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

#[cfg(test)]
mod tests {
    use weft_api::parse::parse;
    use weft_api::resource::Resource;

    use super::*;

    fn check(spec: &str, annotation: &str, expected: Effect) {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: p, annotations: {{x: y{annotation}}}}}\nspec: {spec}\n"
        );
        let parsed = parse("p.yaml", &text);
        assert!(parsed.broken.is_empty(), "{:?}", parsed.diagnostics);
        let [Resource::AuthorizationPolicy(object)] = parsed.resources.as_slice() else {
            panic!("{:?}", parsed.resources);
        };
        assert_eq!(effect(object), expected, "{spec}");
    }

    #[test]
    fn what_may_restrict_closes() {
        let from = "rules: [{from: [{source: {principals: [x]}}]}]";
        for (spec, expected) in [
            ("{}".to_owned(), Effect::Closed),
            ("{rules: [{}]}".to_owned(), Effect::Nothing),
            ("{action: DENY, rules: [{}]}".to_owned(), Effect::Closed),
            ("{action: DENY}".to_owned(), Effect::Nothing),
            (format!("{{{from}}}"), Effect::ClosedForSafety),
            (format!("{{action: DENY, {from}}}"), Effect::ClosedForSafety),
            (
                format!("{{action: CUSTOM, provider: {{name: x}}, {from}}}"),
                Effect::ClosedForSafety,
            ),
            (format!("{{action: AUDIT, {from}}}"), Effect::Nothing),
            (
                "{rules: [{}, {to: [{operation: {methods: [GET]}}]}]}".to_owned(),
                Effect::Nothing,
            ),
        ] {
            check(&spec, "", expected);
        }
        check(&format!("{{{from}}}"), ", istio.io/dry-run: \"true\"", Effect::Nothing);
    }
}
