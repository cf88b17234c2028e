//! Permissions and principals are both expressions of `and`, `or`, `not` and leaves. This is how they are put together.

use weft_api::authorization_policy::OneOf;
use weft_proto::xds::envoy::config::rbac::v3 as pb;

/// A permission or a principal.
pub(super) trait Expression: Sized {
    /// Whatever there is.
    fn any() -> Self;
    /// All of several, of which there are two at least.
    fn and(of: Vec<Self>) -> Self;
    /// One of several, of which there are two at least.
    fn or(of: Vec<Self>) -> Self;
    fn not(of: Self) -> Self;
}

/// What all of some expressions say; anything where there is none.
pub(super) fn all<E: Expression>(mut of: Vec<E>) -> E {
    match (of.len(), of.pop()) {
        (_, None) => E::any(),
        (1, Some(only)) => only,
        (_, Some(last)) => {
            of.push(last);
            E::and(of)
        }
    }
}

/// What one of some expressions says; `None` where there is none.
pub(super) fn either<E: Expression>(of: impl IntoIterator<Item = E>) -> Option<E> {
    let mut of: Vec<E> = of.into_iter().collect();
    match (of.len(), of.pop()?) {
        (1, only) => Some(only),
        (_, last) => {
            of.push(last);
            Some(E::or(of))
        }
    }
}

/// Adds that one of the values holds, and none of those that may not.
pub(super) fn add<T, E: Expression>(into: &mut Vec<E>, values: &OneOf<T>, make: impl Fn(&T) -> E) {
    into.extend(either(values.values.iter().map(&make)));
    into.extend(either(values.not_values.iter().map(&make)).map(E::not));
}

// === impl Permission ===

impl Expression for pb::Permission {
    fn any() -> Self {
        permission(pb::permission::Rule::Any(true))
    }

    fn and(rules: Vec<Self>) -> Self {
        permission(pb::permission::Rule::AndRules(pb::permission::Set { rules }))
    }

    fn or(rules: Vec<Self>) -> Self {
        permission(pb::permission::Rule::OrRules(pb::permission::Set { rules }))
    }

    fn not(of: Self) -> Self {
        permission(pb::permission::Rule::NotRule(Box::new(of)))
    }
}

// === impl Principal ===

impl Expression for pb::Principal {
    fn any() -> Self {
        principal(pb::principal::Identifier::Any(true))
    }

    fn and(ids: Vec<Self>) -> Self {
        principal(pb::principal::Identifier::AndIds(pb::principal::Set { ids }))
    }

    fn or(ids: Vec<Self>) -> Self {
        principal(pb::principal::Identifier::OrIds(pb::principal::Set { ids }))
    }

    fn not(of: Self) -> Self {
        principal(pb::principal::Identifier::NotId(Box::new(of)))
    }
}

pub(super) fn permission(rule: pb::permission::Rule) -> pb::Permission {
    pb::Permission { rule: Some(rule) }
}

pub(super) fn principal(identifier: pb::principal::Identifier) -> pb::Principal {
    pb::Principal {
        identifier: Some(identifier),
    }
}
